"""What is found in the course of one measurement, and the evaluation that is made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from warpsmith.judge import VERSION
from warpsmith.judge.bound import BaselineBound
from warpsmith.judge.contract import Runner
from warpsmith.judge.disturbance import Disturbance, Rounds, Times
from warpsmith.judge.failures import CandidateFailed
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import (
    Build,
    Ceiling,
    Evaluation,
    Metric,
    SanitizerResult,
    Status,
    TensorError,
    WorkloadResult,
)
from warpsmith.model.head import Direction, Workload
from warpsmith.model.step import Request
from warpsmith.toolchains.cache import Built


@dataclass
class Side:
    """One of the candidates under measurement."""

    candidate: Candidate
    folder: Path
    built: Built | None = None
    runner: Runner | None = None
    turns: int = 0
    """Starts and calls so far."""
    spent_s: float = 0.0
    """Seconds that they took."""
    sanitizers: tuple[SanitizerResult, ...] = ()
    """What the sanitizers said, where they were asked."""

    @property
    def live(self) -> Runner:
        """The runner, which exists from the second phase on."""
        assert self.runner is not None
        return self.runner

    def report(self) -> Build | None:
        """What building gave, with what only the device knows of the kernels; None where nothing was built."""
        if self.built is None:
            return None
        loaded = self.runner.kernels() if self.runner else {}
        kernels = tuple(k.model_copy(update=loaded.get(k.name, {})) for k in self.built.build.kernels)
        return self.built.build.model_copy(update={"kernels": kernels})


class SideFailed(Exception):
    """A side failed, on a workload or before any."""

    def __init__(self, side: Side, failure: CandidateFailed, workload: Workload | None) -> None:
        super().__init__(str(failure))
        self.side = side
        self.failure = failure
        self.workload = workload

    @property
    def named(self) -> str:
        """The failure with the workload where it showed."""
        return f"workload {self.workload.name!r}: {self.failure.detail}" if self.workload else self.failure.detail


@dataclass
class Seen:
    """What was found so far of one workload."""

    calls: int = 0
    errors: dict[str, TensorError] = field(default_factory=dict)
    bounds: dict[str, BaselineBound] = field(default_factory=dict)
    repeats: int = 1
    samples: list[Times] = field(default_factory=list)
    """Of each pair, without the rounds that were dropped."""
    first: list[Times] = field(default_factory=list)
    """Of each pair, from the rounds as they were first taken."""
    copies: list[float] = field(default_factory=list)
    copied: tuple[int, str] = (0, "")

    def add(self, rounds: Rounds) -> None:
        """The samples of a pair that is complete."""
        self.samples.append(rounds.sample())
        self.first.append(rounds.first())

    def keep_worst(self, error: TensorError) -> None:
        """Keep the larger of each number of this output's errors so far and ``error``'s."""
        old = self.errors.get(error.tensor, error)
        self.errors[error.tensor] = error.model_copy(
            update={
                "relative_rms": max(error.relative_rms, old.relative_rms),
                "worst_row": max(error.worst_row, old.worst_row),
                "matched": min(error.matched, old.matched),
            }
        )

    def result(self, workload: Workload, failure: CandidateFailed | None, times: list[Times]) -> WorkloadResult:
        """The record of the workload; metrics of ``times`` where it passed."""
        errors = []
        for name, error in self.errors.items():
            bound = self.bounds.get(name)
            errors.append(error.model_copy(update={"baseline": bound.closest}) if bound and bound.closest else error)
        metrics: tuple[Metric, ...] = ()
        if failure is None and times:
            mine, other = tuple(t[0] for t in times), tuple(t[1] for t in times)
            metrics = (Metric(name="time", unit="s", direction=Direction.minimize, candidate=mine, rival=other),)
        traffic, how = self.copied
        return WorkloadResult(
            workload=workload.name,
            status=failure.status if failure else Status.passed,
            detail=failure.detail if failure else "",
            calls=self.calls,
            errors=tuple(errors),
            metrics=metrics,
            ceiling=Ceiling(bytes=traffic, seconds=tuple(self.copies), how=how) if self.copies and metrics else None,
        )


def evaluation(
    request: Request,
    candidate: Side,
    seen: list[Seen],
    failed: SideFailed | None,
    conditions: tuple[str, ...],
    disturbance: Disturbance,
) -> Evaluation:
    """What was found of ``candidate``; ``failed`` is what ended the measurement early."""
    disturbed = disturbance.record()
    ours = failed is None or failed.side is candidate
    status = failed.failure.status if failed else Status.passed
    named = failed.named if failed else ""
    task = request.task
    results = []
    for workload, found in zip(task.workloads, seen, strict=True):
        if failed is not None and failed.workload is workload:
            results.append(found.result(workload, failed.failure, []))
        elif found.calls and (failed is None or not found.samples):
            times = found.first if disturbance.one_sided else found.samples
            results.append(found.result(workload, None, times if failed is None else []))
    return Evaluation(
        task=request.task_digest,
        candidate=request.candidate.id,
        rival=request.rival.id,
        target=request.target.key,
        judge=VERSION,
        effort=request.step.effort,
        status=status,
        detail=named if ours else f"the rival failed: {named}",
        build=candidate.report(),
        workloads=tuple(results) if ours and status is not Status.build_failed else (),
        rival_status=Status.passed if ours else status,
        rival_detail="" if ours else named,
        conditions=(*conditions, disturbed.said) if disturbed else conditions,
        disturbed=disturbed,
        sanitizers=candidate.sanitizers,
    )
