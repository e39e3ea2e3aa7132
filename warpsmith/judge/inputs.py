"""Hidden inputs: contents that no call has seen before, from a seed that never leaves the judge.

A pool of standard normal values is drawn once for a task; the values of one tensor are the sum of two slices of it
at random offsets, so fresh contents cost two reads of memory, and 2^40 pairs of offsets make a repeat as good as
impossible.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from warpsmith.judge.numeric import Array, Numeric
from warpsmith.model.head import Workload
from warpsmith.model.task import Argument, Dtype, KernelTask, Role

SPREAD = 1 << 20
"""Offsets to choose from, per slice."""
LARGEST_SPIKE = {True: 240.0, False: 16.0}
"""Where the task draws ``outliers``, and where it does not: no larger than what its kernels must take anyway."""
RAREST = 64
"""Of so many elements of a row at most one is a spike."""


EXTREME_OCTAVES = {Dtype.f16: 8}
"""``extremes`` reaches so many powers of two either way; 20 where nothing is said. The smallest value is 2^-4 of the
lowest, which is a normal number in every float type, and products of two stay far from overflow in all but f16."""


def _outliers(z: Array, xp: Any, dtype: Dtype) -> Array:
    return xp.where(xp.abs(z) > 2.5, z * 50.0, z)


def _cancellation(z: Array, xp: Any, dtype: Dtype) -> Array:
    """The second half of a row nearly undoes the first. By halves, so that no order of summing has it easier."""
    half = z.shape[1] // 2
    first, second, rest = z[:, :half], z[:, half : 2 * half], z[:, 2 * half :]
    return xp.concat([first, -first * (1.0 + 0.25 * second), rest], axis=1)


def _sparse(z: Array, xp: Any, dtype: Dtype) -> Array:
    return xp.where(xp.abs(z) > 1.5, z, xp.zeros_like(z))


def _extremes(z: Array, xp: Any, dtype: Dtype) -> Array:
    """Powers of two from the later digits of z, which are as good as independent of the leading ones."""
    octaves = EXTREME_OCTAVES.get(dtype, 20)
    size = xp.abs(z)
    digits = size * 1024.0
    power = xp.floor((digits - xp.floor(digits)) * (2 * octaves + 1)) - octaves
    size = xp.clip(size, 2.0**-4, math.inf) * 2.0**power
    return xp.where(z < 0, -size, size)


def _nonfinite(z: Array, xp: Any, dtype: Dtype) -> Array:
    """About one element in 1400 is infinite, and as many are NaN."""
    special = xp.where(xp.abs(z) > 3.4, xp.full_like(z, math.nan), xp.where(z > 0, math.inf, -math.inf))
    return xp.where(xp.abs(z) > 3.2, special, z)


FAMILIES: dict[str, Callable[[Array, Any, Dtype], Array]] = {
    "normal": lambda z, xp, dtype: z,
    "offset": lambda z, xp, dtype: z * 0.25 + 2.0,
    "positive": lambda z, xp, dtype: z - xp.floor(z),
    "outliers": _outliers,
    "integers": lambda z, xp, dtype: xp.round(z * 2.0),
    "large": lambda z, xp, dtype: z * 1024.0,
    "tiny": lambda z, xp, dtype: z * 0.0009765625,
    "cancellation": _cancellation,
    "sparse": _sparse,
    "extremes": _extremes,
}
"""Value distributions that every task meets, by name; each maps standard normal float32 values, row by row."""
OPTIONAL: dict[str, Callable[[Array, Any, Dtype], Array]] = {"nonfinite": _nonfinite}
"""Those that a task asks for by name; integer tensors stay ``normal``."""
_ALL = {**FAMILIES, **OPTIONAL}


class HiddenInputs:
    """Draws the inputs of one task, on its own workloads or on others."""

    def __init__(
        self, task: KernelTask, numeric: Numeric, seed: int, workloads: tuple[Workload, ...] | None = None
    ) -> None:
        self.task = task
        self.numeric = numeric
        self.rng = random.Random(seed)
        self.tensors = [a for a in task.arguments if a.role is Role.input]
        seen = workloads or task.workloads
        largest = max((math.prod(a.extent(w.axes)) for w in seen for a in self.tensors), default=0)
        self.pool = numeric.normal(largest + SPREAD, self.rng.getrandbits(62))

    def draw(self, workload: Workload, family: str = "normal") -> dict[str, Array]:
        """One storage array per input tensor, all of one family; ``normal`` at a random power-of-two scale."""
        scale = self._scale() if family == "normal" else 1.0
        return {a.name: self._tensor(a.extent(workload.axes), a, family, scale) for a in self.tensors}

    def draw_timed(self, workload: Workload) -> dict[str, Array]:
        """The same for a timed call: normal, and planted with what no part of a row tells of the rest of it.

        Rare spikes lie at random places of about two rows in five, and lead the mean square there; now and then a few
        rows are of another family. So to sample a row, or to guess from its look, is wrong here too.
        """
        scale = self._scale()
        return {a.name: self._tensor(a.extent(workload.axes), a, "normal", scale, plant=True) for a in self.tensors}

    def _scale(self) -> float:
        return float(2.0 ** self.rng.randint(-2, 2))

    def _tensor(
        self, shape: tuple[int, ...], argument: Argument, family: str, scale: float, *, plant: bool = False
    ) -> Array:
        count = math.prod(shape)
        first, second = (self.rng.randrange(SPREAD) for _ in range(2))
        z = self.pool[first : first + count] + self.pool[second : second + count]
        z *= math.sqrt(0.5) * scale
        columns = shape[-1] if shape else 1
        made = FAMILIES["normal"] if family in OPTIONAL and not argument.element.is_float else _ALL[family]
        values = z if count == 0 else made(z.reshape(-1, columns), self.numeric.xp, argument.element)
        if plant and count:
            self._plant(values, argument.element, scale)
        if not argument.element.is_float:
            values = self.numeric.xp.clip(self.numeric.xp.round(values * 4.0), -8.0, 8.0)
            if argument.element is Dtype.u8:
                values = self.numeric.xp.abs(values)
        return self.numeric.xp.reshape(self.numeric.cast(values, argument.element), shape)

    def _plant(self, values: Array, dtype: Dtype, scale: float) -> None:
        """Put spikes, and now and then rows of another family, into normal ``values`` [rows, columns] of that scale."""
        rows, columns = values.shape
        others = [f for f in self.task.drawn if f in FAMILIES and f != "normal"]
        if others and self.rng.random() < 0.25:
            few = self.rng.randint(1, max(1, rows // 8))
            start = self.rng.randint(0, rows - few)
            some = values[start : start + few]
            some[...] = FAMILIES[self.rng.choice(others)](some / scale, self.numeric.xp, dtype)
        chosen = rows // 2 if rows > 1 else self.rng.randint(0, 1)
        energy = self.rng.uniform(0.5, 4.0) * columns * scale**2
        size = min(math.sqrt(energy), LARGEST_SPIKE["outliers" in self.task.drawn])
        spikes = max(1, min(round(energy / size**2), columns // RAREST))
        row, column = self._integers(rows, chosen, 1), self._integers(columns, chosen, spikes)
        sign = 2 * self._integers(2, chosen, spikes) - 1
        values[row, column] = self.numeric.cast(sign * size, Dtype.f32)

    def _integers(self, below: int, *shape: int) -> Array:
        return self.numeric.integers(below, shape, self.rng.getrandbits(62))
