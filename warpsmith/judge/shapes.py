"""Workloads that no task shows: empty, one, prime, odd and larger extents of the axes under ``[shapes]``. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from warpsmith.errors import ExpressionError
from warpsmith.model.head import Workload
from warpsmith.model.hidden import Extent
from warpsmith.model.task import KernelTask

MODEST = 96
"""Largest extent of the axes beside the one that is looked at, where the range allows."""
LARGEST_PRIME = 2048
"""Extents that are all prime, or all odd, go up to this, and never beyond the cost of the task's largest workload."""


def hidden_workloads(task: KernelTask, rng: random.Random) -> tuple[Workload, ...]:
    """Workloads drawn from the ranges of ``task.shapes``, named by what they are; none where it has no ranges."""
    if not task.shapes:
        return ()
    maker = _Maker(task, rng)
    for axis, extent in task.shapes.items():
        if extent.min == 0:
            maker.add("empty", {axis: 0})
    maker.add("least", {axis: extent.least for axis, extent in task.shapes.items()})
    if len(task.shapes) > 1:
        for axis, extent in task.shapes.items():
            maker.add("least", {axis: extent.least})
    maker.add("prime", maker.all_of(_is_prime))
    maker.add("odd", maker.all_of(lambda n: n % 2 == 1))
    for axis, extent in task.shapes.items():
        if (beyond := maker.beyond(axis, extent)) is not None:
            maker.add("beyond", {axis: beyond})
    return tuple(maker.made)


def smallest(task: KernelTask) -> Workload:
    """The workload of least traffic."""
    return min(task.workloads, key=task.traffic)


class _Maker:
    """Draws extents, and keeps what fits the task."""

    def __init__(self, task: KernelTask, rng: random.Random) -> None:
        self.task = task
        self.rng = rng
        self.base = smallest(task)
        self.made: list[Workload] = []
        self.most = max(task.traffic(w) + task.work(w) for w in task.workloads)

    def add(self, kind: str, axes: dict[str, int]) -> None:
        """One workload with ``axes``, and modest extents of the others; left out where it does not fit."""
        others = {a: self._modest(e) for a, e in self.task.shapes.items() if a not in axes}
        said = {a: {**axes, **others}[a] for a in self.task.shapes}
        name = f"hidden, {kind}: " + " ".join(f"{axis}={value}" for axis, value in said.items())
        workload = self.base.model_copy(update={"name": name[:80], "axes": {**self.base.axes, **said}, "weight": 1.0})
        try:
            self.task.check_workload(workload)
        except ValueError:
            return
        known = [self.base.axes, *(w.axes for w in self.made)]
        if workload.axes not in known and self._cost(workload) <= 2 * self.most:
            self.made.append(workload)

    def all_of(self, wanted: Callable[[int], bool]) -> dict[str, int]:
        """Extents of all axes, each so many multiples that ``wanted`` of their number, as large as is cheap."""
        limit = LARGEST_PRIME
        while True:
            axes = {}
            for axis, extent in self.task.shapes.items():
                step = extent.multiple_of
                counts = range(extent.least // step, max(extent.least, min(extent.max, limit * step)) // step + 1)
                fitting = [n for n in counts if n > 1 and wanted(n)] or list(counts)
                axes[axis] = self.rng.choice(fitting) * step
            workload = self.base.model_copy(update={"axes": {**self.base.axes, **axes}})
            if limit <= 2 or self._cost(workload) <= self.most:
                return axes
            limit //= 2

    def beyond(self, axis: str, extent: Extent) -> int | None:
        """An extent larger than any workload's, by up to an eighth and 64; None where the range ends before."""
        largest = max(w.axes[axis] for w in self.task.workloads)
        step = extent.multiple_of
        first = largest // step + 1
        last = min(extent.max, largest + largest // 8 + 64 * step) // step
        return self.rng.randint(first, last) * step if first <= last else None

    def _modest(self, extent: Extent) -> int:
        step = extent.multiple_of
        first = extent.least // step
        return self.rng.randint(first, max(first, min(extent.max // step, MODEST // step))) * step

    def _cost(self, workload: Workload) -> float:
        try:
            return self.task.traffic(workload) + self.task.work(workload)
        except ExpressionError:
            return math.inf


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))
