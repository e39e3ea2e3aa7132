"""What limits the best candidate, as people see it: derived anew from the last profile of a leader."""

from __future__ import annotations

from collections.abc import Mapping

from warpsmith.analyse.ceilings import CEILINGS
from warpsmith.analyse.hotspots import hotspots
from warpsmith.analyse.standing import Standing
from warpsmith.model.base import Record
from warpsmith.model.campaign import Campaign
from warpsmith.model.metrics import METRICS
from warpsmith.model.profile import Diagnosis, KernelProfile, Profile, SourceLine
from warpsmith.store.history import History
from warpsmith.surface.diagnoses import diagnoses

LEAST_STALL = 0.01
"""Share of the time below which a stall, or a place of a timeline, is not shown."""


class Share(Record):
    """A bar: a share of something, by name."""

    key: str
    label: str
    share: float


class HotLine(Record):
    """A line of the candidate's source with what points at it."""

    line: SourceLine
    label: str
    """The stall that led there."""
    findings: tuple[str, ...]
    """Rules whose findings point at it."""


class KernelLimits(Record):
    """One kernel."""

    profile: KernelProfile
    diagnosis: Diagnosis
    roofs: tuple[Share, ...]
    stalls: tuple[Share, ...]
    """The longest first."""
    lines: tuple[HotLine, ...]


class Limits(Record):
    """What limits a candidate."""

    candidate: str
    best: bool
    """Whether it is the best; else a leader before it."""
    profile: Profile
    kernels: tuple[KernelLimits, ...]
    """The one that takes most of the time first."""
    places: tuple[Share, ...] = ()
    """Of a timeline, where the device's time goes, the largest first."""


def limits(
    h: History, s: Standing, c: Campaign, measured: Mapping[str, float], trust: Mapping[str, float]
) -> Limits | None:
    """Of the best, or of the last leader that was profiled; None where none was.

    ``measured`` (the device's ceilings) and ``trust`` (in each rule, from its record on the device) are diagnose's.
    """
    for leader in reversed(s.leaders):
        found = h.profiles.get(leader)
        if found is not None and (found.kernels or found.timeline is not None):
            made = diagnoses(found, c.target, measured, trust)
            kernels = {k.kernel: k for k in found.kernels}
            return Limits(
                candidate=leader,
                best=leader == s.best,
                profile=found,
                kernels=tuple(_kernel(kernels[d.kernel], d) for d in made),
                places=_places(found),
            )
    return None


def why_not(h: History, s: Standing, c: Campaign) -> str:
    """Why there is nothing to show; empty where profiling was not asked for, or is still to come."""
    if not c.explain:
        return ""
    for leader in reversed(s.leaders):
        if leader in h.unexplained:
            return h.unexplained[leader]
    lost = [r[-1] for key, r in h.faults.items() if h.faulted[key].kind == "explain"]
    return lost[-1] if lost else ""


def _kernel(profile: KernelProfile, diagnosis: Diagnosis) -> KernelLimits:
    stalls = [
        Share(key=key, label=METRICS[key].label.removeprefix("stalled: "), share=value)
        for key, value in profile.metrics.items()
        if key.startswith("stall_") and value >= LEAST_STALL and key in METRICS
    ]
    return KernelLimits(
        profile=profile,
        diagnosis=diagnosis,
        roofs=tuple(Share(key=n, label=_roof_label(n), share=v) for n, v in diagnosis.roofs.items()),
        stalls=tuple(sorted(stalls, key=lambda stall: -stall.share)),
        lines=tuple(_hot(line, diagnosis) for line in profile.lines),
    )


def _places(found: Profile) -> tuple[Share, ...]:
    shares = hotspots(found) if found.timeline is not None else {}
    return tuple(Share(key=n, label=" ".join(n.split()), share=v) for n, v in shares.items() if v >= LEAST_STALL)


def _roof_label(name: str) -> str:
    return next((x.label for x in CEILINGS if x.name == name), name.replace("_", " "))


def _hot(line: SourceLine, diagnosis: Diagnosis) -> HotLine:
    label = METRICS[line.stall].label.removeprefix("stalled: ") if line.stall in METRICS else ""
    rules = tuple(
        f.rule for f in diagnosis.findings if any(x.line == line.line and x.file == line.file for x in f.lines)
    )
    return HotLine(line=line, label=label, findings=rules)
