"""Profiles: what a profiler saw of a candidate (facts, which the ledger keeps), and what is made of them (opinions,
which nobody keeps: they are derived anew, so better rules read old profiles).

Metrics are named by the keys of :mod:`warpsmith.model.metrics`, which give unit, label and the profiler's own name.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from warpsmith.model.base import Digest, Record

Share = Annotated[float, Field(ge=0, le=1)]


class ProfileEffort(StrEnum):
    """How much is collected: ``quick`` is what the rules need, ``full`` everything, with the source."""

    quick = "quick"
    full = "full"


class SourceLine(Record):
    """A line of the candidate's source with what the profiler saw of it."""

    file: str
    line: int
    text: str = ""
    samples: Share
    """Share of the kernel's stall samples."""
    stall: str = ""
    """The metric key of the stall that led them."""
    sass: tuple[str, ...] = ()
    """Its hottest instructions, the hottest first."""


class Advice(Record):
    """One result of the vendor's own rules."""

    rule: str
    kind: Literal["OPT", "INF", "WRN"]
    message: str
    speedup: float | None = None
    """Estimated gain as a share of the time (0.2: a fifth of it could go); None where none is given."""
    scope: Literal["global", "local", ""] = ""
    """Whether ``speedup`` is of the whole kernel or of the part that the rule looks at."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """What it was derived from, by the profiler's own names."""


class KernelProfile(Record):
    """One kernel of one call."""

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int = 0
    """Static plus dynamic, per block."""
    registers: int | None = None
    launches: int = 1
    """Launches that were profiled; metrics are their medians."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """By key. One that the profiler could not give (n/a, NaN) is not here."""
    missing: tuple[str, ...] = ()
    """Keys that were asked for and not given."""
    lines: tuple[SourceLine, ...] = ()
    """The hottest first."""
    advice: tuple[Advice, ...] = ()


class Activity(Record):
    """What a timeline saw of one kernel, one kind of copy or fill, or one call of the CUDA libraries."""

    kind: Literal["kernel", "copy", "fill", "call"]
    name: str
    count: int
    seconds: float
    """In all."""
    median_s: float
    longest_s: float
    bytes: int = 0


class Timeline(Record):
    """When the device worked, by a tracer. Its durations say where to look; they are never used as times."""

    seconds: float
    """From the first activity of the device to its last."""
    busy: Share = 0.0
    """Share of them in which the device did something."""
    gaps: int = 0
    """Pauses between activities of the device."""
    longest_gap_s: float = 0.0
    activities: tuple[Activity, ...] = ()
    """Those that took longest first, calls after what the device did."""


class Profile(Record):
    """What one profiler saw of one candidate on one workload."""

    kind: Literal["profile"] = "profile"
    candidate: Digest
    target: str = ""
    """The key of the target."""
    tool: str
    """Such as ``ncu 2025.3.1``."""
    effort: ProfileEffort = ProfileEffort.quick
    workload: str = ""
    kernels: tuple[KernelProfile, ...] = ()
    timeline: Timeline | None = None
    reports: tuple[Digest, ...] = ()
    """The tool's own reports, kept as blobs."""
    seconds: float = 0.0
    conditions: tuple[str, ...] = ()
    """What a reader must know: fewer passes, application replay, a layer of the sandbox that counters did without."""


class Severity(StrEnum):
    """How much a finding matters."""

    info = "info"
    warning = "warning"
    critical = "critical"


class Prediction(Record):
    """What an edit that follows a finding should do to a metric: this is checked afterwards."""

    metric: str
    direction: Literal["up", "down"]
    to: float | None = None
    """The value that it should reach, where that can be said."""


class Finding(Record):
    """What a rule says of a profile."""

    rule: str
    severity: Severity
    kernel: str
    message: str
    evidence: dict[str, float]
    """Metrics by key that made the rule fire, with the threshold's name where it has one."""
    action: str
    gain: float
    """The most that mending it could bring: the share of the time that could go, by the roofline; 0 at the roof."""
    prediction: Prediction
    cause: str = ""
    """The rule that this is a symptom of; empty for a cause."""
    agreed: tuple[str, ...] = ()
    """Rules of the vendor that say the same."""
    lines: tuple[SourceLine, ...] = ()


class Bottleneck(StrEnum):
    """What a kernel waits for most."""

    memory_bound = "memory_bound"
    compute_bound = "compute_bound"
    latency_bound = "latency_bound"


class NextEdit(Record):
    """The one thing to do next."""

    rule: str
    """The finding that it follows; ``at_the_roof`` where the advice is to move fewer bytes or to stop."""
    edit: str
    lines: tuple[SourceLine, ...] = ()
    gain: float
    check: Prediction


class Diagnosis(Record):
    """What is made of one kernel's profile."""

    kernel: str
    bottleneck: Bottleneck
    because: str
    """The numbers behind the bottleneck, in a sentence."""
    roofs: dict[str, Share] = Field(default_factory=dict)
    """Share of each measured or rated ceiling that was reached, by name (``dram``, ``l2``, ``fp32``, ``tensor``)."""
    findings: tuple[Finding, ...]
    """Causes first, what the vendor says too before the rest, then by gain; a symptom stands after its cause."""
    not_evaluated: tuple[str, ...] = ()
    """Rules that lacked a metric."""
    advice: tuple[Advice, ...] = ()
    """The vendor's, without repetition, that no finding of ours says."""
    edit: NextEdit
