"""The ``regress`` verb: two benchmark reports, two profiles or two releases side by side, for CI.

The report is on disk before the exit status is known to anybody.
"""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from warpsmith.analyse.compare import logs
from warpsmith.analyse.regress import Key, Quantity, fails, regress
from warpsmith.errors import BadInput
from warpsmith.model.base import short
from warpsmith.model.head import Direction
from warpsmith.model.metrics import METRICS, show
from warpsmith.model.profile import Profile
from warpsmith.model.release import BENCHMARK
from warpsmith.model.target import Target
from warpsmith.store.files import write_atomic
from warpsmith.surface.answers import NO, YES, BenchAnswer, BenchEntry
from warpsmith.surface.answers_ship import RegressAnswer
from warpsmith.surface.shelves import shelf
from warpsmith.surface.workspace import Workspace

COUNTS = (
    "instructions", "dram_bytes", "l2_bytes", "bank_conflicts", "local_instructions", "registers", "shared_bytes",
    "cpu_instructions", "cpu_reads", "cpu_writes", "cpu_l1_misses", "cpu_ll_misses",
)  # fmt: skip
"""What is compared of two profiles: counts of which less is better. Their durations are never used as times."""
LARGEST = 64 << 20


@dataclass
class Results:
    """One side of the comparison."""

    what: str
    kind: Literal["benchmark", "profile"]
    target: str
    """What has to be the same: hardware, device and architecture."""
    software: str
    quantities: dict[Key, Quantity] = field(default_factory=dict)
    rivals: dict[str, str] = field(default_factory=dict)
    """Kernel to the rival that it was measured beside."""


def run_regress(
    space: Workspace, baseline: str, current: str, threshold: float, output: Path, metric: str
) -> RegressAnswer:
    """Compare, write the report, answer. Raises BadInput for what cannot be compared."""
    space.outside_releases(output)
    if not 0 <= threshold < 1:
        raise BadInput(f"--threshold: {threshold} is not a share.", "Use such as 0.02, which is two per cent.")
    reports = [_report(space, side) for side in (baseline, current)]
    same_rival = _same_rival(*reports)
    before, after = (
        _results(side, said, same_rival, metric) for side, said in zip((baseline, current), reports, strict=True)
    )
    if before.kind != after.kind:
        raise BadInput(f"{baseline} is a {before.kind}, and {current} a {after.kind}.", "Compare two of one kind.")
    if before.target != after.target:
        raise BadInput(
            f"{baseline} is of {before.target}, and {current} of {after.target}: these are never compared.",
            "Measure both on one kind of device.",
        )
    notes = _notes(before, after, same_rival)
    changes = regress(before.quantities, after.quantities, threshold)
    if not changes:
        raise BadInput("there is nothing to compare in them.", "Name reports that hold results.")
    answer = RegressAnswer(
        exit_status=NO if fails(changes) else YES,
        baseline=baseline,
        current=current,
        kind=before.kind,
        threshold=threshold,
        changes=changes,
        notes=notes,
        report=str(output),
    )
    write_atomic(output, answer.model_dump_json(indent=1))
    write_atomic(output.with_suffix(".md"), markdown(answer))
    return answer


def _report(space: Workspace, named: str) -> BenchAnswer | Profile:
    """A benchmark report or a profile, from a file or a release. Raises BadInput."""
    path = Path(named)
    if not path.is_file():
        there = shelf(space)
        try:
            entry = there.find(named)
        except BadInput as unknown:
            raise BadInput(f"{named}: no such file, and {unknown.message}", unknown.remedy) from None
        path = there.place(entry.name, entry.version) / BENCHMARK
    if path.stat().st_size > LARGEST:
        raise BadInput(f"{path} is too large for a report.", "Name a report of 'bench' or 'profile'.")
    try:
        said = json.loads(path.read_bytes())
        if isinstance(said, dict) and "entries" in said:
            return BenchAnswer.model_validate_json(path.read_bytes())
        if isinstance(said, dict) and isinstance(said.get("profile"), dict):
            said = said["profile"]
        return Profile.model_validate_json(json.dumps(said))
    except (ValueError, ValidationError):
        raise BadInput(
            f"{path}: neither a benchmark report nor a profile of this version.",
            "Give a report of 'bench', what 'profile --json' printed, or a release.",
        ) from None


