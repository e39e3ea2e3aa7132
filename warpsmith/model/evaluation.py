"""Evaluations: what was found. Owns the statuses and refuses records that make no sense; knows no clock."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from warpsmith.model.base import Digest, Record
from warpsmith.model.head import Direction


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
    not_ready = "not_ready"
    """A server that did not answer in time that it is ready."""
    leaked = "leaked"
    """A server whose memory, of the machine or of a GPU, grew beyond the task's limit while it was loaded."""
    cheated = "cheated"
    bad_report = "bad_report"
    """What a harness printed is no document with the metrics that the task names."""


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

    ``time`` (unit ``s``, lower is better) is the metric of kernel tasks: a pair's ratio is the median over its timed
    rounds (one call of each side on the same inputs) of their ratio, and its two times are as long as the medians.
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


class Compiled(Record):
    """Where a kernel lies in the binary and how it wants to be launched, from a compiler that decides that itself."""

    launches: tuple[int, ...]
    """The launches of the plan that it serves, by position."""
    symbol: str
    """Its name in its cubin."""
    offset: Annotated[int, Field(ge=0)]
    bytes: Annotated[int, Field(ge=1)]
    """Where in the binary that cubin lies."""
    block: tuple[int, int, int] | None = None
    """Threads; None: the plan says."""
    cluster: tuple[int, int, int] | None = None
    shared_bytes: Annotated[int, Field(ge=0)] | None = None
    """Dynamic shared memory; None: the plan says."""
    scratch: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Trailing pointer parameters: bytes that each wants per block; 0 takes a null pointer."""


class KernelBuild(Record):
    """What the compiler said of one kernel."""

    name: str
    registers: int | None = None
    spill_bytes: int | None = None
    """Bytes of spill stores plus spill loads."""
    stack_bytes: int | None = None
    shared_bytes: int | None = None
    """Static shared memory per block."""
    compiled: Compiled | None = None
    """None: the whole binary is one cubin, and the plan says how each kernel of it is launched."""


class Build(Record):
    """What building gave: the toolchain, the command, and the facts of every kernel."""

    toolchain: str
    configuration: Literal["release", "debug", "sanitized", "profiled"] = "release"
    command: tuple[str, ...]
    seconds: Annotated[float, Field(ge=0)]
    cached: bool = False
    binary: Digest
    binary_bytes: int
    kernels: tuple[KernelBuild, ...] = ()
    log: str = ""


class SanitizerFinding(Record):
    """One kind of mistake at one place, as a sanitizer saw it."""

    kernel: str
    """The kernel or function in which it happened; empty where the tool does not say."""
    kind: str
    """In the tool's own words, such as ``Invalid __global__ read of size 4 bytes``."""
    location: str = ""
    """``file:line``, empty where the tool does not say."""
    count: Annotated[int, Field(ge=1)] = 1
    """Reports of it, by thread or by call."""

    @property
    def said(self) -> str:
        """In a line."""
        where = "".join([f" in {self.kernel}" if self.kernel else "", f" at {self.location}" if self.location else ""])
        return f"{self.kind}{where}{f' ({self.count} times)' if self.count > 1 else ''}"


class SanitizerResult(Record):
    """What one sanitizer said of one candidate. A tool that could not look has not passed anybody."""

    tool: str
    status: Literal["passed", "failed", "unavailable"]
    reason: str = ""
    """Why it is unavailable."""
    findings: tuple[SanitizerFinding, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.status == "failed") != bool(self.findings):
            raise ValueError(f"{self.tool}: {self.status} with {len(self.findings)} findings")
        if (self.status == "unavailable") != bool(self.reason):
            raise ValueError(f"{self.tool}: only an unavailable tool has a reason, and it has one")
        return self


class Disturbed(Record):
    """Timed rounds (one call of each side on the same inputs) that something outside of both sides disturbed."""

    rounds: Annotated[int, Field(ge=0)]
    """Timed rounds that count."""
    dropped: Annotated[int, Field(ge=0)]
    """Rounds that were taken again on fresh inputs."""
    kept: Annotated[int, Field(ge=0)]
    """Disturbed rounds that count all the same: as many again had been taken."""
    candidate: Annotated[int, Field(ge=0)]
    """Disturbed calls of the candidate."""
    rival: Annotated[int, Field(ge=0)]
    why: dict[str, int] = {}
    """Disturbed calls by cause."""
    undone: bool = False
    """Whether one side was disturbed so much more often that every round counts as it was first taken."""

    @property
    def said(self) -> str:
        """In a sentence."""
        causes = ", ".join(f"{cause} ({count})" for cause, count in self.why.items())
        again = f"disturbed rounds taken again: {self.dropped} beside {self.rounds}" + (f": {causes}" if causes else "")
        kept = f"; {self.kept} disturbed rounds count all the same" if self.kept else ""
        undone = "; one side was disturbed far more often, so every round counts as it was first taken"
        return f"{again}{kept}{undone if self.undone else ''}"


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
    disturbed: Disturbed | None = None
    """What disturbed the timed calls; None where nothing was timed."""
    sanitizers: tuple[SanitizerResult, ...] = ()
    """What the sanitizers said that were asked; none where something else failed before."""
    kept: dict[str, Digest] = {}
    """Files that belong to it, by name: what a harness printed, logs, load reports. They are blobs."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        failed = [w for w in self.workloads if w.status is not Status.passed]
        if self.status is Status.passed:
            if failed:
                raise ValueError(f"passed, but workload {failed[0].workload!r} is {failed[0].status}")
            if not self.workloads:
                raise ValueError("passed without any workload")
            if found := [s.tool for s in self.sanitizers if s.status == "failed"]:
                raise ValueError(f"passed, but {found[0]} failed")
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
