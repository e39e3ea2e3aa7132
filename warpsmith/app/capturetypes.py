"""What captured bytes are: element types by their C++ names, or by what the bytes look like. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from warpsmith.model.captured import Variation
from warpsmith.model.task import Dtype

_ELEMENTS = {
    "float": Dtype.f32, "double": Dtype.f64, "__half": Dtype.f16, "half": Dtype.f16, "__nv_bfloat16": Dtype.bf16,
    "nv_bfloat16": Dtype.bf16, "int": Dtype.i32, "unsigned int": Dtype.i32, "unsigned": Dtype.i32, "long": Dtype.i64,
    "unsigned long": Dtype.i64, "long long": Dtype.i64, "unsigned long long": Dtype.i64, "char": Dtype.i8,
    "signed char": Dtype.i8, "unsigned char": Dtype.u8, "bool": Dtype.u8, "c10::Half": Dtype.f16,
    "c10::BFloat16": Dtype.bf16, "__half2": Dtype.f16, "__nv_bfloat162": Dtype.bf16, "int32_t": Dtype.i32,
    "uint32_t": Dtype.i32, "int64_t": Dtype.i64, "uint64_t": Dtype.i64, "size_t": Dtype.i64, "uint8_t": Dtype.u8,
    "int8_t": Dtype.i8,
}  # fmt: skip
DECODED = {
    Dtype.f64: "double", Dtype.f32: "float", Dtype.i64: "long", Dtype.i32: "int", Dtype.i8: "char",
    Dtype.u8: "unsigned char",
}  # fmt: skip
"""A C++ type that a scalar of that element type is read as."""
_VECTOR = re.compile(r"(float|double|int|uint|long|char|uchar)[1-4]$")
_SCALARS = {Dtype.f64, Dtype.f32, Dtype.i64, Dtype.i32, Dtype.i8, Dtype.u8}
_PLAUSIBLE = (1e-20, 1e20)
"""Floats of a real program lie within, but for zero."""
_LARGEST_INDEX = 1 << 28
LOOKED_AT = 1 << 20
"""Elements of a buffer from which its type is guessed."""


def element(type_: str) -> Dtype | None:
    """Of what a pointer of that C++ type points to; None where it is a struct, ``void`` or not known."""
    bare = re.sub(r"\b(const|volatile|__restrict__|__restrict|restrict)\b|[*&]", " ", type_)
    bare = " ".join(bare.split())
    if (vector := _VECTOR.match(bare)) is not None:
        named = vector[1]
        return _ELEMENTS.get({"uint": "int", "uchar": "unsigned char"}.get(named, named))
    return _ELEMENTS.get(bare)


def scalar(type_: str) -> Dtype | None:
    """Of a scalar parameter that a task can pass by value; None where it must go as bytes."""
    found = element(type_) if "*" not in type_ else None
    return found if found in _SCALARS else None


def is_constant(type_: str) -> bool:
    """Whether nothing is written through a pointer of that type."""
    return bool(re.search(r"\bconst\b", type_.rpartition("*")[0])) if "*" in type_ else False


def guess(contents: Sequence[bytes]) -> Dtype:
    """What the bytes look like: floats, indices, or bytes that nothing is known of."""
    joined = b"".join(c[: 4 * LOOKED_AT] for c in contents if len(c) % 4 == 0)
    if not joined or any(len(c) % 4 for c in contents):
        return Dtype.u8
    whole = np.frombuffer(joined, np.int32)
    some = whole[whole != 0]
    if len(some) == 0:
        return Dtype.i32
    if np.abs(some.astype(np.int64)).max() < _LARGEST_INDEX and np.abs(some.astype(np.int64)).min() < 1 << 23:
        return Dtype.i32
    with np.errstate(invalid="ignore"):
        size = np.abs(some.view(np.float32).astype(np.float64))
    low, high = _PLAUSIBLE
    return Dtype.f32 if np.mean((size > low) & (size < high)) > 0.99 else Dtype.u8


def variation(contents: Sequence[bytes], dtype: Dtype, *, known: bool) -> Variation:
    """How contents of a buffer may be varied without leaving what a kernel was written for.

    Bytes of an unknown kind are kept. Sorted integers may be offsets, and a mixture of whole numbers is none: the first
    are kept and the second permuted.
    """
    if dtype is Dtype.u8 and not known:
        return "kept"
    for content in contents:
        if dtype in (Dtype.f32, Dtype.f64, Dtype.f16):
            values = np.frombuffer(content, {"f32": np.float32, "f64": np.float64, "f16": np.float16}[dtype.value])
            finite = values[np.isfinite(values)][:LOOKED_AT]
            if len(finite) and not np.array_equal(finite, np.floor(finite)):
                return "mixed"
        elif dtype in (Dtype.i32, Dtype.i64) and len(content) > 2 * dtype.itemsize:
            whole = np.frombuffer(content, {"i32": np.int32, "i64": np.int64}[dtype.value])
            if bool((np.diff(whole) >= 0).all()) and whole[0] != whole[-1]:
                return "kept"
    return "mixed" if dtype is Dtype.bf16 else "permuted"
