"""The guard table: where each variant holds, in the order in which it is chosen. Pure.

An axis that the judge varied (the task's ``[shapes]``) is covered from its least to its largest timed extent. Any other
was verified at the workloads' extents only, and numbers at the workloads' values: elsewhere the original is called.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from warpsmith.model.base import Digest, Record
from warpsmith.model.hidden import Extent
from warpsmith.model.release import MEASURED, Gain, Guard, ReleasedWorkload


class Bound(Record):
    """Extents that are covered: from ``low`` to ``high``, every ``multiple_of``-th."""

    low: int
    high: int
    multiple_of: int = 1

    def meets(self, other: Bound) -> bool:
        """Whether some extent lies in both; multiples are not looked into."""
        return self.low <= other.high and other.low <= self.high

    def holds(self, other: Bound) -> bool:
        """Whether every extent of ``other`` lies in this."""
        return self.low <= other.low and other.high <= self.high and other.multiple_of % self.multiple_of == 0


Box = dict[str, Bound]
"""By axis."""


class Row(Record):
    """One row of the guard table: a variant of a release, and where it holds."""

    release: str
    """``group/name@version``."""
    name: str
    """The release without its version: its task."""
    hardware: str
    architecture: str
    dtypes: dict[str, str]
    boxes: tuple[Box, ...]
    """Shapes: one of these has to hold the extents."""
    scalars: dict[str, tuple[float, ...]]
    """Numbers, each with the values that were verified."""
    alignment: int
    layout: str
    proof: Literal["measured", "compiled, not measured"]
    gain: Gain | None
    """Over the baseline; None where nothing was measured."""
    baseline: Digest
    candidate: Digest
    artefact: Digest

    @property
    def measured(self) -> bool:
        """Whether it may be dispatched without being asked for."""
        return self.proof == MEASURED

    @property
    def capability(self) -> int:
        """90 for ``sm_90a``; 0 for a processor."""
        found = re.match(r"sm_(\d+)", self.architecture)
        return int(found.group(1)) if found else 0

    def comparable(self, other: Row) -> bool:
        """Whether their gains are over the same baseline."""
        return (self.name, self.baseline) == (other.name, other.baseline)

    def _same_place(self, other: Row) -> bool:
        mine = (self.hardware, self.capability, self.measured, self.dtypes)
        return mine == (other.hardware, other.capability, other.measured, other.dtypes)

    def meets(self, other: Row) -> bool:
        """Whether some call would fit both."""
        numbers = all(set(v) & set(other.scalars.get(n, ())) for n, v in self.scalars.items())
        return self._same_place(other) and numbers and any(
            all(a[axis].meets(b[axis]) for axis in a) for a, b in itertools.product(self.boxes, other.boxes)
        )  # fmt: skip

    def holds(self, other: Row) -> bool:
        """Whether every call that fits ``other`` fits this."""
        numbers = all(set(other.scalars.get(n, ())) <= set(v) for n, v in self.scalars.items())
        aligned = self.alignment <= other.alignment
        return self._same_place(other) and numbers and aligned and all(
            any(all(a[axis].holds(b[axis]) for axis in a) for a in self.boxes) for b in other.boxes
        )  # fmt: skip


def boxes(workloads: Sequence[ReleasedWorkload], shapes: Mapping[str, Extent], guard: Guard) -> tuple[Box, ...]:
    """Where a variant holds: a box for each combination of the axes that the judge did not vary."""
    groups: dict[tuple[tuple[str, int], ...], list[dict[str, int]]] = {}
    for workload in workloads:
        fixed = tuple((n, v) for n, v in sorted(workload.axes.items()) if n not in shapes)
        groups.setdefault(fixed, []).append(workload.axes)
    found = []
    for members in groups.values():
        box = {}
        for axis in members[0]:
            low, high = min(m[axis] for m in members), max(m[axis] for m in members)
            least, most = guard.axes.get(axis, (low, high))
            step = shapes[axis].multiple_of if axis in shapes else 1
            box[axis] = Bound(low=max(low, least), high=min(high, most), multiple_of=step)
        if all(b.low <= b.high for b in box.values()):
            found.append(box)
    return tuple(found)


def numbers(workloads: Sequence[ReleasedWorkload], stated: Mapping[str, float | None]) -> dict[str, tuple[float, ...]]:
    """Every number with the values of the workloads. ``stated``: the task's own values by name."""
    found = {name: {w.scalars.get(name, value) for w in workloads} for name, value in stated.items()}
    return {name: tuple(sorted(v for v in values if v is not None)) for name, values in found.items()}


def order(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Measured rows first; of these the largest gain, and the latest of equals. ``rows``: oldest first."""
    last = len(rows)
    place = {id(row): at for at, row in enumerate(rows)}
    return tuple(
        sorted(rows, key=lambda r: (not r.measured, -(r.gain.speedup if r.gain else 0.0), last - place[id(r)]))
    )


def never_chosen(rows: Sequence[Row]) -> dict[int, Row]:
    """By position in the table: rows that an earlier one covers whole, and that one."""
    found = {}
    for at, row in enumerate(rows):
        first = next((r for r in rows[:at] if r.comparable(row) and r.holds(row)), None)
        if first is not None:
            found[at] = first
    return found


def contradictions(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Pairs that cover the same calls, and whose gains cannot be compared: they are over different baselines."""
    return [(a, b) for a, b in itertools.combinations(rows, 2) if a.measured and not a.comparable(b) and a.meets(b)]
