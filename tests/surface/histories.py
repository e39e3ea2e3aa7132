"""Histories of a serving task with two metrics that decide and one that does not, scripted: no harness is run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TypeVar

from tests.fakes import BASELINE, ENTRY, SERVING, FakeCrew, campaign, candidate, failed, measured
from warpsmith.campaign import Watcher, optimize
from warpsmith.model.base import Record
from warpsmith.model.campaign import Benched
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Effort, Evaluation, Metric, Status
from warpsmith.model.head import Direction
from warpsmith.model.step import Measure, Outcome, Step
from warpsmith.store.history import History, fold
from warpsmith.store.ledger import Ledger
from warpsmith.surface.workspace import Workspace

R = TypeVar("R", bound=Record)
TEMPTING = 4
"""The UNROLL with which the guarded latency doubles."""


def tempting(c: Candidate) -> bool:
    return c.parameters.get("UNROLL") == TEMPTING


class GuardedCrew(FakeCrew):
    """As the fake, but some candidates break the guardrail; and a metric that decides nothing is there."""

    def _outcome(self, step: Step, history: History) -> Outcome:
        found = super()._outcome(step, history)
        return changed(found, history) if isinstance(found, Evaluation) else found


def changed(e: Evaluation, h: History) -> Evaluation:
    mine, other = (2.0 if tempting(h.candidates[c]) else 1.0 for c in (e.candidate, e.rival))
    (suite,) = e.workloads
    (objective, guard) = suite.metrics
    objective = copy(objective, unit="token/s")
    pairs = len(guard.candidate)
    steps = [0.02 * (1 + 0.001 * i) for i in range(pairs)]
    guard = copy(guard, candidate=tuple(mine * x for x in steps), rival=tuple(other * x for x in steps))
    idle = Metric(
        name="single.tok_s", unit="token/s", direction=Direction.maximize,
        candidate=tuple(31.0 + i / 7 for i in range(pairs)), rival=tuple(30.0 + i / 3 for i in range(pairs)),
    )  # fmt: skip
    return copy(e, workloads=(copy(suite, metrics=(objective, guard, idle)),))


def copy(record: R, **changes: object) -> R:
    return type(record).model_validate({**{n: getattr(record, n) for n in type(record).model_fields}, **changes})


def run(path: Path, tag: str = "main", seed: int = 7, watch: Watcher | None = None, **changes: object) -> History:
    """A whole campaign into the ledger at ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Ledger(path) as ledger:
        opened = campaign(SERVING, tag=tag, seed=seed, **changes)
        return optimize(opened, GuardedCrew(SERVING), ledger, (BASELINE, ENTRY), watch or (lambda event, history: None))


def kept(space: Workspace, tag: str = "main", seed: int = 7, task: str = "my/axpy") -> History:
    """The same as a campaign of a project: its sources are there too."""
    for text in ("baseline", "entry"):
        space.blobs.put(text.encode())
    return run(space.ledger(task, tag), tag, seed, task_name=task)


BY_HAND = candidate("by hand", TILE=8, UNROLL=TEMPTING).model_copy(update={"memo": "tried by hand"})
"""What the campaign does not know."""


def labelled(space: Workspace, tag: str = "main", task: str = "my/axpy") -> tuple[Benched, ...]:
    """Two labelled evaluations, appended to the ledger of :func:`kept`: the entry and what crashed in one, then one
    that breaks the guardrail.
    """
    space.blobs.put(b"by hand")
    with Ledger(space.ledger(task, tag)) as ledger:
        h = fold(ledger.events())
        known = dataclasses.replace(h, candidates={**h.candidates, BY_HAND.id: BY_HAND})
        first, second = (Measure(candidate=x, rival=BASELINE.id, effort=e, round=0) for x, e in (
            (ENTRY.id, Effort.screen), (BY_HAND.id, Effort.confirm)))  # fmt: skip
        found = changed(measured(SERVING, first, known), known)
        crashed = failed(SERVING, second.model_copy(update={"effort": Effort.screen}), Status.crashed, "it fell, twice")
        broke = changed(measured(SERVING, second, known), known)
        made = (
            Benched(name="latest", notes="before, \"so\"", candidates=(ENTRY, BY_HAND, BASELINE),
                    evaluations=(found, crashed), at=1.0),
            Benched(name="second", candidates=(BY_HAND, BASELINE), evaluations=(broke,), at=86400.5),
        )  # fmt: skip
        for one in made:
            ledger.append(one)
    return made
