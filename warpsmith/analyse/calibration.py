"""Did the predictions come true? When an edit follows a finding, its metric should move as the rule said.

An edit follows a finding where the candidate's memo names the rule, and both it and its parent were profiled. Counts by
rule and device are facts of the ledger; the trust made of them ranks findings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from warpsmith.analyse.rules import rules
from warpsmith.model.profile import KernelProfile, Prediction, Profile
from warpsmith.store.history import History

MOVED = 0.02
"""Least change, as a share of the value before, that counts as a move: what counters differ by between two runs."""
PRIOR = 4
"""How many hits a rule is given in advance, so that one miss does not silence it."""


@dataclass(frozen=True)
class Outcome:
    """One edit that followed a finding."""

    rule: str
    device: str
    candidate: str
    metric: str
    before: float
    after: float
    hit: bool


@dataclass(frozen=True)
class HitRate:
    """How often the predictions of a rule came true on a device."""

    hits: int
    tries: int

    @property
    def share(self) -> float:
        """Hits over tries; 0 without a try."""
        return self.hits / self.tries if self.tries else 0.0

    @property
    def trust(self) -> float:
        """The weight of the rule's findings, 0..1: 1 without a try, less with every miss."""
        return (self.hits + PRIOR) / (self.tries + PRIOR)


def cited(memo: str) -> tuple[str, ...]:
    """The rules that a memo names, in its order, each once."""
    return tuple(dict.fromkeys(word for word in re.findall(r"[a-z0-9_]+", memo) if word in rules()))


def moved(prediction: Prediction, before: float, after: float) -> bool:
    """Whether a metric went where it was predicted to go: the right way by more than counters vary, or to its goal."""
    step = after - before if prediction.direction == "up" else before - after
    if prediction.to is not None and step >= 0:
        reached = after >= prediction.to if prediction.direction == "up" else after <= prediction.to
        if reached and after != before:
            return True
    return step > MOVED * abs(before)


def outcomes(history: History) -> tuple[Outcome, ...]:
    """Every edit of a history that followed a finding and whose metric is known before and after, in its order."""
    device = history.campaign.target.device if history.campaign else ""
    found = []
    for identity, candidate in history.candidates.items():
        child, parent = history.profiles.get(identity), history.profiles.get(candidate.parent or "")
        if child is None or parent is None or child.workload != parent.workload:
            continue
        old, new = _longest(parent), _longest(child)
        for rule in cited(candidate.memo):
            prediction = rules()[rule].predict
            before = old.metrics.get(prediction.metric) if old else None
            after = new.metrics.get(prediction.metric) if new else None
            if before is not None and after is not None:
                hit = moved(prediction, before, after)
                found.append(Outcome(rule, device, identity, prediction.metric, before, after, hit))
    return tuple(found)


def _longest(profile: Profile) -> KernelProfile | None:
    """The kernel that took longest; where that is not known, the first."""
    return max(profile.kernels, key=lambda k: k.metrics.get("duration", 0.0), default=None)


def hit_rates(seen: Iterable[Outcome]) -> dict[tuple[str, str], HitRate]:
    """Hit rates by rule and device, in the order in which they were first seen."""
    counts: dict[tuple[str, str], HitRate] = {}
    for one in seen:
        old = counts.get((one.rule, one.device), HitRate(0, 0))
        counts[one.rule, one.device] = HitRate(old.hits + one.hit, old.tries + 1)
    return counts


def trust(rates: Mapping[tuple[str, str], HitRate], device: str) -> dict[str, float]:
    """What diagnose weighs findings with, by rule; rules without a try on the device are left out."""
    return {rule: rate.trust for (rule, where), rate in rates.items() if where == device}
