"""A campaign while it goes on, one line per finished step: on standard error, or for whoever follows it elsewhere."""

from __future__ import annotations

import sys
from math import exp
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from warpsmith.analyse.compare import compare
from warpsmith.analyse.standing import standing
from warpsmith.campaign import Watcher
from warpsmith.model.base import short
from warpsmith.model.campaign import Event, Finished, Started
from warpsmith.model.evaluation import Evaluation
from warpsmith.model.step import Explain, Fault, Measure, Proposal
from warpsmith.store.history import History
from warpsmith.surface.numbers import parameters, ratio_text
from warpsmith.surface.ratio import ratio_of

if TYPE_CHECKING:
    from warpsmith.surface.workspace import Workspace


def progress(space: Workspace) -> Watcher:
    """A watcher that prints one line per finished step on standard error: what it gave, the best so far, time left."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    status = console.status("starting") if sys.stderr.isatty() else None
    if status is not None:
        status.start()

    def watch(event: Event, h: History) -> None:
        if isinstance(event, Started) and status is not None:
            status.update(_doing(event))
        elif isinstance(event, Finished):
            console.print(Text(_line(event, h)))

    return watch


def told(event: Event, h: History) -> str:
    """An event in one line, for whoever follows a campaign elsewhere; empty where there is nothing to tell."""
    if isinstance(event, Started):
        return _doing(event)
    return _line(event, h) if isinstance(event, Finished) else ""


def _doing(event: Started) -> str:
    step = event.step
    if isinstance(step, Measure):
        return f"{step.effort} {short(step.candidate)} beside {short(step.rival)}"
    return step.kind


def _line(event: Finished, h: History) -> str:
    step, outcome = event.step, event.outcome
    if isinstance(outcome, Fault) and isinstance(step, Explain):
        end = "the campaign goes on without it" if outcome.final else "trying again"
        return f"explain {short(step.candidate)}: {outcome.what}: {outcome.detail}; {end}"
    if isinstance(outcome, Fault):
        return f"{step.kind}: fault: {outcome.what}; trying again"
    if isinstance(outcome, Proposal):
        return f"round {len(h.rounds)}: {len(outcome.candidates)} candidates ({outcome.notes})"
    if not isinstance(outcome, Evaluation):
        return f"{step.kind}: done"
    assert h.campaign is not None
    s = standing(h)
    answer = compare(outcome, h.campaign)
    found = f"{answer.verdict} {ratio_text(ratio_of(answer.overall))}" if answer else f"{outcome.status}"
    candidate = h.candidates[outcome.candidate]
    label = parameters(candidate.parameters) or candidate.memo
    beside = f"{short(outcome.candidate)} / {short(outcome.rival)}"
    best = f"best {exp(-s.estimates[s.best]):.3f}x{_time_left(h)}"
    return f"[{h.measured:3d}] {outcome.effort:7s} {beside}  {found}  {label}  {best}"


def _time_left(h: History) -> str:
    """An estimate from the mean time of a step and the most that the budget still allows."""
    c = h.campaign
    if c is None or not h.measured:
        return ""
    rounds = max(0, c.budget.rounds - len(h.rounds)) * c.batch
    steps = min(rounds, c.budget.steps - h.measured if c.budget.steps is not None else rounds)
    seconds = max(0, steps) * h.seconds / h.measured
    if c.budget.seconds is not None:
        seconds = min(seconds, max(0.0, c.budget.seconds - h.seconds))
    return f", at most {seconds / 60:.0f} min left" if seconds >= 90 else f", at most {seconds:.0f} s left"
