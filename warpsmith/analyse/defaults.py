"""Gains that are an environment: what a default would have to show before it counts. Pure.

An overlay that leads by its variables alone (environment and tunables) shows that a setting pays, in the run that set
it. As a default the same change is in the source, and nothing is set: that path is another candidate, with a benchmark
of its own beside the baseline.
"""

from __future__ import annotations

from collections.abc import Mapping

from warpsmith.model.base import short
from warpsmith.model.candidate import OVERLAY, Candidate


def variables(candidate: Candidate) -> dict[str, str]:
    """Every variable that its runs see by its word."""
    return candidate.environment | {name: str(value) for name, value in candidate.parameters.items()}


def by_environment(known: Mapping[str, Candidate], candidate: str, baseline: str) -> dict[str, str]:
    """The variables that ``candidate`` changes against the baseline, where nothing else is changed; else nothing."""
    if candidate == baseline:
        return {}
    mine, base = known[candidate], known[baseline]
    if mine.toolchain != OVERLAY or mine.sources != base.sources:
        return {}
    before = variables(base)
    return {name: value for name, value in variables(mine).items() if before.get(name) != value}


def source_defaults(known: Mapping[str, Candidate], candidate: str, baseline: str) -> tuple[str, ...]:
    """Candidates that are the same change as a source default: they change files, set no other variable than the
    baseline, and began at ``candidate`` or name it in their memo.
    """
    if not by_environment(known, candidate, baseline):
        return ()
    base = known[baseline]
    return tuple(
        x.id
        for x in known.values()
        if x.toolchain == OVERLAY
        and x.sources != base.sources
        and variables(x) == variables(base)
        and (x.parent == candidate or short(candidate) in x.memo)
    )
