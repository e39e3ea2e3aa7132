"""``doctor --judge``: candidates whose verdict is known are planted, and the judge must find each of them.

A judge that is only ever seen to agree proves nothing. What is planted lies beside the calibration tasks: one folder
per candidate, so that anybody can read what is called wrong, slow or a cheat.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from warpsmith.analyse.compare import Verdict, compare
from warpsmith.model.evaluation import Effort, Evaluation, Status
from warpsmith.model.target import Target
from warpsmith.store.folders import load_candidate
from warpsmith.surface.answers import PlantCheck
from warpsmith.surface.calibrating import bare_campaign, calibration_of
from warpsmith.surface.workspace import Workspace


@dataclass(frozen=True)
class Plant:
    """One candidate, and the verdicts that are right for it."""

    name: str
    expected: tuple[str, ...]
    says: str = ""
    """What the detail must say, so that it failed for the right reason."""


PLANTS = (
    Plant("identical", (Verdict.same, Verdict.ambiguous)),
    Plant("faster", (Verdict.faster,)),
    Plant("slow", (Verdict.slower,)),
    Plant("wrong", (Status.wrong_values,), "relative RMS"),
    Plant("imprecise", (Status.wrong_values,), "twice the baseline"),
    Plant("keeps", (Status.wrong_values,), "relative RMS"),
    Plant("mutates", (Status.cheated,), "changed its input 'x'"),
    Plant("crashes", (Status.crashed,)),
)
"""``same`` needs an interval within the margin, which a noisy machine does not give: there, ambiguous is right too."""


def judge_plants(space: Workspace, target: Target) -> Iterator[PlantCheck]:
    """Measure every plant beside the baseline at confirm effort, in one judge session."""
    known = space.packaged(f"{target.hardware}-plants")
    campaign = bare_campaign(known, target, calibration_of(space, target).noise_floor)
    executor = space.executor(space.home / "steps", target, "plants")
    try:
        for plant in PLANTS:
            folder = known.loaded.folder / "plants" / plant.name
            candidate = load_candidate(folder, space.blobs, known.loaded.head)
            began = time.monotonic()
            evaluation = space.measure(
                known, target, candidate, known.baseline, Effort.confirm, name=f"plant-{plant.name}", executor=executor
            )
            answer = compare(evaluation, campaign)
            given = answer.verdict.value if answer else evaluation.status.value
            yield PlantCheck(
                hardware=target.hardware,
                name=plant.name,
                what=candidate.memo,
                expected=" or ".join(plant.expected),
                given=given,
                detail=_detail(evaluation, answer.overall.speedup if answer else None),
                right=given in plant.expected and plant.says in evaluation.detail,
                seconds=time.monotonic() - began,
            )
    finally:
        executor.close()


def _detail(evaluation: Evaluation, speedup: float | None) -> str:
    return f"{speedup:.3f}x" if speedup is not None else evaluation.detail.splitlines()[0]
