"""What the verbs answer: typed records that become text, JSON, and later MCP results and web pages."""

from __future__ import annotations

from typing import Any

from warpsmith.model.base import Record
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Evaluation
from warpsmith.surface.view import Ratio, Row, View

YES, NO, NOTHING_GAINED = 0, 1, 2
"""Exit statuses of a verb that was carried out (docs/cli.md)."""


class Answer(Record):
    """Base of all answers."""

    exit_status: int = YES


class Check(Record):
    """One line of ``doctor``."""

    name: str
    works: bool
    detail: str
    remedy: str = ""


class PlantCheck(Record):
    """One planted candidate of ``doctor --judge``."""

    hardware: str
    name: str
    what: str
    expected: str
    given: str
    detail: str
    right: bool
    seconds: float


class DoctorAnswer(Answer):
    """What this machine can do, and whether the judge finds what was planted."""

    checks: tuple[Check, ...]
    calibrations: tuple[dict[str, Any], ...] = ()
    plants: tuple[PlantCheck, ...] = ()


class NewAnswer(Answer):
    """A task folder that was made."""

    task: str
    folder: str
    files: tuple[str, ...]


class CheckAnswer(Answer):
    """Whether a candidate builds and is right."""

    task: str
    candidate: str
    evaluation: Evaluation


class BenchEntry(Record):
    """One candidate of a benchmark."""

    name: str
    candidate: Candidate
    """Whole, so that a report can be named as a rival later (``--against NAME``)."""
    status: str
    detail: str
    verdict: str | None
    ratio: Ratio | None
    workloads: dict[str, Ratio]
    regressed: tuple[str, ...]
    evaluation: Evaluation


class BenchAnswer(Answer):
    """A benchmark report: environment, command, notes and comparison."""

    task: str
    name: str
    against: str
    rival: str
    effort: str
    environment: dict[str, Any]
    command: tuple[str, ...]
    notes: str
    at: str
    noise_floor: float
    entries: tuple[BenchEntry, ...]
    report: str
    """Where this report was written."""


class OptimizeAnswer(Answer):
    """How a campaign ended."""

    view: View
    report: str


class StopAnswer(Answer):
    """Whether there was something to stop."""

    task: str
    tag: str
    stopped: bool


class SubmitAnswer(Answer):
    """The verdict on a candidate from outside."""

    task: str
    row: Row
    best: bool


class HistoryAnswer(Answer):
    """What was tried, and why it was kept or rejected."""

    task: str
    tags: tuple[str, ...]
    tag: str
    ledger: str
    ledger_sha256: str
    rows: tuple[Row, ...]
    exported: tuple[str, ...] = ()


class ShowAnswer(Answer):
    """One candidate, whole."""

    task: str
    row: Row
    candidate: dict[str, Any]
    sources: dict[str, str]
    evaluations: tuple[Evaluation, ...]


class DiffAnswer(Answer):
    """What differs between two candidates, and what that did."""

    a: str
    b: str
    parameters: dict[str, tuple[int | None, int | None]]
    fields: dict[str, tuple[Any, Any]]
    sources: str
    """Unified diff."""
    ratio: Ratio | None
    """Speed-up of b over a: measured directly, else chained through the ledger without an interval."""
    how: str


class ReportAnswer(Answer):
    """Where the report was written."""

    task: str
    html: str
    markdown: str
