"""What the verbs of exports answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from warpsmith.model.base import Record
from warpsmith.ship.export.family import Against
from warpsmith.ship.export.guards import Row
from warpsmith.ship.export.keeping import Export
from warpsmith.surface.answers import NO, Answer

CANNOT_BE = 3
ASKED = {"unknown_release", "bad_name", "other_abi", "guards_contradict", "not_a_kernel", "never_chosen"}
"""Reasons that lie in what was asked for."""


def exit_status(against: Sequence[Against]) -> int:
    """3 where what was asked for cannot be, else 1."""
    return CANNOT_BE if {a.reason for a in against} & ASKED else NO


class ExportAnswer(Answer):
    """An export in its place, or every reason why there is none."""

    name: str
    kind: str
    against: tuple[Against, ...] = ()
    export: Export | None = None
    path: str = ""
    rows: tuple[Row, ...] = ()
    """The guard table, in the order of choice."""
    notes: tuple[str, ...] = ()
    added_cost: Any = None
    """Nanoseconds that dispatch adds to a call, with their interval; or why they are not known."""
    installed_path: Any = None
    """Speed-ups where it is called, each beside the one that has to arrive; or why they are not known."""
    reverted: bool = False


class ExportRow(Record):
    """One export of a list."""

    export: Export
    path: str
    problem: str = ""


class ExportsAnswer(Answer):
    """What was exported."""

    folder: str
    exports: tuple[ExportRow, ...]
