"""What the verbs answer: typed records that become text, JSON, and later MCP results and web pages."""

from __future__ import annotations

from typing import Any

from warpsmith.analyse.costs import Costs
from warpsmith.analyse.rates import Rate, rate
from warpsmith.model.base import Record
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Evaluation
from warpsmith.model.profile import Diagnosis, NextEdit, Profile
from warpsmith.model.target import Calibration, Target
from warpsmith.surface.labelled import LabelledRun
from warpsmith.surface.ratio import Ratio
from warpsmith.surface.view import Row, View

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
    misjudged: Rate | None = None
    """How many of the planted were misjudged; None where none was planted."""


def calibration_row(target: Target, measured: Calibration) -> dict[str, Any]:
    """A calibration as ``doctor`` answers it: the device, what was measured, and how often identical candidates were
    called different, at worst.
    """
    wrong = rate(measured.different, measured.comparisons)
    named = {"hardware": target.hardware, "device": target.device}
    return {**named, **measured.model_dump(mode="json"), "different": wrong.model_dump(mode="json")}


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
    broken: tuple[str, ...] = ()
    """Guardrails that it breaks, as ``workload/metric``."""
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
    tag: str = ""
    """The campaign that it is recorded with; empty where it is not."""
    files: dict[str, str] = {}
    """Of a recorded one: ledger, page, plots and logs, by what they are."""
    note: str = ""
    """Why there are no plots."""


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
    costs: Costs
    """What asking models cost."""
    labelled: tuple[LabelledRun, ...] = ()
    """Evaluations that somebody made by hand under this tag."""
    rhythm: tuple[str, ...] = ()
    """What the history asks for next: it is time to escalate."""
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


class ProfileAnswer(Answer):
    """What a profiler saw; of a candidate, or of a program (then ``task`` and ``candidate`` are empty)."""

    task: str
    candidate: str
    profile: Profile | None = None
    evaluation: Evaluation | None = None
    """What the sanitizers said, where they were asked."""
    reports: tuple[str, ...] = ()
    """Where the tool's own reports are kept."""


class ExplainAnswer(Answer):
    """What limits a candidate, and what to do next."""

    task: str
    candidate: str
    profile: Profile
    reused: bool
    """Whether the profile was kept from before."""
    diagnoses: tuple[Diagnosis, ...]
    """One per kernel, the one that takes most of the time first."""
    edit: NextEdit
    """The one next edit: that of the first kernel."""
    records: dict[str, Rate] = {}
    """How often the advice of a rule that is named came true on this device; rules that nobody followed are left out.
    """
    skills: tuple[str, ...] = ()
    """Those that these diagnoses call for, the most pressing first; ``knowledge show`` has them in full."""
    rhythm: tuple[str, ...] = ()
    """What the campaign's history asks for next, where there is one."""
    reports: tuple[str, ...] = ()
