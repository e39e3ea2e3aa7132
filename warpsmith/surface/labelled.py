"""Labelled evaluations: benchmarks of a harness task that somebody made by hand and gave a campaign's tag.

They are events of the campaign's ledger, shown with it in the order in which they came, and they decide nothing: the
plan neither counts nor repeats them.
"""

from __future__ import annotations

import math
import statistics
import time

from warpsmith.analyse.compare import compare
from warpsmith.model.base import Record
from warpsmith.model.campaign import Benched, Campaign, Opened
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Evaluation
from warpsmith.store.history import History, fold
from warpsmith.store.ledger import Ledger


class Shown(Record):
    """One metric of one workload."""

    name: str
    unit: str
    candidate: float
    """Median of the samples."""
    rival: float


class LabelledRun(Record):
    """One candidate of one labelled evaluation."""

    label: str
    """The notes, or the report's name."""
    at: str
    candidate: str
    rival: str
    status: str
    detail: str
    verdict: str | None
    speedup: float | None
    """Of the objective over the rival."""
    metrics: tuple[Shown, ...]
    """The objective first, then the guardrails."""


def labelled(h: History) -> tuple[LabelledRun, ...]:
    """What was labelled, oldest first."""
    c = h.campaign
    assert c is not None
    return tuple(_run(one, e, c) for one in h.benched for e in one.evaluations)


def _run(one: Benched, e: Evaluation, c: Campaign) -> LabelledRun:
    answer = compare(e, c)
    order = [c.objective.metric, *(g.metric for g in c.guardrails)]
    found = [(r.workload, m) for r in e.workloads for m in r.metrics]
    found.sort(key=lambda seen: order.index(seen[1].name) if seen[1].name in order else len(order))
    return LabelledRun(
        label=one.notes or one.name,
        at=time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(one.at)),
        candidate=e.candidate,
        rival=e.rival,
        status=e.status.value,
        detail=e.detail,
        verdict=answer.verdict.value if answer else None,
        speedup=math.exp(-answer.overall.log) if answer else None,
        metrics=tuple(
            Shown(
                name=m.name if len(c.weights) == 1 else f"{workload}/{m.name}", unit=m.unit,
                candidate=statistics.median(m.candidate), rival=statistics.median(m.rival),
            )
            for workload, m in found
        ),
    )  # fmt: skip


def keep(ledger: Ledger, campaign: Campaign, candidates: tuple[Candidate, ...], made: Benched) -> None:
    """Append the evaluation; where the ledger holds no campaign of that scope yet, the campaign first."""
    h = fold(ledger.events())
    if h.campaign is None or h.campaign.scope != campaign.scope:
        ledger.append(Opened(campaign=campaign, candidates=candidates, at=time.time()))
    ledger.append(made)
