"""A captured kernel's own source as a candidate: its section, what that leans on, and an entry with concrete types.

The kernel becomes a device function, and a plain C entry of the captured signature calls it. Whole numbers among its
template arguments, and constants of the source that it uses, become tunables.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from warpsmith.app.parts import Item, take_apart
from warpsmith.app.sections import Section, wanted
from warpsmith.app.symbols import parts
from warpsmith.errors import BadInput

_LOCAL = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"\n]+)"', re.M)
_OF_CUDA = re.compile(
    r"#\s*(define|include\s*<(cuda|cooperative_groups|mma|nv/|math_constants|curand|vector_|device_))"
)
_DEFINED = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)[ \t]+(\d+)[ \t]*$", re.M)
_CONSTANT = re.compile(
    r"^((?:static\s+|inline\s+)*(?:constexpr|const)\s+(?:unsigned\s+)?(?:int|unsigned|size_t)\s+)(\w+)\s*=\s*(\d+)\s*;?$"
)
_WHOLE = re.compile(r"^(\d+)[uUlL]*$")
_BOUNDS = re.compile(r"__launch_bounds__\s*\([^()]*(?:\([^()]*\)[^()]*)*\)")
_UNSAID = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:[^"\\\n]|\\.)*"', re.S)
BEGIN, END = "// ---- kernel: edit between these lines ----", "// ---- end of the kernel ----"


@dataclass(frozen=True)
class Extracted:
    """A kernel's source as one file."""

    head: tuple[str, ...]
    """Includes, and the macros of the tunables."""
    section: str
    """What is edited: what the kernel leans on, and the kernel, in their namespaces."""
    spaces: tuple[str, ...]
    kernel: str
    """How the entry calls it: its name with its template's arguments."""
    entry: str
    tunables: dict[str, int]
    """Macro to the value that the application has."""
    names: tuple[str, ...]
    """Of the parameters."""
    types: tuple[str, ...]
    """Of the parameters, concrete."""

    @property
    def text(self) -> str:
        """A candidate's file."""
        return "\n".join([*self.head, BEGIN, self.section, END, self.caller('extern "C" ')]) + "\n"

    def caller(self, linkage: str = "") -> str:
        """The entry: a kernel of the captured signature."""
        listed = ", ".join(f"{t} {n}" for t, n in zip(self.types, self.names, strict=True))
        body = f"{linkage}__global__ void {self.entry}({listed}) {{\n    {self.kernel}({', '.join(self.names)});\n}}"
        return _within(self.spaces, body)


def extract(path: Path, symbol: str, count: int | None, includes: Sequence[Path] = ()) -> Extracted:
    """The section of the kernel ``symbol``, which takes ``count`` parameters (None: not known), out of a file and what
    it includes.

    Raises BadInput where it is not found there, and Missing without the grammar.
    """
    said = parts(symbol)
    sources = _gathered(path, includes)
    apart = take_apart(sources, said.name)
    kernel = apart.kernel
    if count is not None and len(kernel.parameters) != count:
        raise BadInput(
            f"{path}: {kernel.signature} takes {len(kernel.parameters)} parameters, and the captured kernel {count}.",
            "Name the file that the application was built of.",
        )
    if kernel.template and said.types is None:
        raise BadInput(f"{symbol}: the symbol does not tell the arguments of the template.", "Leave --source out.")
    arguments = wanted(said.name).arguments or ()
    own = apart.cut(kernel.start, kernel.end)
    items, tunables = _tuned(_needed((*apart.before, *apart.after), own, kernel))
    given = _arguments(kernel, arguments, tunables)
    types = said.types if said.types is not None else tuple(p.type for p in kernel.parameters)
    names = tuple(p.name or f"p{i}" for i, p in enumerate(kernel.parameters))
    spaces = tuple(s for s in kernel.scopes if s)
    head = [h for h in apart.hoisted if _OF_CUDA.match(h)]
    head += [f"#ifndef {n}\n#define {n} {v}\n#endif" for n, v in tunables.items()]
    section = _within(spaces, "\n".join([*items, _device(own)]))
    call = f"{kernel.name}{given}"
    return Extracted(tuple(head), section, spaces, call, f"{kernel.name}_captured", tunables, names, types)


