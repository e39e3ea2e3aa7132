"""Arrays of the judge: numpy on the CPU, torch on a GPU, behind the array-API standard.

Owns the only places that know how to draw, cast and view memory per library. Imports torch only when asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from warpsmith.errors import BadInput, Missing
from warpsmith.judge.misses import Misses
from warpsmith.model.task import Dtype

Array = Any
MissesOf = Callable[[Array, Array, Dtype, float, float], Misses | None]
"""Of output, oracle, dtype, element-wise factor and the least size of a row as a share of the mean."""


class Numeric(Protocol):
    """What the judge needs of an array library. Storage arrays have the task's dtype, oracle arrays are float64."""

    xp: Any
    name: str
    block: int
    """Elements to verify at a time."""
    misses: MissesOf | None
    """What compares a storage array [rows, columns] with its float64 oracle faster than array functions do; it gives
    None where it cannot."""

    def normal(self, count: int, seed: int) -> Array:
        """``count`` standard normal float32 values."""

    def integers(self, below: int, shape: tuple[int, ...], seed: int) -> Array:
        """Random int64 values from 0 to ``below`` - 1."""

    def cast(self, values: Array, dtype: Dtype) -> Array:
        """float32 values to storage, with the rounding of the hardware."""

    def f64(self, stored: Array) -> Array:
        """Storage to float64, exactly."""

    def same_bits(self, a: Array, b: Array) -> bool:
        """Whether two storage arrays hold the same bytes."""

    def number(self, value: Array) -> float:
        """A zero-dimensional array as a float."""


class NumpyNumeric:
    """numpy. bf16 is unknown to it, so CPU tasks cannot use it."""

    name = "numpy float64 on the CPU"
    block = 1 << 17
    misses: MissesOf | None = None
    dtypes: dict[str, Any] = {
        "f64": np.float64, "f32": np.float32, "f16": np.float16,
        "i64": np.int64, "i32": np.int32, "i8": np.int8, "u8": np.uint8,
    }  # fmt: skip

    def __init__(self) -> None:
        import array_api_compat.numpy

        self.xp: Any = array_api_compat.numpy

    def dtype(self, dtype: Dtype) -> Any:
        """The numpy dtype. Raises BadInput for bf16."""
        if dtype.value not in self.dtypes:
            raise BadInput(f"the dtype {dtype} is not available on the CPU.", f"Use one of {sorted(self.dtypes)}.")
        return self.dtypes[dtype.value]

    def normal(self, count: int, seed: int) -> Array:
        return np.random.Generator(np.random.SFC64(seed)).standard_normal(count, np.float32)

    def integers(self, below: int, shape: tuple[int, ...], seed: int) -> Array:
        return np.random.Generator(np.random.SFC64(seed)).integers(below, size=shape)

    def cast(self, values: Array, dtype: Dtype) -> Array:
        return values.astype(self.dtype(dtype))

    def f64(self, stored: Array) -> Array:
        return stored.astype(np.float64)

    def same_bits(self, a: Array, b: Array) -> bool:
        return bool(np.array_equal(a.reshape(-1).view(np.uint8), b.reshape(-1).view(np.uint8)))

    def number(self, value: Array) -> float:
        return float(value)


class TorchNumeric:
    """torch on one GPU. Runs in the judge's own context, which the launcher never maps."""

    name = "torch float64 on the GPU"
    block = 1 << 27
    misses: MissesOf | None = None

    def __init__(self, device: str = "cuda") -> None:
        try:
            import array_api_compat.torch
            import torch
        except ImportError as error:
            raise Missing(
                f"the float64 oracle on the device needs torch ({error}).", "Install warpsmith[gpu]."
            ) from None
        self.torch = torch
        self.xp: Any = array_api_compat.torch
        self.device = device
        torch.backends.cuda.matmul.allow_tf32 = False
        self.dtypes: dict[str, Any] = {
            "f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16,
            "i64": torch.int64, "i32": torch.int32, "i8": torch.int8, "u8": torch.uint8,
        }  # fmt: skip

    def dtype(self, dtype: Dtype) -> Any:
        """The torch dtype."""
        return self.dtypes[dtype.value]

    def normal(self, count: int, seed: int) -> Array:
        generator = self.torch.Generator(self.device).manual_seed(seed)
        return self.torch.randn(count, generator=generator, device=self.device, dtype=self.torch.float32)

    def integers(self, below: int, shape: tuple[int, ...], seed: int) -> Array:
        generator = self.torch.Generator(self.device).manual_seed(seed)
        return self.torch.randint(below, shape, generator=generator, device=self.device)

    def cast(self, values: Array, dtype: Dtype) -> Array:
        return values.to(self.dtype(dtype))

    def f64(self, stored: Array) -> Array:
        return stored.to(self.torch.float64)

    def same_bits(self, a: Array, b: Array) -> bool:
        return bool(self.torch.equal(a.reshape(-1).view(self.torch.uint8), b.reshape(-1).view(self.torch.uint8)))

    def number(self, value: Array) -> float:
        return float(value.item())
