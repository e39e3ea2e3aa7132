"""Outputs that a caller did not bring: a new buffer of the right shape, in torch or in numpy. Standard library only."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

TORCH = {
    "f64": "float64", "f32": "float32", "f16": "float16", "bf16": "bfloat16", "i64": "int64", "i32": "int32",
    "i8": "int8", "u8": "uint8",
}  # fmt: skip
"""Element type to torch's and numpy's name of it; numpy has no bfloat16."""


def allocate(said: Mapping[str, Any], output: str, values: Mapping[str, Any]) -> Any:
    """A buffer for an output. ``said`` is export.json, ``values`` the other arguments by name."""
    how = said["outputs"][output]
    like = values.get(how["like"]) if how["like"] else None
    torch = sys.modules.get("torch")
    if torch is not None and like is not None and isinstance(like, torch.Tensor):
        return torch.empty_like(like)
    first = like if like is not None else values[how["device_of"]]
    shape = tuple(first.shape) if like is not None else extents(said, output, values)
    if torch is not None and isinstance(first, torch.Tensor):
        dtype = values[how["dtype_of"]].dtype if how["dtype_of"] else getattr(torch, TORCH[how["dtype"]])
        return torch.empty(shape, dtype=dtype, device=first.device)
    import numpy

    dtype = values[how["dtype_of"]].dtype if how["dtype_of"] else numpy.dtype(TORCH[how["dtype"]])
    return _aligned(numpy, shape, dtype, said["alignment"])


def extents(said: Mapping[str, Any], tensor: str, values: Mapping[str, Any]) -> tuple[Any, ...]:
    """The shape of a tensor, from those of the inputs. Raises as its expression does."""
    axes: dict[str, Any] = {}
    for axis, (source, at) in said["axes_from"].items():
        if values.get(source) is not None:
            shape, rank = values[source].shape, len(said["shapes"][source])
            extra = len(shape) - rank
            axes[axis] = math.prod(shape[: extra + 1]) if at == 0 and extra > 0 else shape[at + extra]
    axes.update({name: values[name] for name in said["axes"] if values.get(name) is not None})
    scope = {"__builtins__": {}, **FUNCTIONS, **axes}
    return tuple(dim if isinstance(dim, int) else eval(dim, scope) for dim in said["shapes"][tensor])


def _aligned(numpy: Any, shape: Sequence[int], dtype: Any, alignment: int) -> Any:
    """Numpy promises 16 bytes; the guard may ask for more."""
    size = math.prod(shape) * dtype.itemsize
    raw = numpy.empty(size + alignment, dtype=numpy.uint8)
    offset = -raw.ctypes.data % alignment
    return raw[offset : offset + size].view(dtype).reshape(shape)


def _ceil_div(a: Any, b: Any) -> Any:
    return -(-a // b)


def _round_up(a: Any, b: Any) -> Any:
    return _ceil_div(a, b) * b


def _next_pow2(a: Any) -> Any:
    return 1 << max(0, math.ceil(a) - 1).bit_length()


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "ceil_div": _ceil_div, "round_up": _round_up, "next_pow2": _next_pow2, "min": min, "max": max, "abs": abs,
}  # fmt: skip
"""What a shape's expression may call."""
