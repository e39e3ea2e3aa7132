"""Evaluations: what was found. Owns the statuses and refuses records that make no sense; knows no clock."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from warpsmith.model.base import Digest, Record
from warpsmith.model.task import Direction


class Status(StrEnum):
    """How an evaluation ended. A fault (worker killed from outside, host lost) is not among them: see step.Fault."""

    passed = "passed"
    build_failed = "build_failed"
    wrong_shape = "wrong_shape"
    wrong_dtype = "wrong_dtype"
    wrong_values = "wrong_values"
    nondeterministic = "nondeterministic"
    crashed = "crashed"
    timed_out = "timed_out"
    cheated = "cheated"


class Trust(StrEnum):
    """Who vouches for the numbers: our judge, or the harness of a command or serving task."""

    judged = "judged"
    harness_reported = "harness_reported"


class Effort(StrEnum):
    """How much a measurement proves. The number of pairs is fixed beforehand: nobody peeks."""

    check = "check"
    screen = "screen"
    confirm = "confirm"
    promote = "promote"

    @property
    def pairs(self) -> int:
        """Interleaved pairs of candidate and rival."""
        return {"check": 0, "screen": 3, "confirm": 10, "promote": 20}[self.value]

    @property
    def fresh(self) -> bool:
        """Whether every pair runs in processes of its own."""
        return self in (Effort.confirm, Effort.promote)


Sample = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Metric(Record):
    """One measured quantity as paired samples: ``candidate[i]`` and ``rival[i]`` were taken together.

    ``time`` (unit ``s``, lower is better) is the metric of kernel tasks: each sample is the median of that pair's
    timed calls.
    """

    name: str
    unit: str
    direction: Direction
    candidate: Annotated[tuple[Sample, ...], Field(min_length=1)]
    rival: tuple[Sample, ...]

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if len(self.candidate) != len(self.rival):
            raise ValueError(f"metric {self.name!r}: {len(self.candidate)} samples face {len(self.rival)}")
        return self


class BesideBaseline(Record):
    """The call where one output came closest to the limits that the baseline sets on the same hidden inputs."""

    inputs: str
    """The family of those inputs, or ``timed`` for a timed call."""
    relative_rms: Annotated[float, Field(ge=0)]
    worst_row: Annotated[float, Field(ge=0)]
    baseline_rms: Annotated[float, Field(ge=0)]
    baseline_row: Annotated[float, Field(ge=0)]
    rms_limit: Annotated[float, Field(ge=0)]
    """The limit that held: twice the baseline's error, no less than a few roundings, no more than the dtype's."""
    row_limit: Annotated[float, Field(ge=0)]

    @property
    def share(self) -> float:
        """The larger of the two errors as a share of its limit; passing needs at most 1."""
        return max(self.relative_rms / self.rms_limit, self.worst_row / self.row_limit)


class TensorError(Record):
    """The worst error seen on one output over all verified calls, as shares (relative RMS against float64)."""

    tensor: str
    relative_rms: Annotated[float, Field(ge=0)]
    worst_row: Annotated[float, Field(ge=0)]
    limit: Annotated[float, Field(ge=0)]
    matched: Annotated[float, Field(ge=0, le=1)]
    """Share of elements within the element-wise limit; passing needs exactly 1."""
    baseline: BesideBaseline | None = None
    """How it stood beside the baseline; None where the baseline sets no limit or was not called."""


class Ceiling(Record):
    """Seconds that a trusted plain copy of the same traffic took in the same pairs, cold: what to compare with."""

    bytes: Annotated[int, Field(gt=0)]
    """Bytes read plus bytes written."""
    seconds: Annotated[tuple[Sample, ...], Field(min_length=1)]
    how: str


class WorkloadResult(Record):
    """What was found on one workload."""

    workload: str
    status: Status
    detail: str = ""
    calls: Annotated[int, Field(ge=0)] = 0
    """Calls of the candidate whose outputs were verified, all of them on inputs never used before."""
    errors: tuple[TensorError, ...] = ()
    metrics: tuple[Metric, ...] = ()
    ceiling: Ceiling | None = None

    @model_validator(mode="after")
    def _timing_needs_a_verdict(self) -> Self:
        if self.metrics and self.status is not Status.passed:
            raise ValueError(f"workload {self.workload!r}: metrics without a passed verdict ({self.status})")
        if self.status is not Status.passed and not self.detail:
            raise ValueError(f"workload {self.workload!r}: {self.status} needs a detail")
        return self

    def metric(self, name: str) -> Metric | None:
        """The metric of that name, if it was taken."""
        return next((m for m in self.metrics if m.name == name), None)


class KernelBuild(Record):
    """What the compiler said of one kernel."""

    name: str
    registers: int | None = None
    spill_bytes: int | None = None
    """Bytes of spill stores plus spill loads."""
    stack_bytes: int | None = None
    shared_bytes: int | None = None
    """Static shared memory per block."""


class Build(Record):
    """What building gave: the toolchain, the command, and the facts of every kernel."""

    toolchain: str
    configuration: Literal["release", "debug"] = "release"
    command: tuple[str, ...]
    seconds: Annotated[float, Field(ge=0)]
    cached: bool = False
    binary: Digest
    binary_bytes: int
    kernels: tuple[KernelBuild, ...] = ()
    log: str = ""


class Evaluation(Record):
    """What was found of one candidate beside one rival, on one target, by one version of the judge."""

    kind: Literal["evaluation"] = "evaluation"
    task: Digest
    candidate: Digest
    rival: Digest
    target: Digest
    judge: str
    effort: Effort
    trust: Trust = Trust.judged
    status: Status
    detail: str = ""
    build: Build | None = None
    workloads: tuple[WorkloadResult, ...] = ()
    rival_status: Status = Status.passed
    rival_detail: str = ""
    conditions: tuple[str, ...] = ()
    """What a reader of the evidence must know: cold or warm cache, pinning, protection that was missing."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        failed = [w for w in self.workloads if w.status is not Status.passed]
        if self.status is Status.passed:
            if failed:
                raise ValueError(f"passed, but workload {failed[0].workload!r} is {failed[0].status}")
            if not self.workloads:
                raise ValueError("passed without any workload")
        elif not self.detail:
            raise ValueError(f"{self.status} needs a detail")
        if self.status is Status.build_failed and self.workloads:
            raise ValueError("a build that failed has no workloads")
        if self.rival_status is not Status.passed and any(w.metrics for w in self.workloads):
            raise ValueError("metrics beside a rival that failed")
        return self

    @property
    def passed(self) -> bool:
        """Whether every workload passed and the rival held."""
        return self.status is Status.passed and self.rival_status is Status.passed
