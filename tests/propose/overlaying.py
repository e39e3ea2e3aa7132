"""A bench for tests of overlays: a harness task, its campaign with a scripted model, and its history."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.fakes import measured
from tests.propose import test_llm_proposer as kernels
from warpsmith.model.campaign import Finished, Opened
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Effort, Metric, WorkloadResult
from warpsmith.model.head import Direction
from warpsmith.model.step import Measure
from warpsmith.propose.llm.asking import Ask
from warpsmith.store.history import History
from warpsmith.surface.campaigns import place_for
from warpsmith.surface.workspace import Workspace


class Bench(kernels.Bench):
    """As for kernels, on a task of the project in ``root``; only the baseline, which is the entry, is measured."""

    def __init__(self, root: Path, script: Callable[[Ask], str], task: str, **settings: object) -> None:
        self.space = Workspace(root, settings)
        self.known = self.space.task(task)
        self.asker = kernels.Scripted(script)
        self.target = kernels.DEVICES[self.known.loaded.head.hardware]
        self.place = place_for(self.space, self.known, self.target, self.asker)
        guardrails = self.known.loaded.head.guardrails
        opened = self.campaign(guardrails=guardrails)
        self.h = History() + Opened(campaign=opened, candidates=self.known.all, at=0)
        self.measure(self.known.baseline, 1.0)

    def guarded(self, given: Candidate, objective: float, guardrail: float) -> None:
        """Measure a candidate that takes so much of the baseline's objective, and of its guardrail."""
        head = self.known.loaded.head
        step = Measure(candidate=given.id, rival=self.known.baseline.id, effort=Effort.screen, round=0)
        found = measured(head, step, self.h, lambda c: 1.0)
        said = ((head.objective.metric, head.objective.direction, objective),
                (head.guardrails[0].metric, head.guardrails[0].direction, guardrail))  # fmt: skip
        metrics = tuple(
            Metric(name=name, unit="1", direction=way, candidate=(_worse(value, way),) * 3, rival=(1.0,) * 3)
            for name, way, value in said
        )
        results = tuple(WorkloadResult(workload=w.name, status="passed", metrics=metrics) for w in head.workloads)
        self.h = self.h + Finished(step=step, outcome=found.model_copy(update={"workloads": results}), seconds=0, at=0)


def _worse(share: float, way: Direction) -> float:
    return share if way is Direction.minimize else 1 / share
