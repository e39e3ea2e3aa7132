"""Patterns: which kinds of edit helped, over all campaigns, with how often and how sure that is.

Counted are trials, one per attempt that names its kind of edit. A trial has the key of its attempt, so that trials read
back from an exported library and those of the ledgers are merged without counting anything twice.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from warpsmith.analyse.rates import upper95
from warpsmith.knowledge.memory import Attempt, Outcome, TaskName
from warpsmith.model.base import Record, canonical, digest


class Trial(Record):
    """What an attempt says of its kind of edit."""

    key: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    events: int
    """As in :class:`~warpsmith.knowledge.memory.Attempt`: more is later."""
    task: TaskName
    edit: Annotated[str, Field(min_length=1, max_length=40)]
    architecture: str
    rules: tuple[str, ...] = ()
    bottleneck: str = ""
    outcome: Outcome
    speedup: float | None = None
    """Over its rival."""


class Pattern(Record):
    """How one kind of edit fared on one architecture, under one condition."""

    edit: str
    under: str = ""
    """Empty: everywhere; else ``rule NAME`` (the memo cites it) or a bottleneck (the parent's)."""
    architecture: str
    outcomes: dict[Outcome, int]
    """Trials by outcome; those that did not occur are left out."""
    low: float
    high: float
    """One-sided 95 % bounds on the share that helps (Clopper-Pearson)."""
    median_speedup: float | None
    """Of those that helped, over their rivals."""
    best_speedup: float | None
    tasks: tuple[str, ...]

    @property
    def tried(self) -> int:
        """All trials."""
        return sum(self.outcomes.values())

    @property
    def helped(self) -> int:
        """Trials that were worth making."""
        return sum(n for outcome, n in self.outcomes.items() if outcome.helped)

    @property
    def id(self) -> str:
        """What people type: ``vectorise@sm_90`` or ``vectorise@sm_90 under rule poor_coalescing``."""
        return f"{self.edit}@{self.architecture}" + (f" under {self.under}" if self.under else "")

    @property
    def line(self) -> str:
        """``vectorise@sm_90: 3 of 4 helped (24.9 % to 98.7 %), median 1.21x, best 1.46x``."""
        best = f", median {self.median_speedup:.2f}x, best {self.best_speedup:.2f}x" if self.best_speedup else ""
        return f"{self.id}: {self.helped} of {self.tried} helped ({self.low:.1%} to {self.high:.1%}){best}"


class ValueOf(Record):
    """How the attempts with one value of one tunable fared."""

    name: str
    value: int
    tried: int
    median: float
    """Speed-up over the baseline, chained."""
    best: float


def values_of(attempts: Iterable[Attempt]) -> tuple[ValueOf, ...]:
    """What each value of each tunable that took several came to; other tunables varied beside it."""
    found: dict[tuple[str, int], list[float]] = {}
    for attempt in attempts:
        for name, value in attempt.parameters.items():
            if attempt.over_baseline is not None:
                found.setdefault((name, value), []).append(attempt.over_baseline)
    many = {name for name, count in Counter(name for name, _ in found).items() if count > 1}
    return tuple(
        ValueOf(name=name, value=value, tried=len(gains), median=statistics.median(gains), best=max(gains))
        for (name, value), gains in sorted(found.items())
        if name in many
    )


def trials(attempts: Iterable[Attempt]) -> tuple[Trial, ...]:
    """The trials among some attempts: those whose memo names a kind of edit."""
    return tuple(
        Trial(
            key=digest([a.campaign, a.candidate])[:16],
            events=a.events,
            task=a.task,
            edit=a.edit,
            architecture=a.architecture,
            rules=a.rules,
            bottleneck=a.bottleneck,
            outcome=a.outcome,
            speedup=a.speedup,
        )
        for a in attempts
        if a.edit
    )


def merge_trials(*views: Iterable[Trial]) -> tuple[Trial, ...]:
    """The trials of several views, each key once; the one that saw more of its ledger counts."""
    best: dict[str, Trial] = {}
    for trial in (t for view in views for t in view):
        known = best.get(trial.key)
        if known is None or _later(trial) > _later(known):
            best[trial.key] = trial
    return tuple(best[key] for key in sorted(best))


def overlay_trials(truth: Iterable[Trial], copies: Iterable[Trial]) -> tuple[Trial, ...]:
    """Merged, but where both saw equally much of a ledger, ``truth`` counts."""
    told = {t.key: t for t in truth}
    rest = [c for c in copies if c.key not in told or c.events > told[c.key].events]
    return merge_trials(told.values(), rest)


def _later(trial: Trial) -> tuple[int, bytes]:
    return trial.events, canonical(trial.model_dump(mode="json"))


def aggregate(given: Iterable[Trial]) -> tuple[Pattern, ...]:
    """All patterns of some trials, by edit, architecture and condition."""
    groups: dict[tuple[str, str, str], list[Trial]] = {}
    for trial in given:
        conditions = ["", *(f"rule {r}" for r in trial.rules), *filter(None, [trial.bottleneck])]
        for under in conditions:
            groups.setdefault((trial.edit, trial.architecture, under), []).append(trial)
    return tuple(_pattern(*key, groups[key]) for key in sorted(groups))


def _pattern(edit: str, architecture: str, under: str, group: list[Trial]) -> Pattern:
    outcomes = {o: n for o in Outcome if (n := sum(t.outcome is o for t in group))}
    helped = sum(n for o, n in outcomes.items() if o.helped)
    gains = sorted(t.speedup for t in group if t.outcome.helped and t.speedup is not None)
    return Pattern(
        edit=edit,
        under=under,
        architecture=architecture,
        outcomes=outcomes,
        low=lower95(helped, len(group)),
        high=upper95(helped, len(group)),
        median_speedup=statistics.median(gains) if gains else None,
        best_speedup=gains[-1] if gains else None,
        tasks=tuple(sorted({t.task for t in group})),
    )


def lower95(seen: int, count: int) -> float:
    """One-sided 95 % lower bound on a rate (Clopper-Pearson)."""
    return 1 - upper95(count - seen, count)