def _within(spaces: Sequence[str], text: str) -> str:
    """A text in its namespaces."""
    begin = "".join(f"namespace {s} {{\n" for s in spaces)
    return begin + text + "".join(f"\n}}  // namespace {s}" for s in reversed(spaces))


def _gathered(path: Path, includes: Sequence[Path]) -> dict[str, str]:
    """A file and those of the application's own that it includes, by their paths from its folder."""
    found: dict[str, str] = {}
    pending = [(path.name, path)]
    while pending:
        name, file = pending.pop()
        try:
            found[name] = file.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise BadInput(f"{file}: {error.strerror}.", "Name the file that defines the kernel.") from None
        for included in _LOCAL.findall(found[name]):
            beside = [file.parent / included, *(i / included for i in includes)]
            there = next((p for p in beside if p.is_file()), None)
            parent = name.rpartition("/")[0]
            key = f"{parent}/{included}" if parent and there == beside[0] else included
            if there is not None and key not in found:
                pending.append((key, there))
    return found


def _needed(items: Sequence[Item], own: str, kernel: Section) -> list[Item]:
    """What the kernel leans on, directly or through others, in the order of the text."""
    inner = {name for _, name in kernel.template or ()} | {p.name for p in kernel.parameters}
    words = _words(own) - inner
    taken: set[int] = set()
    grew = True
    while grew:
        grew = False
        for number, item in enumerate(items):
            host = item.function and "__device__" not in item.text and "constexpr" not in item.text
            if number in taken or host or (item.function and item.name == kernel.name) or "<<<" in item.text:
                continue
            if ({item.name} if item.name else _words(item.text)) & words:
                taken.add(number)
                words |= _words(item.text)
                grew = True
    return [item for number, item in enumerate(items) if number in taken]


def _words(text: str) -> set[str]:
    """The names in a text, without those of comments and strings."""
    return set(re.findall(r"[A-Za-z_]\w*", _UNSAID.sub(" ", text)))


def _tuned(items: Sequence[Item]) -> tuple[list[str], dict[str, int]]:
    """The texts of the items, with whole constants turned into macros that a build can set."""
    texts, tunables = [], {}
    for item in items:
        text = item.text
        for name, value in _DEFINED.findall(text):
            tunables[name] = int(value)
            text = _DEFINED.sub("", text) if len(_DEFINED.findall(text)) == 1 else text
        if (constant := _CONSTANT.match(text.strip())) is not None:
            head, name, value = constant.groups()
            tunables[f"TUNE_{name}"] = int(value)
            text = f"{head}{name} = TUNE_{name};"
        if text.strip():
            texts.append(text if text.rstrip().endswith((";", "}")) or "#" in text else f"{text};")
    return texts, tunables


def _arguments(kernel: Section, arguments: Sequence[str], tunables: dict[str, int]) -> str:
    """The template's arguments; whole numbers among them go into ``tunables``."""
    if not kernel.template:
        return ""
    given = []
    for (kind, name), value in zip(kernel.template, arguments, strict=False):
        whole = _WHOLE.match(value)
        if kind != "typename" and whole and int(whole[1]) > 1:
            tunables[f"TUNE_{name}"] = int(whole[1])
            given.append(f"TUNE_{name}")
        else:
            given.append(value)
    return f"<{', '.join(given)}>"


def _device(own: str) -> str:
    """The kernel's text as a device function."""
    text = _BOUNDS.sub("", own).replace('extern "C"', "")
    text = re.sub(r"\b__grid_constant__\b", "", text)
    return re.sub(r"\b__global__\b", "static __device__ __forceinline__", text, count=1)
