"""Recall: memory as a view of a ledger. Derives everything anew, so better rules and statistics read old ledgers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from warpsmith.analyse.calibration import cited, outcomes
from warpsmith.analyse.compare import compare
from warpsmith.analyse.diagnose import diagnose
from warpsmith.analyse.reasons import LOST, UNTRIED, status_of, strongest, why
from warpsmith.analyse.standing import Standing, standing
from warpsmith.knowledge.memory import Attempt, Checked, Outcome
from warpsmith.model.base import digest
from warpsmith.model.campaign import Campaign, Decided, Event, Opened
from warpsmith.model.evaluation import Status
from warpsmith.model.profile import Profile
from warpsmith.model.target import Target
from warpsmith.store.history import History

STOPPED = frozenset({Status.build_failed, Status.crashed, Status.timed_out, Status.not_ready})
"""Statuses of candidates that never ran to their end."""
OPEN = "0" * 16
"""The campaign of attempts whose ledger is still being written."""


@dataclass(frozen=True)
class _Scope:
    """One scope of a ledger, and the opinion on it."""

    history: History
    campaign: str
    """The campaign's id in memory."""
    events: int

    @cached_property
    def told(self) -> Campaign:
        assert self.history.campaign is not None
        return self.history.campaign

    @cached_property
    def standing(self) -> Standing:
        return standing(self.history, self.told)

    @cached_property
    def bottlenecks(self) -> dict[str, str]:
        return {identity: _bottleneck(p, self.told.target) for identity, p in self.history.profiles.items()}

    @cached_property
    def checked(self) -> dict[str, tuple[Checked, ...]]:
        found: dict[str, tuple[Checked, ...]] = {}
        for o in outcomes(self.history):
            one = Checked(rule=o.rule, metric=o.metric, before=o.before, after=o.after, hit=o.hit)
            found[o.candidate] = (*found.get(o.candidate, ()), one)
        return found


def remember(events: Sequence[Event]) -> tuple[Attempt, ...]:
    """Everything that a ledger says of what was tried, oldest first.

    Candidates that nothing was found of (untried, or faults only), baselines and peers are no attempts.
    """
    latest: dict[str, int] = {}
    found: list[tuple[Attempt, int]] = []
    for number, scope in enumerate(_scopes(events)):
        for attempt in _attempts(scope):
            found.append((attempt, number))
            latest[attempt.candidate] = number
    decided = {e.candidate: e for e in events if isinstance(e, Decided)}
    return tuple(
        _decide(a, decided[a.candidate]) if a.candidate in decided and latest[a.candidate] == number else a
        for a, number in found
    )


def attempts_of(history: History) -> tuple[Attempt, ...]:
    """The attempts of a campaign that is under way, oldest first. Its name in memory is not known: it stays open."""
    return tuple(_attempts(_Scope(history, OPEN, 0)))


def edit_of(memo: str) -> str:
    """The kind of edit that a memo names: ``vectorise`` of ``[vectorise] 16-byte loads``; empty where it names none."""
    found = re.match(r"\s*\[([A-Za-z0-9][A-Za-z0-9_+./\-]{0,39})\]", memo)
    return found.group(1).lower() if found else ""


def _scopes(events: Sequence[Event]) -> Iterator[_Scope]:
    """Each scope of a ledger in turn: another scope begins another campaign."""
    history, campaign = History(), ""
    for event in events:
        if isinstance(event, Opened):
            known = history.campaign
            if known is None or known.scope != event.campaign.scope:
                if known is not None:
                    yield _Scope(history, campaign, len(events))
                campaign = digest([event.campaign.task_name, event.campaign.tag, event.at])[:16]
        history = history + event
    if history.campaign is not None:
        yield _Scope(history, campaign, len(events))


def _attempts(scope: _Scope) -> Iterator[Attempt]:
    c = scope.told
    for identity in scope.history.candidates:
        if identity != c.baseline and identity not in c.peers.values():
            attempt = _attempt(scope, identity)
            if attempt is not None:
                yield attempt


def _attempt(scope: _Scope, identity: str) -> Attempt | None:
    h, s, c, candidate = scope.history, scope.standing, scope.told, scope.history.candidates[identity]
    evaluation = strongest(h, identity)
    run = s.published.get(identity)
    answer = run.comparison if run and run.evaluation is evaluation else compare(evaluation, c) if evaluation else None
    status, detail = status_of(h, s, identity, evaluation)
    if status in (UNTRIED, LOST) or (status == Status.passed.value and answer is None):
        return None
    ratio = answer.overall if answer else None
    low, high = ratio.interval if ratio and ratio.pairs > 1 else (None, None)
    estimate = s.estimates.get(identity)
    return Attempt(
        task=c.task_name,
        campaign=scope.campaign,
        tag=c.tag,
        hardware=c.target.hardware,
        device=c.target.device,
        architecture=c.target.architecture,
        events=scope.events,
        candidate=identity,
        parent=candidate.parent,
        origin=h.origins[identity],
        outcome=_outcome(s, identity, status),
        status=status,
        why=why(s, c, identity, status, detail, answer, evaluation),
        memo=candidate.memo,
        edit=edit_of(candidate.memo),
        rules=cited(candidate.memo),
        checked=scope.checked.get(identity, ()),
        bottleneck=scope.bottlenecks.get(candidate.parent or "", ""),
        parameters=candidate.parameters,
        changed=_changed(h, identity),
        rival=evaluation.rival if evaluation and answer else None,
        effort=evaluation.effort.value if evaluation else "",
        speedup=_finite(ratio.speedup) if ratio else None,
        low=_finite(low),
        high=_finite(high),
        confidence=ratio.confidence if ratio else 0.95,
        pairs=ratio.pairs if ratio else 0,
        over_baseline=_finite(math.exp(-estimate)) if estimate is not None else None,
    )


def _bottleneck(profile: Profile, target: Target) -> str:
    """What the longest kernel of a profile waits for most; empty where it holds none."""
    longest = max(profile.kernels, key=lambda k: k.metrics.get("duration", 0.0), default=None)
    return diagnose(longest, target).bottleneck.value if longest else ""


def _outcome(s: Standing, identity: str, status: str) -> Outcome:
    if status in STOPPED:
        return Outcome.crashed
    return Outcome.accepted if identity in s.leaders else Outcome.rejected


def _decide(attempt: Attempt, decided: Decided) -> Attempt:
    said = f"{decided.decision}: {decided.result}" + (f": {decided.reason}" if decided.reason else "")
    said += f"; claimed: {decided.claim}" if decided.claim else ""
    said += f"; evidence: {', '.join(decided.evidence)}" if decided.evidence else ""
    said += f"; next blocker: {decided.blocker}" if decided.blocker else ""
    return attempt.model_copy(update={"outcome": Outcome(decided.result), "why": f"{attempt.why}; {said}"})


def _changed(h: History, identity: str) -> dict[str, tuple[int | None, int | None]]:
    candidate = h.candidates[identity]
    parent = h.candidates.get(candidate.parent or "")
    if parent is None:
        return {}
    before, after = parent.parameters, candidate.parameters
    names = sorted(n for n in {*before, *after} if before.get(n) != after.get(n))
    return {n: (before.get(n), after.get(n)) for n in names}


def _finite(value: float | None) -> float | None:
    """A number that JSON can carry, rounded to what is meant: seven digits."""
    return float(f"{value:.7g}") if value is not None and math.isfinite(value) else None