def _same_rival(before: BenchAnswer | Profile, after: BenchAnswer | Profile) -> bool:
    return isinstance(before, BenchAnswer) and isinstance(after, BenchAnswer) and before.rival == after.rival


def _results(named: str, said: BenchAnswer | Profile, same_rival: bool, metric: str) -> Results:
    if isinstance(said, Profile):
        return _profiled(named, said)
    try:
        target = Target.model_validate(said.environment["target"])
    except (KeyError, ValidationError):
        raise BadInput(f"{named}: the report does not say where it was measured.", "Measure it anew.") from None
    software = f"{target.driver}; {target.toolkit}; judge {said.environment.get('judge')}"
    found = Results(named, "benchmark", f"{target.device} ({target.architecture})", software)
    names = [e.name for e in said.entries]
    for number, entry in enumerate(said.entries):
        # two reports of one candidate each are about the same kernel, whatever it was called by then
        kernel = said.task if len(names) == 1 else f"{said.task}: {entry.name}"
        if len(names) > 1 and names.count(entry.name) > 1:
            kernel = f"{kernel} ({number + 1})"
        _measured(found, kernel, entry, same_rival, metric)
        found.rivals[kernel] = entry.evaluation.rival
    return found


def _measured(found: Results, kernel: str, entry: BenchEntry, same_rival: bool, metric: str) -> None:
    evaluation = entry.evaluation
    if not evaluation.passed:
        detail = f"{evaluation.status}: {evaluation.detail or evaluation.rival_detail}"
        found.quantities[kernel, "", metric] = Quantity((), math.nan, failed=detail)
        for result in evaluation.workloads:
            found.quantities[kernel, result.workload, metric] = Quantity((), math.nan, failed=detail)
        return
    for result in evaluation.workloads:
        for one in result.metrics:
            if one.name != metric:
                continue
            sign = 1.0 if one.direction is Direction.minimize else -1.0
            raw = tuple(math.exp(x) for x in logs(one)) if same_rival else tuple(x**sign for x in one.candidate)
            found.quantities[kernel, result.workload, metric] = Quantity(raw, statistics.median(one.candidate))


def _profiled(named: str, said: Profile) -> Results:
    found = Results(named, "profile", said.tool.split()[0], said.tool)
    for kernel in said.kernels:
        for key in COUNTS:
            if key in kernel.metrics:
                value = kernel.metrics[key]
                found.quantities[kernel.kernel, said.workload, key] = Quantity((value,), value)
    return found


def _notes(before: Results, after: Results, same_rival: bool) -> tuple[str, ...]:
    found = []
    if before.kind == "benchmark":
        found.append(
            f"compared by the ratio to the same rival ({short(next(iter(before.rivals.values())))})"
            if same_rival
            else "the rivals differ, so times are compared: what the machine did in between is in them"
        )
    else:
        found.append("counts are compared; a profiler's durations are no times")
    if before.software != after.software:
        found.append(f"software differs: {before.software} then, {after.software} now")
    return tuple(found)


def markdown(answer: RegressAnswer) -> str:
    """The report as a table, for a job's summary."""
    rows = ["| kernel | workload | metric | baseline | current | change | interval | outcome |", "|---" * 8 + "|"]
    for c in answer.changes:
        ends = f"{percent(c.low)} to {percent(c.high)}"
        numbers = (number(c.metric, c.baseline), number(c.metric, c.current), percent(c.change), ends)
        rows.append(f"| {' | '.join((c.kernel, c.workload, c.metric, *numbers, c.outcome))} |")
    verdict = "something regressed" if answer.exit_status else "nothing regressed"
    head = f"# {answer.baseline} -> {answer.current}: {verdict}\n\nThreshold {answer.threshold:.1%}. "
    return head + "; ".join(answer.notes) + ".\n\n" + "\n".join(rows) + "\n"


def percent(share: float | None) -> str:
    """A change as people read it."""
    return "-" if share is None else f"{share:+.2%}"


def number(metric: str, value: float | None) -> str:
    """A value in the unit of its metric."""
    if value is None:
        return "-"
    if metric == "time":
        return f"{value * 1e6:.4g} us"
    return show(metric, value) if metric in METRICS else f"{value:.4g}"
