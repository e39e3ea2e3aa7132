"""What people see of a history: candidates, curve, peers, all derived. Text, HTML, JSON and exports are made from this
alone. Its parts have modules of their own: ``proof``, ``limits``, ``labelled``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from warpsmith.analyse.compare import Effect, Verdict, compare
from warpsmith.analyse.costs import Costs, costs
from warpsmith.analyse.rates import upper95
from warpsmith.analyse.reasons import status_of, strongest, why
from warpsmith.analyse.roofline import Roof, roof
from warpsmith.analyse.standing import Standing, direct, standing
from warpsmith.campaign import asking_ends
from warpsmith.model.base import Record
from warpsmith.model.campaign import Campaign
from warpsmith.model.evaluation import Build, Effort, Trust
from warpsmith.model.head import Direction
from warpsmith.model.target import Target
from warpsmith.model.task import KernelTask
from warpsmith.propose.agent_card import asked_for
from warpsmith.store.history import History
from warpsmith.surface.labelled import LabelledRun, labelled
from warpsmith.surface.limits import Limits, limits, why_not
from warpsmith.surface.proof import WorkloadRow, workload_rows
from warpsmith.surface.ratio import Ratio, ratio_of


class Row(Record):
    """One candidate of a history."""

    id: str
    origin: str
    parent: str | None
    parameters: dict[str, int]
    environment: dict[str, str] = {}
    """Of an overlay: variables that its runs see."""
    memo: str
    status: str
    """A named status, ``untried``, or ``lost`` (faults only)."""
    detail: str = ""
    verdict: str | None = None
    effort: str | None = None
    rival: str | None = None
    ratio: Ratio | None = None
    """Against ``rival``, as measured."""
    speedup: float | None = None
    """Against the baseline, chained where it was not measured directly."""
    leader: bool = False
    """Whether it was the best at some time."""
    why: str = ""
    """Why it was kept or rejected, in a sentence."""
    measurements: int | None = None
    """How many measurements the campaign had made when this one was first measured."""
    trust: str | None = None
    """Who vouches for its numbers: ``judged`` or ``harness_reported``; None where none were taken."""


class PeerRow(Record):
    """A peer beside the best: ``best_over_peer`` above 1 means that the best is faster than the peer."""

    name: str
    id: str
    status: str
    best_over_peer: Ratio | None
    workloads: dict[str, Ratio]


class CurvePoint(Record):
    """The best so far after so many measurements and seconds."""

    measurements: int
    seconds: float
    speedup: float
    candidate: str


class View(Record):
    """A campaign as people see it."""

    task: str
    tag: str
    proposer: str
    seed: int
    target: Target
    metric: str = "time"
    """The objective; whichever way is better, a ratio above 1 is a gain."""
    direction: Direction = Direction.minimize
    trust: str = "judged"
    """Who vouches for the numbers of the proof: ``judged``, or ``harness_reported``."""
    noise_floor: float
    noise_comparisons: int = 0
    """Comparisons of identical candidates that the floor comes from."""
    noise_beyond: float | None = None
    """95 % upper bound on the share of such comparisons that go beyond it; None where none is known."""
    min_gain: float
    judge: str
    baseline: str
    best: str
    best_parameters: dict[str, int]
    verdict: str | None
    ratio: Ratio | None
    """Best over baseline: of the run that is published, or measured directly where that is still to be made."""
    published: int | None = None
    """Which of the campaign's published runs gave that ratio, from 1; None: the run that did also chose the best."""
    promotable: bool
    stopped_because: str | None
    measured: int
    rounds: int
    seconds: float
    costs: Costs
    """What asking models cost, by role, model, candidate and gain."""
    rows: tuple[Row, ...]
    curve: tuple[CurvePoint, ...]
    workloads: tuple[WorkloadRow, ...]
    peers: tuple[PeerRow, ...]
    roof: Roof | None
    limits: Limits | None = None
    """What limits the best, where a leader was profiled."""
    unexplained: str = ""
    """Why no leader was profiled, where that was tried."""
    build: Build | None
    conditions: tuple[str, ...]
    lineage: tuple[str, ...]
    """From the baseline to the best, by measured succession."""
    labelled: tuple[LabelledRun, ...] = ()
    """Evaluations that somebody made by hand under this tag."""
    rhythm: tuple[str, ...] = ()
    """What the history asks for next, in words: it is time to escalate. See propose.plateau."""


