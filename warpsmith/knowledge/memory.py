"""Memory: what was tried on a task and what became of it; and how views of it are merged.

An attempt is keyed by its campaign and its candidate. A campaign is named after the moment at which its ledger began to
measure under one scope, so copies of one ledger, and what was exported from it, are the same campaign everywhere, and
two ledgers never are. Of two records of one attempt, the one that saw more of the ledger counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from warpsmith.model.base import Digest, Record, canonical

TaskName = Annotated[str, Field(pattern=r"^[a-z0-9_\-]+/[a-z0-9_\-]+$")]
"""As tasks are named; it becomes a path."""
CampaignId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class Outcome(StrEnum):
    """What became of an attempt; what happened in the real application goes over what the campaign said."""

    accepted = "accepted"
    """Proved faster than the best of its time."""
    rejected = "rejected"
    crashed = "crashed"
    """Did not build, died, or never ended."""
    deployed = "deployed"
    rolled_back = "rolled_back"
    short_circuit = "short_circuit"
    """Faster, but by too little to go on."""

    @property
    def helped(self) -> bool:
        """Whether the edit was worth making."""
        return self in (Outcome.accepted, Outcome.deployed)


class Checked(Record):
    """A prediction of a rule that the attempt's memo cites, held against the profiles of parent and attempt."""

    rule: str
    metric: str
    before: float
    after: float
    hit: bool
    """Whether the metric moved as the rule said."""


class Attempt(Record):
    """One candidate of one campaign, and what became of it."""

    task: TaskName
    campaign: CampaignId
    tag: str
    """The campaign's tag on the command line."""
    hardware: str
    device: str
    architecture: str
    events: int
    """How many events of the ledger this record has seen: more is later."""
    candidate: Digest
    parent: Digest | None = None
    origin: str
    outcome: Outcome
    status: str
    why: str
    memo: str = ""
    edit: str = ""
    """The kind of edit: the word in brackets at the head of the memo."""
    rules: tuple[str, ...] = ()
    """Rules that the memo cites."""
    checked: tuple[Checked, ...] = ()
    """What became of those rules' predictions, where both were profiled."""
    bottleneck: str = ""
    """Of the parent, where it was profiled."""
    parameters: dict[str, int] = Field(default_factory=dict)
    changed: dict[str, tuple[int | None, int | None]] = Field(default_factory=dict)
    """Parameters that differ from the parent's: before, after."""
    rival: Digest | None = None
    effort: str = ""
    speedup: float | None = None
    """Over ``rival``, with its interval at ``confidence`` over ``pairs`` pairs."""
    low: float | None = None
    high: float | None = None
    confidence: float = 0.95
    pairs: int = 0
    over_baseline: float | None = None
    """Chained where it was not measured directly."""

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same attempt wherever it is recorded."""
        return self.campaign, self.candidate


def merge(*views: Iterable[Attempt]) -> tuple[Attempt, ...]:
    """The attempts of several views, each key once; the record that saw more of its ledger counts.

    Records that saw equally much are equal unless they were derived by different versions: then the order of their
    canonical text decides, so that the result does not depend on the order of the views.
    """
    best: dict[tuple[str, str], Attempt] = {}
    for attempt in (a for view in views for a in view):
        known = best.get(attempt.key)
        if known is None or _later(attempt) > _later(known):
            best[attempt.key] = attempt
    return tuple(sorted(best.values(), key=lambda a: (a.task, a.campaign, a.candidate)))


def overlay(truth: Iterable[Attempt], copies: Iterable[Attempt]) -> tuple[Attempt, ...]:
    """Merged, but where both saw equally much of a ledger, what the ledger itself says now counts."""
    told = {a.key: a for a in truth}
    rest = [c for c in copies if c.key not in told or c.events > told[c.key].events]
    return merge(told.values(), rest)


def _later(attempt: Attempt) -> tuple[int, bytes]:
    return attempt.events, canonical(attempt.model_dump(mode="json"))
