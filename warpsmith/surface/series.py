"""Each metric of a history over its measurements: what the objective and the guardrails saw. Derived, like every view.

Charts of the report and plots are drawn from this alone, and a point breaks a guardrail here exactly where
:func:`warpsmith.analyse.compare.compare` says so.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Literal

from warpsmith.analyse.compare import effect, logs
from warpsmith.model.base import Record
from warpsmith.model.campaign import Campaign
from warpsmith.model.evaluation import Metric
from warpsmith.model.head import Direction, Guardrail
from warpsmith.store.history import History
from warpsmith.surface.view import CurvePoint

Part = Literal["objective", "guardrail", "other"]


class MetricPoint(Record):
    """What one measurement saw of a metric, in its unit."""

    measurements: int
    """How many there were with this one."""
    candidate: str
    rival: str
    value: float
    """Median of the candidate's samples."""
    limit: float | None = None
    """Guardrail: the value that the candidate's must not pass, from the paired ratios beside that rival."""
    broken: bool = False
    leader: bool = False
    """Whether the candidate was proved to be the best by it."""


class MetricSeries(Record):
    """One metric on one workload."""

    metric: str
    workload: str
    unit: str
    direction: Direction
    part: Part
    allowed: float | None = None
    """Guardrail: by what share it may be worse."""
    baseline: float | None
    """Median over the measurements that the baseline took part in; None where it took part in none."""
    points: tuple[MetricPoint, ...]
    alone: bool
    """Whether the task has but this workload."""

    @property
    def name(self) -> str:
        """As guardrails and columns name it."""
        return self.metric if self.alone else f"{self.workload}/{self.metric}"

    @property
    def best(self) -> tuple[tuple[int, float], ...]:
        """Measurements and value of each best so far, beginning with the baseline."""
        start = ((0, self.baseline),) if self.baseline is not None else ()
        return (*start, *((p.measurements, p.value) for p in self.points if p.leader))


def metric_series(h: History, curve: Sequence[CurvePoint]) -> tuple[MetricSeries, ...]:
    """Every metric of ``h``: the objective on each workload, the guardrails, the others. ``curve`` is the view's."""
    c = h.campaign
    assert c is not None
    reached = {(p.measurements, p.candidate) for p in curve[1:-1]}  # between the baseline and where it ended
    found: dict[tuple[str, str], list[tuple[int, str, str, Metric]]] = {}
    for count, ((candidate, rival, _), evaluation) in enumerate(h.evaluations.items(), 1):
        for result in evaluation.workloads:
            for metric in result.metrics:
                found.setdefault((metric.name, result.workload), []).append((count, candidate, rival, metric))
    order = [c.objective.metric, *(g.metric for g in c.guardrails)]
    named = sorted(found, key=lambda key: order.index(key[0]) if key[0] in order else len(order))
    return tuple(_series(key, found[key], c, reached) for key in named)


def report_series(h: History, curve: Sequence[CurvePoint]) -> tuple[MetricSeries, ...]:
    """What a report draws beside the best so far: nothing where time alone decides, for that says it already."""
    c = h.campaign
    assert c is not None
    return () if c.objective.metric == "time" and not c.guardrails else metric_series(h, curve)


def _series(
    key: tuple[str, str],
    seen: list[tuple[int, str, str, Metric]],
    c: Campaign,
    reached: set[tuple[int, str]],
) -> MetricSeries:
    name, workload = key
    guard = next((g for g in c.guardrails if g.metric == name), None)
    sides = [(who, side) for _, mine, other, m in seen for who, side in ((mine, m.candidate), (other, m.rival))]
    baseline = [statistics.median(side) for who, side in sides if who == c.baseline]
    first = seen[0][3]
    return MetricSeries(
        metric=name,
        workload=workload,
        unit=first.unit,
        direction=first.direction,
        part="objective" if name == c.objective.metric else "guardrail" if guard else "other",
        allowed=guard.limit if guard else None,
        baseline=statistics.median(baseline) if baseline else None,
        points=tuple(_point(count, mine, other, m, guard, (count, mine) in reached) for count, mine, other, m in seen),
        alone=len(c.weights) == 1,
    )


def _point(count: int, mine: str, other: str, m: Metric, guard: Guardrail | None, leader: bool) -> MetricPoint:
    value = statistics.median(m.candidate)
    limit, broken = None, False
    if guard is not None:
        worse, allowed = effect(logs(m)).log, math.log1p(guard.limit)
        sign = 1.0 if m.direction is Direction.minimize else -1.0
        limit, broken = value * math.exp(sign * (allowed - worse)), worse > allowed
    return MetricPoint(
        measurements=count, candidate=mine, rival=other, value=value, limit=limit, broken=broken, leader=leader
    )
