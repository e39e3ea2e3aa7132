"""Each metric of a history over its measurements: what the objective and the guardrails saw, and what was labelled.
Derived, like every view.

Charts of the report and plots are drawn from this alone, and a point breaks a guardrail here exactly where
:func:`warpsmith.analyse.compare.compare` says so.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Literal

from warpsmith.analyse.compare import effect, logs
from warpsmith.model.base import Record
from warpsmith.model.campaign import Campaign
from warpsmith.model.evaluation import Evaluation, Metric
from warpsmith.model.head import Direction, Guardrail
from warpsmith.store.history import History
from warpsmith.surface.view import CurvePoint

Part = Literal["objective", "guardrail", "other"]
Key = tuple[str, str]
"""Metric and workload."""
Seen = tuple[int, str, str, Metric]
"""Measurements, candidate, rival, and what was seen."""


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


class LabelledPoint(Record):
    """What a labelled evaluation saw of a metric: it stands beside the campaign's measurements, and decides nothing."""

    measurements: int
    """How many the campaign had made when it came."""
    label: str
    """Its notes, or its report's name."""
    candidate: str
    rival: str
    value: float
    """Median of the candidate's samples."""
    beside: float
    """Median of the rival's."""


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
    labelled: tuple[LabelledPoint, ...] = ()
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
    found: dict[Key, list[Seen]] = {}
    for count, evaluation in enumerate(h.evaluations.values(), 1):
        for key, metric in _metrics(evaluation):
            found.setdefault(key, []).append((count, evaluation.candidate, evaluation.rival, metric))
    by_hand = _labelled(h)
    order = [c.objective.metric, *(g.metric for g in c.guardrails)]
    named = sorted({**found, **by_hand}, key=lambda key: order.index(key[0]) if key[0] in order else len(order))
    return tuple(_series(key, found.get(key, []), by_hand.get(key, []), c, reached) for key in named)


def report_series(h: History, curve: Sequence[CurvePoint]) -> tuple[MetricSeries, ...]:
    """What a report draws beside the best so far: nothing where time alone decides, for that says it already."""
    c = h.campaign
    assert c is not None
    return () if c.objective.metric == "time" and not c.guardrails else metric_series(h, curve)


def _metrics(e: Evaluation) -> Iterator[tuple[Key, Metric]]:
    return (((metric.name, result.workload), metric) for result in e.workloads for metric in result.metrics)


def _labelled(h: History) -> dict[Key, list[tuple[LabelledPoint, Metric]]]:
    found: dict[Key, list[tuple[LabelledPoint, Metric]]] = {}
    for one, after in zip(h.benched, h.benched_after, strict=True):
        for e in one.evaluations:
            for key, metric in _metrics(e):
                point = LabelledPoint(
                    measurements=after, label=one.notes or one.name, candidate=e.candidate, rival=e.rival,
                    value=statistics.median(metric.candidate), beside=statistics.median(metric.rival),
                )  # fmt: skip
                found.setdefault(key, []).append((point, metric))
    return found


def _series(
    key: Key,
    seen: list[Seen],
    by_hand: list[tuple[LabelledPoint, Metric]],
    c: Campaign,
    reached: set[tuple[int, str]],
) -> MetricSeries:
    name, workload = key
    guard = next((g for g in c.guardrails if g.metric == name), None)
    sides = [(who, side) for _, mine, other, m in seen for who, side in ((mine, m.candidate), (other, m.rival))]
    baseline = [statistics.median(side) for who, side in sides if who == c.baseline]
    first = seen[0][3] if seen else by_hand[0][1]
    return MetricSeries(
        metric=name,
        workload=workload,
        unit=first.unit,
        direction=first.direction,
        part="objective" if name == c.objective.metric else "guardrail" if guard else "other",
        allowed=guard.limit if guard else None,
        baseline=statistics.median(baseline) if baseline else None,
        points=tuple(_point(count, mine, other, m, guard, (count, mine) in reached) for count, mine, other, m in seen),
        labelled=tuple(point for point, _ in by_hand),
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
