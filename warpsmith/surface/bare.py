"""The campaign that comparing needs, where a measurement was made outside any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warpsmith.judge import VERSION
from warpsmith.model.campaign import Budget, Campaign
from warpsmith.model.target import Target

if TYPE_CHECKING:
    from warpsmith.surface.workspace import Known


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
