"""The loop: ``plan`` says what is next, ``optimize`` does it. Owns the order of priorities and the crew.

Data flows one way: a plan makes steps, the crew returns outcomes, the ledger keeps them, the history is their fold, and
the next plan reads that history. ``plan`` is pure and never asks for the kind of a task.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from typing import Protocol

from warpsmith.analyse.lines import turns
from warpsmith.analyse.standing import Standing, standing
from warpsmith.errors import CampaignError
from warpsmith.model.campaign import Budget, Campaign, Event, Finished, Opened, Started, Submitted
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Effort
from warpsmith.model.step import Explain, Measure, Propose, Step, step_key
from warpsmith.store.history import History, fold
from warpsmith.store.ledger import Ledger


class Crew(Protocol):
    """Whoever carries steps out. A crew never raises for what a candidate does: it returns outcomes."""

    @property
    def free(self) -> int:
        """Steps that can be taken on now."""

    def submit(self, step: Step, history: History) -> None:
        """Begin ``step``; its outcome comes from :meth:`next`."""

    def next(self) -> Finished | None:
        """Wait for the next step that ends; None where something was handed in from outside meanwhile."""

    def arrived(self) -> list[Submitted]:
        """Candidates handed in from outside since the last call."""


Watcher = Callable[[Event, History], None]
"""Called after each event is on disk: progress bars and notifications. It must not raise."""


def plan(c: Campaign, h: History, free: int) -> list[Step]:
    """At most ``free`` next steps; the order of the list is the priority. Raises CampaignError for a failing
    baseline, and for a task that is at fault itself.
    """
    if h.refused:
        raise CampaignError(f"{h.refused.rstrip('.')}.", "Mend the task, then run the same command again.")
    s = standing(h, c)
    if s.baseline_failed:
        raise CampaignError(
            f"the baseline fails its own task: {s.baseline_failed}.",
            "Mend the baseline, the reference or the tolerance, then run the same command again.",
        )
    number = len(h.rounds)
    if not s.baseline_checked:
        todo: list[Step] = [Measure(candidate=c.baseline, rival=c.baseline, effort=Effort.screen, round=number)]
        asking: list[Step] = []
    else:
        todo = _measuring(c, h, s, number)
        asking = _asking(c, h, s)
        if not (todo or asking or h.running):
            todo = _proving(s, number)
    running = {_what(step) for step in h.running.values()}
    fresh = [step for step in todo if _what(step) not in running]
    _refuse_lost_baseline(c, h)
    taken = max(0, free)
    if c.asks == 1:
        chosen = [*fresh, *asking][:taken]
    else:  # asks wait for a model, not for the device: only a backlog of the device keeps them waiting
        chosen = fresh[:taken] + (asking if len(fresh) - taken < c.asks else [])
    return [_attempt(step, h) for step in chosen]


def _measuring(c: Campaign, h: History, s: Standing, number: int) -> list[Step]:
    todo: list[Step] = []
    todo += [Measure(candidate=x, rival=s.best, effort=Effort.confirm, round=number) for x in s.contenders[:1]]
    todo += [Explain(candidate=x, round=number) for x in s.unexplained]
    todo += [Measure(candidate=x, rival=s.best, effort=Effort.screen, round=number) for x in s.untried]
    todo += [Explain(candidate=x, round=number) for x in s.cited]
    return todo


def _proving(s: Standing, number: int) -> list[Step]:
    """What the report still needs. The best can change before the last of all is published."""
    todo: list[Step] = [Measure(candidate=x, rival=y, effort=Effort.confirm, round=number) for x, y in s.unproved]
    return todo or [Measure(candidate=x, rival=y, effort=Effort.promote, round=number) for x, y in s.unpublished]


def _asking(c: Campaign, h: History, s: Standing) -> list[Step]:
    """Asks, each with a number of its own: the least that none has."""
    room = c.asks - h.asking
    if room <= 0 or c.entry in s.untried or spent(c.budget, h) or c.budget.rounds == 0:
        return []
    under_way = sum(ask.role == "propose" for ask in h.asks)
    new = c.budget.rounds - len(h.proposed) - under_way if asking_ends(c.budget, h, s) is None else 0
    taken = {r.number for r in h.rounds} | {ask.round for ask in h.asks}
    free = (n for n in count() if n not in taken)
    return [
        Propose(round=next(free), parent=turn.parent, count=c.batch, role=turn.role)
        for turn in turns(h, s, c, room, new)
    ]


def _what(step: Step) -> Step:
    """What makes a step the same one whenever it was planned."""
    return step.model_copy(update={"attempt": 0} if isinstance(step, Propose) else {"attempt": 0, "round": 0})


def spent(budget: Budget, h: History) -> str | None:
    """Which limit of what may be spent is reached, or None: mending and reviewing end with it too."""
    limits: list[tuple[bool, str]] = [
        (budget.steps is not None and h.measured >= budget.steps, f"{budget.steps} measurements were made"),
        (budget.seconds is not None and h.seconds >= budget.seconds, f"{budget.seconds:g} s were spent"
         if budget.seconds is not None else ""),
        (h.short_of is not None, f"the budget of {h.short_of} leaves no room for another ask"),
        (budget.money is not None and h.money >= budget.money, f"${budget.money} were spent"),
        (budget.tokens is not None and h.tokens >= budget.tokens, f"{budget.tokens} tokens were spent"),
        (budget.calls is not None and h.calls >= budget.calls, f"{budget.calls} calls were made"),
    ]  # fmt: skip
    return next((reason for reached, reason in limits if reached), None)


def asking_ends(budget: Budget, h: History, s: Standing) -> str | None:
    """Why nothing new is asked for, or None while it is. The budget stops asking, never proving."""
    limits: list[tuple[bool, str]] = [
        (s.exhausted, "the proposer has nothing left to try"),
        (len(h.proposed) >= budget.rounds, f"{budget.rounds} rounds were asked for"),
        (s.unhelpful >= budget.patience, f"{s.unhelpful} rounds in a row brought no new best"),
    ]
    return next((reason for reached, reason in limits if reached), None) or spent(budget, h)


def _attempt(step: Step, h: History) -> Step:
    """The next attempt at a step. One that was lost keeps its round, which is part of what it is found by."""
    if not isinstance(step, Propose):
        earlier = (step.model_copy(update={"round": n}) for n in range(step.round))
        step = next((s for s in earlier if step_key(s) in h.attempts), step)
    return step.model_copy(update={"attempt": h.attempts.get(step_key(step), 0)})


def _refuse_lost_baseline(c: Campaign, h: History) -> None:
    for key, reasons in h.faults.items():
        step = h.faulted[key]
        asked_in_vain = isinstance(step, Propose) and len(reasons) >= c.attempts
        no_baseline = isinstance(step, Measure) and step.candidate == step.rival == c.baseline
        if asked_in_vain or (no_baseline and len(reasons) >= c.attempts):
            raise CampaignError(
                f"the step '{step.kind}' was lost {len(reasons)} times: {reasons[-1]}.",
                "See the step's log under .warpsmith/, mend the machine, then run the same command again.",
            )


def optimize(
    c: Campaign,
    crew: Crew,
    ledger: Ledger,
    candidates: tuple[Candidate, ...],
    watch: Watcher = lambda event, history: None,
) -> History:
    """Run the campaign until its plan is empty; returns its history. A start and a resume are the same call."""
    h = fold(ledger.events())

    def note(event: Event) -> History:
        after = h + ledger.append(event)
        watch(event, after)
        return after

    h = note(Opened(campaign=c, candidates=candidates, at=time.time()))
    while True:
        for submitted in crew.arrived():
            h = note(submitted)
        for step in plan(c, h, crew.free):
            h = note(Started(step=step, at=time.time()))
            crew.submit(step, h)
        if not h.running:
            return h
        if (finished := crew.next()) is not None:
            h = note(finished)
