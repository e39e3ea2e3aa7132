"""TMA descriptors in numbers, checked against the rules of cuTensorMapEncodeTiled. Pure; imports no device library.

The driver says CUDA_ERROR_INVALID_VALUE to whatever breaks a rule; here each says which, and what the limit is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from warpsmith.model.candidate import TensorMap
from warpsmith.model.expression import Number, evaluate_int
from warpsmith.model.task import Dtype

MAP_BYTES = 128
"""Of a descriptor, a ``__grid_constant__ const CUtensorMap`` parameter."""
LARGEST_DIM, LARGEST_STRIDE, LARGEST_BOX, LARGEST_ELEMENT_STRIDE = 1 << 32, 1 << 40, 256, 8
SWIZZLE_SPAN = {"32B": 32, "64B": 64, "128B": 128}
DTYPES = {
    Dtype.f64: "FLOAT64", Dtype.f32: "FLOAT32", Dtype.f16: "FLOAT16", Dtype.bf16: "BFLOAT16",
    Dtype.i64: "INT64", Dtype.i32: "INT32", Dtype.i8: "UINT8", Dtype.u8: "UINT8",
}  # fmt: skip
"""By the names of CUtensorMapDataType; bytes have no sign there."""


class Impossible(Exception):
    """What no device could carry out, and why."""


@dataclass(frozen=True)
class ConcreteMap:
    """A descriptor in numbers, innermost dimension first; the words are those of the candidate's plan."""

    of: str
    dtype: str
    dims: tuple[int, ...]
    strides: tuple[int, ...]
    """Bytes, of every dimension but the innermost."""
    box: tuple[int, ...]
    element_strides: tuple[int, ...]
    swizzle: str
    interleave: str
    l2_promotion: str
    oob_fill: str


def make_map(said: TensorMap, dtype: Dtype, environment: Mapping[str, Number], alignment: int) -> ConcreteMap:
    """The descriptor under ``environment``, of a buffer at a multiple of ``alignment`` bytes.

    Raises ExpressionError, or Impossible where it breaks a rule.
    """

    def numbers(texts: tuple[str | int, ...]) -> tuple[int, ...]:
        return tuple(evaluate_int(text, environment) for text in texts)

    dims = numbers(said.dims)
    packed = tuple(accumulate(dims[:-1], initial=dtype.itemsize, func=lambda size, extent: size * extent))[1:]
    made = ConcreteMap(
        of=said.of,
        dtype=DTYPES[dtype],
        dims=dims,
        strides=numbers(said.strides) if said.strides else packed,
        box=numbers(said.box),
        element_strides=numbers(said.element_strides) if said.element_strides else (1,) * len(dims),
        swizzle=said.swizzle,
        interleave=said.interleave,
        l2_promotion=said.l2_promotion,
        oob_fill=said.oob_fill,
    )
    if wrong := _broken_rule(made, dtype, alignment):
        raise Impossible(f"the tensor map {said.name!r}: {wrong}")
    return made


def _broken_rule(made: ConcreteMap, dtype: Dtype, alignment: int) -> str:
    """The first rule of cuTensorMapEncodeTiled that does not hold, with its limit; empty where all hold."""
    unit = 32 if made.interleave == "32B" else 16
    inner = made.box[0] * dtype.itemsize
    span = SWIZZLE_SPAN.get(made.swizzle)
    rules = (
        (alignment % unit == 0, f"its address must be a multiple of {unit} bytes, and the task promises {alignment}"),
        (_within(made.dims, LARGEST_DIM), f"the dims {made.dims} are out of range (1 to {LARGEST_DIM})"),
        (_within(made.box, LARGEST_BOX), f"the box {made.box} is out of range (1 to {LARGEST_BOX})"),
        (
            _within(made.element_strides, LARGEST_ELEMENT_STRIDE),
            f"the element strides {made.element_strides} are out of range (1 to {LARGEST_ELEMENT_STRIDE})",
        ),
        (
            _within(made.strides, LARGEST_STRIDE - 1) and all(stride % unit == 0 for stride in made.strides),
            f"the strides {made.strides} must be multiples of {unit} bytes below {LARGEST_STRIDE}",
        ),
        (made.interleave == "none" or len(made.dims) >= 3, "interleaving needs at least 3 dims"),
        (made.interleave != "32B" or made.swizzle == "32B", "interleave 32B needs swizzle 32B"),
        (
            made.interleave != "none" or inner % 16 == 0,
            f"the innermost box is {inner} bytes; it must be a multiple of 16",
        ),
        (
            made.interleave != "none" or span is None or inner <= span,
            f"the innermost box is {inner} bytes, more than the {span} of the swizzle",
        ),
        (made.oob_fill == "zero" or dtype.is_float, f"{dtype} has no NaN to fill with"),
    )
    return next((why for holds, why in rules if not holds), "")


def _within(numbers: tuple[int, ...], most: int) -> bool:
    return all(1 <= number <= most for number in numbers)
