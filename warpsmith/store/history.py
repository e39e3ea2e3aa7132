"""History = fold(events): what happened so far, as one value. Derives no opinion; see analyse.standing for those.

``history + event`` is a new history; folding the same events always gives the same one. On ``Opened`` whatever was
running is lost with its process, so it is no longer running: planning asks for it again, with the next attempt.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Literal

from warpsmith.errors import LedgerError
from warpsmith.model.asks import AskRecord
from warpsmith.model.campaign import Benched, Campaign, Consulted, Decided, Event, Finished, Opened, Started, Submitted
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Effort, Evaluation
from warpsmith.model.profile import Profile
from warpsmith.model.step import Compacted, Explain, Fault, Measure, Proposal, Propose, Step, step_key

Pairing = tuple[str, str, Effort]
"""What a measurement is found by: candidate, rival, effort."""


@dataclass(frozen=True)
class Round:
    """One answered ask."""

    number: int
    candidates: tuple[str, ...]
    exhausted: bool
    notes: str
    after: int
    """How many evaluations the history held when it came."""
    role: Literal["propose", "fix"] = "propose"
    parent: str = ""
    """What the ask began at."""
    compacted: tuple[Compacted, ...] = ()


@dataclass(frozen=True)
class Asked:
    """One ask of a model, and the round that it was made for; None where it was made beside the rounds."""

    round: int | None
    record: AskRecord


@dataclass(frozen=True)
class History:
    """The fold of a ledger."""

    campaign: Campaign | None = None
    candidates: dict[str, Candidate] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    """Candidate to ``baseline``, ``entry``, ``peer NAME``, ``round N`` or ``submitted``."""
    evaluations: dict[Pairing, Evaluation] = field(default_factory=dict)
    """Of the current scope only, in the order in which they came."""
    profiles: dict[str, Profile] = field(default_factory=dict)
    unexplained: dict[str, str] = field(default_factory=dict)
    """Candidates that cannot be profiled here, and why."""
    rounds: tuple[Round, ...] = ()
    running: dict[str, Step] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    """How often a step was started."""
    faults: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Why a step came back without a result."""
    faulted: dict[str, Step] = field(default_factory=dict)
    """The steps of ``faults``."""
    refused: str = ""
    """Why the task itself is at fault; empty where it is not, and again after every start."""
    seconds: float = 0.0
    asked: tuple[Asked, ...] = ()
    """Every ask of a model, answered or not, in the order in which their steps ended."""
    short_of: str | None = None
    """The limit of the budget that left no room for a further request; None again after every start."""
    opened: int = 0
    times: dict[Pairing, float] = field(default_factory=dict)
    """When each evaluation came, in campaign seconds (time spent in steps), for the best-so-far curve."""
    decisions: tuple[Decided, ...] = ()
    benched: tuple[Benched, ...] = ()
    """Labelled evaluations of the current scope."""
    benched_after: tuple[int, ...] = ()
    """How many evaluations the history held when each of them came."""

    def __add__(self, event: Event) -> History:
        match event:
            case Opened():
                return self._open(event)
            case Started(step=step):
                key = step_key(step)
                return replace(
                    self,
                    running={**self.running, key: step},
                    attempts={**self.attempts, key: self.attempts.get(key, 0) + 1},
                )
            case Finished():
                return self._finish(event)
            case Submitted(candidate=candidate):
                return self._add_candidates((candidate,), "submitted")
            case Decided():
                return replace(self, decisions=(*self.decisions, event))
            case Benched():
                after = (*self.benched_after, len(self.evaluations))
                return replace(self, benched=(*self.benched, event), benched_after=after)
            case Consulted(asks=asks):
                return replace(self, asked=(*self.asked, *(Asked(None, record) for record in asks)))
        raise LedgerError(f"an event of an unknown kind: {event!r}")

    def _open(self, event: Opened) -> History:
        campaign = event.campaign
        same = self.campaign is not None and self.campaign.scope == campaign.scope
        kept = self if same else History(decisions=self.decisions, opened=self.opened)
        opened = replace(kept, campaign=campaign, running={}, opened=self.opened + 1, refused="", short_of=None)
        names = {campaign.baseline: "baseline", **{v: f"peer {k}" for k, v in campaign.peers.items()}}
        for candidate in event.candidates:
            opened = opened._add_candidates((candidate,), names.get(candidate.id, "entry"))
        return opened

    def _finish(self, event: Finished) -> History:
        key = step_key(event.step)
        running = {k: s for k, s in self.running.items() if k != key}
        after = replace(self, running=running, seconds=self.seconds + event.seconds)
        if isinstance(event.step, Propose) and isinstance(event.outcome, Fault | Proposal):
            made = tuple(Asked(event.step.round, record) for record in event.outcome.asks)
            after = replace(after, asked=(*self.asked, *made))
        match event.outcome:
            case Fault(what=what, detail=detail, final=final):
                reason = f"{what}: {detail}" if detail else what
                faults = {**self.faults, key: (*self.faults.get(key, ()), reason)}
                faulted = {**self.faulted, key: event.step}
                after = replace(after, faults=faults, faulted=faulted)
                if isinstance(event.step, Explain):  # without a profile a campaign goes on
                    given_up = {**self.unexplained, event.step.candidate: reason} if final else self.unexplained
                    return replace(after, unexplained=given_up)
                return replace(after, refused=reason if final else self.refused)
            case Evaluation() as evaluation if isinstance(event.step, Measure):
                pairing = (evaluation.candidate, evaluation.rival, evaluation.effort)
                return replace(
                    after,
                    evaluations={**self.evaluations, pairing: evaluation},
                    times={**self.times, pairing: after.seconds},
                )
            case Proposal() as proposal if isinstance(event.step, Propose):
                number = event.step.round
                ids = tuple(c.id for c in proposal.candidates)
                told = (proposal.exhausted, proposal.notes, len(self.evaluations))
                answered = Round(number, ids, *told, event.step.role, event.step.parent, proposal.compacted)
                short = proposal.short_of or self.short_of
                counted = replace(after, rounds=(*self.rounds, answered), short_of=short)
                return counted._add_candidates(proposal.candidates, f"round {number}")
            case Profile() as profile if isinstance(event.step, Explain):
                return replace(after, profiles={**self.profiles, profile.candidate: profile})
        raise LedgerError(f"a {event.step.kind} step finished with a {event.outcome.kind}")

    def _add_candidates(self, candidates: Iterable[Candidate], origin: str) -> History:
        known, origins = dict(self.candidates), dict(self.origins)
        for candidate in candidates:
            known.setdefault(candidate.id, candidate)
            origins.setdefault(candidate.id, origin)
        return replace(self, candidates=known, origins=origins)

    @property
    def asks(self) -> tuple[Propose, ...]:
        """Asks in flight."""
        return tuple(s for s in self.running.values() if isinstance(s, Propose))

    @property
    def asking(self) -> int:
        """How many asks are in flight."""
        return len(self.asks)

    @property
    def proposed(self) -> tuple[Round, ...]:
        """Answered asks for something new: what a budget of rounds counts. Mending is not among them."""
        return tuple(r for r in self.rounds if r.role == "propose")

    @property
    def money(self) -> Decimal:
        """US dollars that asking cost, exact. Asks of models without a known price are not in it."""
        return sum((a.record.cost for a in self.asked if a.record.cost is not None), Decimal())

    @property
    def tokens(self) -> int:
        """Tokens read and written by models, cached ones too."""
        return sum(a.record.usage.total for a in self.asked)

    @property
    def calls(self) -> int:
        """Requests to model providers."""
        return sum(len(a.record.tries) for a in self.asked)

    @property
    def measured(self) -> int:
        """Measurements that came back with a result."""
        return len(self.evaluations)


def fold(events: Iterable[Event]) -> History:
    """The history of some events, oldest first."""
    history = History()
    for event in events:
        history = history + event
    return history
