"""The proof of a campaign's best: its evaluation beside the baseline, workload by workload and metric by metric."""

from __future__ import annotations

import math
import statistics

from warpsmith.analyse.compare import Comparison, effect, logs
from warpsmith.model.base import Record
from warpsmith.model.campaign import Campaign
from warpsmith.model.evaluation import Evaluation, Metric
from warpsmith.model.head import Direction
from warpsmith.model.task import KernelTask
from warpsmith.surface.ratio import Ratio, ratio_of


class MetricRow(Record):
    """A metric of the proof beside the objective."""

    name: str
    unit: str
    direction: Direction
    candidate: float
    rival: float
    """Medians, in its unit."""
    ratio: Ratio
    """Above 1 means that the candidate is better, whichever way that is."""
    allowed: float | None = None
    """Guardrail: by what share it may be worse."""
    broken: bool = False


class WorkloadRow(Record):
    """One workload of the proof."""

    name: str
    weight: float
    unit: str = "s"
    """Of the objective."""
    candidate: float
    rival: float
    """Medians of the objective, in its unit."""
    ratio: Ratio
    others: tuple[MetricRow, ...] = ()
    error: float
    """Worst relative RMS of any row of any verified call."""
    limit: float
    calls: int
    bytes: int | None = None
    flops: float | None = None
    bytes_per_s: float | None = None
    flops_per_s: float | None = None
    copy_bytes_per_s: float | None = None
    copy_share: Ratio | None = None
    """Time of the plain copy over time of the candidate, paired: 0.9 means 90 % of the copy's rate."""
    copy_how: str = ""


def workload_rows(
    proof: Evaluation, answer: Comparison, c: Campaign, task: KernelTask | None
) -> tuple[WorkloadRow, ...]:
    """A row for each workload on which the objective was measured; ``task`` adds bytes and flops."""
    said = {w.name: w for w in task.workloads} if task else {}
    rows = []
    for result in proof.workloads:
        metric = result.metric(c.objective.metric)
        if metric is None:
            continue
        seconds = statistics.median(metric.candidate)
        workload = said.get(result.workload)
        traffic = task.traffic(workload) if task and workload else None
        work = task.work(workload) if task and workload else None
        ceiling = result.ceiling
        copied = ceiling.bytes / statistics.median(ceiling.seconds) if ceiling else None
        rows.append(
            WorkloadRow(
                name=result.workload,
                weight=c.weights.get(result.workload, 1.0),
                unit=metric.unit,
                candidate=seconds,
                rival=statistics.median(metric.rival),
                ratio=ratio_of(answer.workloads[result.workload]),
                others=tuple(_other(m, c) for m in result.metrics if m is not metric),
                error=max((e.worst_row for e in result.errors), default=0.0),
                limit=max((e.limit for e in result.errors), default=0.0),
                calls=result.calls,
                bytes=traffic,
                flops=work,
                bytes_per_s=traffic / seconds if traffic else None,
                flops_per_s=work / seconds if work else None,
                copy_bytes_per_s=copied,
                copy_share=_share(metric.candidate, ceiling.seconds) if ceiling else None,
                copy_how=ceiling.how if ceiling else "",
            )
        )
    return tuple(rows)


def _other(metric: Metric, c: Campaign) -> MetricRow:
    found = effect(logs(metric))
    guard = next((g for g in c.guardrails if g.metric == metric.name), None)
    return MetricRow(
        name=metric.name,
        unit=metric.unit,
        direction=metric.direction,
        candidate=statistics.median(metric.candidate),
        rival=statistics.median(metric.rival),
        ratio=ratio_of(found),
        allowed=guard.limit if guard else None,
        broken=guard is not None and found.log > math.log1p(guard.limit),
    )


def _share(candidate: tuple[float, ...], copies: tuple[float, ...]) -> Ratio:
    pairs = [math.log(mine / copy) for mine, copy in zip(candidate, copies, strict=False)]
    return ratio_of(effect(pairs))
