"""Kernel names: from mangled to what people write, and the types of the parameters that a mangled name tells."""

from __future__ import annotations

import ctypes
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from warpsmith.model.base import digest_bytes
from warpsmith.model.observed import Number

RUNTIMES = ("libstdc++.so.6", "libc++abi.so.1")
"""Libraries with the C++ ABI's own demangler."""
SCALARS = {
    "bool": "?", "char": "b", "signed char": "b", "unsigned char": "B", "short": "h", "unsigned short": "H",
    "int": "i", "unsigned int": "I", "unsigned": "I", "long": "q", "unsigned long": "Q", "long long": "q",
    "unsigned long long": "Q", "float": "f", "double": "d", "__half": "e",
}  # fmt: skip
"""Types that C++ has by itself, and CUDA's half, as :mod:`struct` names them."""
_INTEGERS = {1: "b", 2: "h", 4: "i", 8: "q"}
_FLOATS = {4: "f", 8: "d"}
_PLAUSIBLE = (1e-12, 1e12)


@lru_cache(maxsize=4096)
def demangled(symbol: str) -> str:
    """The name as C++ writes it; the symbol itself where it is not mangled, or nothing here can tell."""
    if not symbol.startswith("_Z"):
        return symbol
    if (demangle := _runtime()) is not None:
        return demangle(symbol) or symbol
    if (tool := shutil.which("c++filt")) is not None:
        ran = subprocess.run((tool, "--", symbol), capture_output=True, text=True, check=False, timeout=10)
        return ran.stdout.strip() or symbol
    return symbol


@dataclass(frozen=True)
class Parts:
    """A demangled kernel."""

    name: str
    """Without result and parameters: ``ns::kernel<float, 32>``."""
    types: tuple[str, ...] | None
    """Of the parameters; None where the symbol does not tell."""


@lru_cache(maxsize=4096)
def parts(symbol: str) -> Parts:
    """Name and parameter types of a kernel."""
    text = demangled(symbol)
    if text == symbol or not text.endswith(")"):
        return Parts(text, None)
    opening = _opening(text)
    head, inside = text[:opening], text[opening + 1 : -1]
    types = tuple(t.strip() for t in _split(inside)) if inside.strip() not in ("", "void") else ()
    return Parts(_without_result(head), types)


def file_name(symbol: str) -> str:
    """A readable name of a file for one kernel; other kernels have other ones."""
    name = parts(symbol).name
    readable = re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.") or "kernel"
    # a mangled name says more than what is read: parameters, or what was cut off
    return f"{readable[:80]}-{digest_bytes(symbol.encode())[:8]}"


def is_pointer(type_: str) -> bool:
    """Whether a parameter type is a pointer."""
    bare = re.sub(r"\b(const|volatile|__restrict__|restrict)\b", "", type_).strip()
    return bare.endswith(("*", "&"))


def scalar_type(type_: str) -> str:
    """The type without what does not change its value; empty for one that is no scalar."""
    bare = re.sub(r"\b(const|volatile)\b", "", type_).strip()
    return bare if bare in SCALARS or bare == "__nv_bfloat16" else ""


def decode(type_: str, content: bytes) -> Number:
    """The value of a scalar of that type (as :func:`scalar_type` gives it); bytes of another size or type as
    hexadecimal digits, and integers where the type is not known.
    """
    code = SCALARS.get(type_)
    if type_ == "__nv_bfloat16" and len(content) == 2:
        return _number(struct.unpack("<f", b"\0\0" + content)[0])
    if code is None and not type_:
        code = _INTEGERS.get(len(content))
    if code is None or struct.calcsize(f"<{code}") != len(content):
        return content.hex()
    return _number(struct.unpack(f"<{code}", content)[0])


def as_float(content: bytes) -> float | None:
    """Bytes of an unknown type as a float, where that is one which a program would pass."""
    code = _FLOATS.get(len(content))
    if code is None:
        return None
    value = float(struct.unpack(f"<{code}", content)[0])
    low, high = _PLAUSIBLE
    return value if low <= abs(value) <= high else None


def _number(value: float | int) -> Number:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value


@lru_cache(maxsize=1)
def _runtime() -> Callable[[str], str] | None:
    for name in RUNTIMES:
        try:
            return partial(_demangle, ctypes.CDLL(name).__cxa_demangle, ctypes.CDLL(None).free)
        except (OSError, AttributeError):
            continue
    return None


def _demangle(demangle: Any, free: Any, symbol: str) -> str:
    """Through the C++ ABI's own function, which allocates what it gives; empty for what it does not understand."""
    demangle.restype = ctypes.c_void_p
    status = ctypes.c_int()
    made = demangle(ctypes.c_char_p(symbol.encode()), None, None, ctypes.byref(status))
    if status.value != 0 or not made:
        return ""
    text = ctypes.string_at(made).decode(errors="replace")
    free(ctypes.c_void_p(made))
    return text


def _opening(text: str) -> int:
    """Where the parameter list begins: the bracket that the last one closes."""
    depth = 0
    for at in range(len(text) - 1, -1, -1):
        depth += {")": 1, "(": -1}.get(text[at], 0)
        if depth == 0:
            return at
    return len(text) - 1


def _split(inside: str) -> list[str]:
    """At the commas that lie in no bracket."""
    found, depth, begin = [], 0, 0
    for at, letter in enumerate(inside):
        if letter in "(<[{":
            depth += 1
        elif letter in ")>]}" and inside[at - 1 : at + 1] != "->":
            depth -= 1
        elif letter == "," and depth == 0:
            found.append(inside[begin:at])
            begin = at + 1
    return [*found, inside[begin:]]


def _without_result(head: str) -> str:
    """A template's demangled name begins with its result type: ``void ns::kernel<float>``."""
    depth = 0
    for at in range(len(head) - 1, -1, -1):
        depth += {">": 1, "<": -1, ")": 1, "(": -1}.get(head[at], 0)
        if head[at] == " " and depth == 0 and head[:at].split(" ")[-1] != "operator":
            return head[at + 1 :]
    return head
