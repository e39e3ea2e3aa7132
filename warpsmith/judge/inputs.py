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
from warpsmith.model.task import Dtype, KernelTask, Role, Workload

SPREAD = 1 << 20
"""Offsets to choose from, per slice."""


def _outliers(z: Array, xp: Any) -> Array:
    return xp.where(xp.abs(z) > 2.5, z * 50.0, z)


FAMILIES: dict[str, Callable[[Array, Any], Array]] = {
    "normal": lambda z, xp: z,
    "offset": lambda z, xp: z * 0.25 + 2.0,
    "positive": lambda z, xp: z - xp.floor(z),
    "outliers": _outliers,
    "integers": lambda z, xp: xp.round(z * 2.0),
    "large": lambda z, xp: z * 1024.0,
    "tiny": lambda z, xp: z * 0.0009765625,
}
"""Value distributions by name; each maps standard normal float32 values."""


class HiddenInputs:
    """Draws the inputs of one task."""

    def __init__(self, task: KernelTask, numeric: Numeric, seed: int) -> None:
        self.task = task
        self.numeric = numeric
        self.rng = random.Random(seed)
        self.tensors = [a for a in task.arguments if a.role is Role.input]
        largest = max((math.prod(a.extent(w.axes)) for w in task.workloads for a in self.tensors), default=0)
        self.pool = numeric.normal(largest + SPREAD, self.rng.getrandbits(62))

    def draw(self, workload: Workload, family: str = "normal") -> dict[str, Array]:
        """One storage array per input tensor. Timed calls take ``normal``, at a random power-of-two scale."""
        scale = 2.0 ** self.rng.randint(-2, 2) if family == "normal" else 1.0
        return {a.name: self._tensor(a.extent(workload.axes), a, family, scale) for a in self.tensors}

    def _tensor(self, shape: tuple[int, ...], argument: Any, family: str, scale: float) -> Array:
        count = math.prod(shape)
        first, second = (self.rng.randrange(SPREAD) for _ in range(2))
        z = self.pool[first : first + count] + self.pool[second : second + count]
        z *= math.sqrt(0.5) * scale
        values = FAMILIES[family](z, self.numeric.xp)
        if not argument.element.is_float:
            values = self.numeric.xp.clip(self.numeric.xp.round(values * 4.0), -8.0, 8.0)
            if argument.element is Dtype.u8:
                values = self.numeric.xp.abs(values)
        return self.numeric.xp.reshape(self.numeric.cast(values, argument.element), shape)