def view(
    h: History,
    task: KernelTask | None,
    measured: Mapping[str, float] | None = None,
    trust: Mapping[str, float] | None = None,
) -> View:
    """Everything that is shown of ``h``.

    Args:
        h: The history.
        task: Adds bytes and flops.
        measured: The device's ceilings, for what limits the best.
        trust: In each rule, from its record on the device, for the same.
    """
    c = h.campaign
    assert c is not None
    s = standing(h, c)
    run = s.published.get(s.best)
    proof = run.evaluation if run else direct(h, s.best, c.baseline) if s.best != c.baseline else None
    answer = run.comparison if run else compare(proof, c) if proof else None
    workloads = workload_rows(proof, answer, c, task) if proof and answer else ()
    gained = answer is not None and answer.verdict is Verdict.faster and 1 - math.exp(answer.overall.log) >= c.min_gain
    return View(
        task=c.task_name,
        tag=c.tag,
        proposer=c.proposer,
        seed=c.seed,
        target=c.target,
        metric=c.objective.metric,
        direction=c.objective.direction,
        trust=_trust(h),
        noise_floor=c.noise_floor,
        noise_comparisons=c.noise_comparisons,
        noise_beyond=upper95(0, c.noise_comparisons) if c.noise_comparisons else None,
        min_gain=c.min_gain,
        judge=c.judge,
        baseline=c.baseline,
        best=s.best,
        best_parameters=h.candidates[s.best].parameters,
        verdict=answer.verdict.value if answer else None,
        ratio=ratio_of(answer.overall, answer.detectable) if answer else None,
        published=run.number if run else None,
        promotable=gained and run is not None,
        stopped_because=asking_ends(c.budget, h, s),
        measured=h.measured,
        rounds=len(h.rounds),
        seconds=h.seconds,
        costs=costs(h, s),
        rows=tuple(_row(h, s, c, x) for x in h.candidates),
        curve=_curve(h, s, c),
        workloads=workloads,
        peers=tuple(_peer(h, s, c, name, x) for name, x in c.peers.items()),
        roof=roof([(w.name, w.flops, w.bytes, w.candidate, w.copy_bytes_per_s) for w in workloads], c.peak_flops_per_s),
        limits=limits(h, s, c, measured or {}, trust or {}),
        unexplained=why_not(h, s, c),
        build=proof.build if proof else None,
        conditions=proof.conditions if proof else (),
        lineage=s.leaders,
        labelled=labelled(h),
        rhythm=tuple(" ".join(said.removeprefix("- ").split()) for said in asked_for(h, s)),
    )


def _row(h: History, s: Standing, c: Campaign, identity: str) -> Row:
    candidate = h.candidates[identity]
    evaluation = strongest(h, identity)
    run = s.published.get(identity)
    answer = run.comparison if run and run.evaluation is evaluation else compare(evaluation, c) if evaluation else None
    estimate = s.estimates.get(identity)
    status, detail = status_of(h, s, identity, evaluation)
    return Row(
        id=identity,
        origin=h.origins[identity],
        parent=candidate.parent,
        parameters=candidate.parameters,
        environment=candidate.environment,
        memo=candidate.memo,
        status=status,
        detail=detail,
        verdict=answer.verdict.value if answer else None,
        effort=evaluation.effort.value if evaluation else None,
        rival=evaluation.rival if evaluation else None,
        ratio=ratio_of(answer.overall, answer.detectable) if answer else None,
        speedup=math.exp(-estimate) if estimate is not None else None,
        leader=identity in s.leaders,
        why=why(s, c, identity, status, detail, answer, evaluation),
        measurements=next((n for n, p in enumerate(h.evaluations, 1) if p[0] == identity), None),
        trust=evaluation.trust.value if evaluation else None,
    )


def _trust(h: History) -> str:
    """``harness_reported`` where any number of the history is."""
    reported = any(e.trust is Trust.harness_reported for e in h.evaluations.values())
    return (Trust.harness_reported if reported else Trust.judged).value


def _curve(h: History, s: Standing, c: Campaign) -> tuple[CurvePoint, ...]:
    points = [CurvePoint(measurements=0, seconds=0.0, speedup=1.0, candidate=c.baseline)]
    waiting = list(s.leaders[1:])
    for count, pairing in enumerate(h.evaluations, 1):
        proved = pairing[2] in (Effort.confirm, Effort.promote)
        if waiting and pairing[0] == waiting[0] and proved:
            leader = waiting.pop(0)
            points.append(
                CurvePoint(
                    measurements=count,
                    seconds=h.times[pairing],
                    speedup=math.exp(-s.estimates[leader]),
                    candidate=leader,
                )
            )
    last = points[-1]
    points.append(last.model_copy(update={"measurements": h.measured, "seconds": h.seconds}))
    return tuple(points)


def _peer(h: History, s: Standing, c: Campaign, name: str, identity: str) -> PeerRow:
    evaluation = direct(h, identity, s.best)
    answer = compare(evaluation, c) if evaluation else None
    per_workload: Mapping[str, Effect] = answer.workloads if answer else {}
    return PeerRow(
        name=name,
        id=identity,
        status=s.failed.get(identity, evaluation.status.value if evaluation else "not measured"),
        best_over_peer=ratio_of(_inverse(answer.overall), answer.detectable) if answer else None,
        workloads={w: ratio_of(_inverse(e)) for w, e in per_workload.items()},
    )


def _inverse(found: Effect) -> Effect:
    return Effect(-found.log, -found.high, -found.low, found.pairs, found.confidence)
