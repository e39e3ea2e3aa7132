"""Calibration: what this machine's device does with identical candidates, plain copies and its arithmetic.

Owns the measuring and the keeping: one record per device, measured once and read by every campaign and diagnosis; and
the bare campaign by which measurements outside any are compared.
"""

from __future__ import annotations

import time
from pathlib import Path

from pydantic import ValidationError

from warpsmith.analyse.compare import Verdict, compare, noise_floor
from warpsmith.errors import WarpsmithError
from warpsmith.judge import VERSION
from warpsmith.model.campaign import Budget, Campaign
from warpsmith.model.evaluation import Effort
from warpsmith.model.target import Calibration, Target
from warpsmith.store.files import write_atomic
from warpsmith.surface.workspace import Known, Workspace

RUNS = 3
"""A/A comparisons of a calibration, ten pairs each."""


def calibration_of(space: Workspace, target: Target) -> Calibration:
    """What was measured of the device: from the last calibration, or measured now."""
    return _kept(space, target) or calibrate(space, target)


def measured_ceilings(space: Workspace, target: Target) -> dict[str, float]:
    """What a calibration measured of the device, by the names of analyse.ceilings; nothing where there was none.
    Never measures.
    """
    calibration = _kept(space, target)
    if calibration is None:
        return {}
    found = {"fp32": calibration.flops_per_s}
    if calibration.copy_bytes_per_s:
        found["dram"] = max(calibration.copy_bytes_per_s.values())
    return found


def calibrate(space: Workspace, target: Target) -> Calibration:
    """Measure the noise floor (identical candidates against each other), copy rates and peak, and keep them.

    Raises WarpsmithError where the machine cannot measure the task that comes with the package.
    """
    known = space.packaged(target.hardware)
    same = known.entry
    effects = []
    different = 0
    copies: dict[str, float] = {}
    for run in range(RUNS):
        evaluation = space.measure(known, target, same, same, Effort.confirm, name=f"calibrate-{run}")
        answer = compare(evaluation, bare_campaign(known, target))
        if answer is None:
            raise WarpsmithError(f"the calibration task failed: {evaluation.status}: {evaluation.detail}.")
        effects += [answer.overall]
        different += answer.verdict in (Verdict.faster, Verdict.slower)
        for result in evaluation.workloads:
            if result.ceiling is not None:
                ceiling = result.ceiling
                rate = ceiling.bytes / sorted(ceiling.seconds)[len(ceiling.seconds) // 2]
                copies[str(ceiling.bytes)] = max(rate, copies.get(str(ceiling.bytes), 0.0))
    calibration = Calibration(
        target=target.key,
        noise_floor=noise_floor(effects),
        comparisons=len(effects),
        different=different,
        copy_bytes_per_s=copies,
        flops_per_s=_peak(space, target),
        at=time.time(),
    )
    write_atomic(_file(space, target), calibration.model_dump_json(indent=1))
    return calibration


def bare_campaign(known: Known, target: Target, noise_floor: float = 0.0) -> Campaign:
    """What comparing needs, for measurements outside any campaign."""
    head = known.loaded.head
    return Campaign(
        tag="calibration",
        task_name=head.name,
        task=known.loaded.digest,
        target=target,
        judge=VERSION,
        proposer="none",
        budget=Budget(rounds=0),
        seed=0,
        baseline=known.baseline.id,
        entry=known.entry.id,
        weights={w.name: w.weight for w in head.workloads},
        objective=head.objective,
        guardrails=head.guardrails,
        min_gain=head.gate.min_gain,
        noise_floor=noise_floor,
    )


def _peak(space: Workspace, target: Target) -> float:
    """Single-precision operations per second of what one launch, or one core, can use at most."""
    known = space.packaged(f"{target.hardware}-peak")
    evaluation = space.measure(known, target, known.entry, known.entry, Effort.screen, name="calibrate-peak")
    metric = evaluation.workloads[0].metric("time") if evaluation.passed else None
    task = known.loaded.kernel
    if metric is None or task is None:
        raise WarpsmithError(f"the calibration task failed: {evaluation.status}: {evaluation.detail}.")
    return task.work(task.workloads[0]) / min(metric.candidate + metric.rival)


def _kept(space: Workspace, target: Target) -> Calibration | None:
    try:
        return Calibration.model_validate_json(_file(space, target).read_bytes())
    except (OSError, ValidationError):
        return None


def _file(space: Workspace, target: Target) -> Path:
    return space.home / "devices" / f"{target.key[:16]}.json"
