"""The loop: ``plan`` says what is next, ``optimize`` does it. Owns the order of priorities and the crew.

Data flows one way: a plan makes steps, the crew returns outcomes, the ledger keeps them, the history is their fold, and
the next plan reads that history. ``plan`` is pure and never asks for the kind of a task.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

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

    def next(self) -> Finished:
        """Wait for the next step that ends."""

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
    else:
        todo = _todo(c, h, s, number)
    running = set(h.running)
    fresh = [step for step in todo if step_key(step) not in running]
    _refuse_lost_baseline(c, h)
    return [_attempt(step, h) for step in fresh[: max(0, free)]]


def _todo(c: Campaign, h: History, s: Standing, number: int) -> list[Step]:
    todo: list[Step] = []
    todo += [Measure(candidate=x, rival=s.best, effort=Effort.confirm, round=number) for x in s.contenders[:1]]
    todo += [Explain(candidate=x, round=number) for x in s.unexplained]
    todo += [Measure(candidate=x, rival=s.best, effort=Effort.screen, round=number) for x in s.untried]
    if asking_ends(c.budget, h, s) is None:
        todo += [Propose(round=number + i, parent=s.best, count=c.batch) for i in range(h.asking, c.asks)]
    elif not todo and not h.running:
        todo += [Measure(candidate=x, rival=y, effort=Effort.confirm, round=number) for x, y in s.unproved]
        if not todo:  # the best can still change before: only the last of all is published
            todo += [Measure(candidate=x, rival=y, effort=Effort.promote, round=number) for x, y in s.unpublished]
    return todo


def asking_ends(budget: Budget, h: History, s: Standing) -> str | None:
    """Why no more candidates are asked for, or None while they are. The budget stops asking, never proving."""
    limits: list[tuple[bool, str]] = [
        (s.exhausted, "the proposer has nothing left to try"),
        (len(h.rounds) >= budget.rounds, f"{budget.rounds} rounds were asked for"),
        (s.unhelpful >= budget.patience, f"{s.unhelpful} rounds in a row brought no new best"),
        (budget.steps is not None and h.measured >= budget.steps, f"{budget.steps} measurements were made"),
        (budget.seconds is not None and h.seconds >= budget.seconds, f"{budget.seconds:g} s were spent"
         if budget.seconds is not None else ""),
        (budget.money is not None and h.money >= budget.money, f"${budget.money} were spent"),
    ]  # fmt: skip
    return next((reason for reached, reason in limits if reached), None)


def _attempt(step: Step, h: History) -> Step:
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
        h = note(crew.next())
