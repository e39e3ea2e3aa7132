"""What every kind of task shares: workloads, objective, guardrails, gate. Reads no files."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from warpsmith.model.base import Name, Record

PINNED = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")


def _not_pinned(name: str) -> str:
    if name in PINNED:
        raise ValueError(f"{name} is said by the GPU pin ('warpsmith gpu select'), and by nobody else")
    return name


Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100), AfterValidator(_not_pinned)]
"""The name of an environment variable that a task, an overlay or an application may set."""


class Direction(StrEnum):
    """Which way a metric is better."""

    minimize = "minimize"
    maximize = "maximize"


class Workload(Record):
    """One configuration, with its share of the real run time."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    axes: dict[Name, int] = Field(default_factory=dict)
    scalars: dict[Name, float] = Field(default_factory=dict)
    weight: Annotated[float, Field(gt=0)] = 1.0


class Objective(Record):
    """The metric that decides, and which way is better."""

    metric: str = "time"
    direction: Direction = Direction.minimize


class Guardrail(Record):
    """A metric that may not get worse by more than ``limit`` (a share: 0.02 is two per cent)."""

    metric: str
    direction: Direction = Direction.minimize
    limit: Annotated[float, Field(ge=0)] = 0.0


class Gate(Record):
    """Below ``min_gain`` (a share of the baseline's time) nothing is promotable."""

    min_gain: Annotated[float, Field(ge=0, lt=1)] = 0.02


class TaskHead(Record):
    """What all four kinds share."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_\-]+/[a-z0-9_\-]+$")]
    title: str
    description: str = ""
    hardware: Annotated[str, Field(min_length=1)]
    tags: tuple[str, ...] = ()
    baseline: str = "baseline"
    """Folder of the baseline candidate, inside the task's folder."""
    entry: str = "src"
    """Folder of the candidate that tuning starts from."""
    peers: tuple[str, ...] = ()
    """Folders of candidates to be shown beside the best: a vendor library, another project's kernel."""
    objective: Objective = Objective()
    guardrails: tuple[Guardrail, ...] = ()
    gate: Gate = Gate()
    workloads: Annotated[tuple[Workload, ...], Field(min_length=1)]

    @field_validator("peers")
    @classmethod
    def _peer_names(cls, peers: tuple[str, ...]) -> tuple[str, ...]:
        """A peer is named by the last part of its path; that name must be its own."""
        names = [p.rstrip("/").rpartition("/")[2] for p in peers]
        taken = sorted({n for n in names if names.count(n) > 1 or n in ("baseline", "entry", "best")})
        if taken:
            raise ValueError(f"the folder names of peers must be unique, and not baseline, entry or best: {taken}")
        return peers

    @field_validator("workloads")
    @classmethod
    def _unique_workloads(cls, workloads: tuple[Workload, ...]) -> tuple[Workload, ...]:
        seen = [w.name for w in workloads]
        if len(set(seen)) != len(seen):
            raise ValueError(f"workload names repeat: {', '.join(sorted({n for n in seen if seen.count(n) > 1}))}")
        return workloads
