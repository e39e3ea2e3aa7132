"""Who leads? The opinion that planning, reports and surfaces share, derived from the history alone.

Every candidate has an estimate: its log-time over the baseline's, chained along the pairs that were measured
(candidate over rival, plus the rival's own). So a candidate that was screened against a best since deposed is still
judged against the present one. Confirmed effects replace screened ones.

Many tries find luck, so what is published was never used to choose: the best of the confirmed is measured once more
beside the baseline, at promote effort, and that run alone is published. The k-th such run of a history has to clear an
interval of 1 - 0.05 / 2^(k-1), so that all of them together publish a gain where there is none in at most 5 % of
campaigns, however many candidates were handed in. One that does not clear it leads no longer.
"""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass, field

from warpsmith.analyse.calibration import cited
from warpsmith.analyse.compare import Comparison, Verdict, compare, effect, logs, margin
from warpsmith.analyse.defaults import source_defaults
from warpsmith.model.base import digest
from warpsmith.model.campaign import Campaign
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Build, Effort, Evaluation, Status
from warpsmith.model.step import Explain, Measure
from warpsmith.store.history import History

PROOF = (Effort.confirm, Effort.promote)
Pairing = tuple[str, str, Effort]
"""Candidate, rival, and how much their comparison proves."""
OUTSIDE = 0.05
"""Share outside of the interval of the first published run; half of it for the second, and so on."""


@dataclass(frozen=True)
class Published:
    """A run beside the baseline that chose nothing, and what it says."""

    evaluation: Evaluation = field(compare=False)
    """Left out where standings are compared: it also holds seconds of this machine."""
    comparison: Comparison
    number: int
    """Which of the history's published runs it is, from 1."""


@dataclass(frozen=True)
class Standing:
    """The opinion on a history."""

    best: str
    estimates: dict[str, float]
    """Candidate to chained log-time over the baseline: negative is faster."""
    leaders: tuple[str, ...]
    """Every best so far, oldest first, beginning with the baseline."""
    contenders: tuple[str, ...]
    """Looked faster than the best in a screen; the most promising first."""
    unexplained: tuple[str, ...]
    """Leaders that are to be profiled."""
    cited: tuple[str, ...]
    """Others that are: timed, won or not, with a memo that answers a finding of their parent's profile."""
    untried: tuple[str, ...]
    unproved: tuple[tuple[str, str], ...]
    """(candidate, rival) pairs that the final report still needs: best over baseline, peers over best, and the source
    default of a best that is a setting over the baseline.
    """
    unpublished: tuple[tuple[str, str], ...]
    """The best over the baseline, where the run that is published is still to be made."""
    published: dict[str, Published]
    """Candidate to its published run."""
    twins: dict[str, str]
    """Candidate to the earlier one that built to the same binary, whose verdict it has."""
    broken: dict[str, tuple[str, ...]]
    """Candidate to the guardrails that it breaks beside the baseline, chained like the estimates: else each new best
    could lose as much again as a guardrail allows.
    """
    failed: dict[str, str]
    """Candidate to the named status and detail that ended it."""
    baseline_failed: str
    """Why the baseline fails its own task; empty while it does not."""
    baseline_checked: bool
    unhelpful: int
    """Answered rounds in a row, fully measured, without a new best."""
    exhausted: bool


def standing(h: History, campaign: Campaign | None = None) -> Standing:
    """The opinion on ``h``. Pure: equal histories give equal standings."""
    c = campaign or h.campaign
    assert c is not None, "a history is judged under the campaign that it opened with"
    twins = _twins(h, c)
    failed = _failed(h)
    failed = {**{x: failed[same] for x, same in twins.items() if same in failed}, **failed}
    compared = {
        pairing: answer
        for pairing, e in h.evaluations.items()
        if pairing[0] not in failed and pairing[1] not in failed and (answer := compare(e, c)) is not None
    }
    runs = published(h, c, failed)
    chains = _chains(compared, c.baseline)
    estimates = _estimates(compared, chains, c.baseline, twins)
    broken = _broken(h, chains, c)
    barred = {*twins, *broken, *_refuted(runs)}
    leaders, changes = _leaders(h, compared, estimates, c, barred)
    best = leaders[-1]
    peers = set(c.peers.values())
    unmeasured = [x for x in h.candidates if x not in estimates and x not in failed and x not in peers]
    return Standing(
        best=best,
        estimates=estimates,
        leaders=leaders,
        contenders=_contenders(h, compared, estimates, best, c, barred),
        unexplained=tuple(x for x in leaders[1:] if c.explain and x not in h.profiles and not _left_unexplained(h, x)),
        cited=tuple(x for x in estimates if c.explain and x not in (*leaders, *twins, *peers) and _answers(h, x)),
        untried=tuple(x for x in unmeasured if not _given_up(h, x)),
        unproved=_unproved(h, best, failed, c),
        unpublished=_unpublished(h, best, c),
        published=runs,
        twins=twins,
        broken=broken,
        failed=failed,
        baseline_failed=failed.get(c.baseline, ""),
        baseline_checked=any(p[0] == c.baseline for p in h.evaluations),
        unhelpful=_unhelpful(h, changes),
        exhausted=bool(h.proposed) and h.proposed[-1].exhausted,
    )


def _failed(h: History) -> dict[str, str]:
    """Candidates that ended in a status, their own or seen of them as a rival: a leader that fails later is none."""
    failed: dict[str, str] = {}
    for evaluation in h.evaluations.values():
        if evaluation.rival_status is not Status.passed:
            failed.setdefault(evaluation.rival, _reason(evaluation.rival_status, evaluation.rival_detail))
        elif evaluation.status is not Status.passed:
            failed.setdefault(evaluation.candidate, _reason(evaluation.status, evaluation.detail))
    return failed


def _reason(status: Status, detail: str) -> str:
    return f"{status}: {detail}" if detail else str(status)


def published(h: History, c: Campaign, failed: Container[str] = ()) -> dict[str, Published]:
    """The runs beside the baseline at promote effort, each with the interval that its number asks for."""
    runs: dict[str, Published] = {}
    number = 0
    for (candidate, rival, effort), evaluation in h.evaluations.items():
        if effort is not Effort.promote or rival != c.baseline or candidate == c.baseline:
            continue
        number += 1  # whatever became of it: how strict the next one is must not depend on that
        answer = compare(evaluation, c, 1 - OUTSIDE / 2 ** (number - 1))
        if answer is not None and candidate not in failed:
            runs[candidate] = Published(evaluation, answer, number)
    return runs


def _refuted(runs: dict[str, Published]) -> set[str]:
    return {candidate for candidate, run in runs.items() if run.comparison.verdict is not Verdict.faster}


def _twins(h: History, c: Campaign) -> dict[str, str]:
    """Candidates that are the same to the device as an earlier one: equal binaries, launched alike. Peers are shown
    whatever they are.
    """
    first: dict[str, str] = {}
    twins: dict[str, str] = {}
    for (identity, _, _), evaluation in h.evaluations.items():
        if evaluation.build is None or identity in twins or identity in c.peers.values():
            continue
        what = _behaviour(h.candidates[identity], evaluation.build)
        if (same := first.setdefault(what, identity)) != identity:
            twins[identity] = same
    return twins


def _behaviour(candidate: Candidate, build: Build) -> str:
    """All that decides how a built candidate behaves: a binary alone where it brings no launch plan."""
    unused = {"space", "parent", "memo", "sources", "flags"} | (set() if candidate.launch else {"parameters"})
    return digest([build.binary, candidate.model_dump(mode="json", exclude=unused)])


def _chains(compared: dict[Pairing, Comparison], baseline: str) -> dict[str, tuple[Pairing, ...]]:
    """Candidate to the comparisons that lead from it to the baseline; confirmed ones replace screened ones."""
    known: dict[str, Pairing] = {}
    for pairing in compared:
        candidate, rival, effort = pairing
        proof = effort in PROOF
        other = candidate not in (rival, baseline)
        if other and (candidate not in known or proof >= (known[candidate][2] in PROOF)):
            known[candidate] = pairing
    chains = {}
    for candidate in known:
        links: list[Pairing] = []
        at, seen = candidate, set()
        while at in known and at not in seen:
            seen.add(at)
            links.append(known[at])
            at = known[at][1]
        if at == baseline:
            chains[candidate] = tuple(links)
    return chains


def _estimates(
    compared: dict[Pairing, Comparison],
    chains: dict[str, tuple[Pairing, ...]],
    baseline: str,
    twins: dict[str, str],
) -> dict[str, float]:
    known = {candidate: sum(compared[link].overall.log for link in links) for candidate, links in chains.items()}
    estimates = {baseline: 0.0, **known}
    inherited = {x: estimates[same] for x, same in twins.items() if same in estimates}
    return {**estimates, **inherited, baseline: 0.0}


def _broken(h: History, chains: dict[str, tuple[Pairing, ...]], c: Campaign) -> dict[str, tuple[str, ...]]:
    """Guardrails that candidates break beside the baseline, as ``workload/metric``."""
    found: dict[str, tuple[str, ...]] = {}
    for candidate, links in chains.items():
        worse: dict[str, float] = {}
        for guard, result in ((g, r) for link in links for g in c.guardrails for r in h.evaluations[link].workloads):
            if (metric := result.metric(guard.metric)) is not None:
                name = f"{result.workload}/{guard.metric}"
                worse[name] = worse.get(name, 0.0) + effect(logs(metric)).log
        limits = {guard.metric: math.log1p(guard.limit) for guard in c.guardrails}
        if names := tuple(name for name, log in worse.items() if log > limits[name.rpartition("/")[2]]):
            found[candidate] = names
    return found


def _leaders(
    h: History,
    compared: dict[Pairing, Comparison],
    estimates: dict[str, float],
    c: Campaign,
    barred: set[str],
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Every best in turn, and after how many evaluations each came."""
    leaders, changes = [c.baseline], [0]
    peers = {*c.peers.values(), *barred}
    for count, pairing in enumerate(h.evaluations, 1):
        candidate, _, effort = pairing
        answer = compared.get(pairing)
        if answer is None or effort not in PROOF or candidate in peers or candidate in leaders:
            continue
        ahead = estimates.get(candidate, math.inf) < estimates.get(leaders[-1], 0.0)
        if answer.verdict is Verdict.faster and ahead:
            leaders.append(candidate)
            changes.append(count)
    return tuple(leaders), tuple(changes)


def _contenders(
    h: History,
    compared: dict[Pairing, Comparison],
    estimates: dict[str, float],
    best: str,
    c: Campaign,
    barred: set[str],
) -> tuple[str, ...]:
    proved = {(candidate, rival) for candidate, rival, effort in h.evaluations if effort in PROOF}
    peers = {*c.peers.values(), *barred}
    looked: list[tuple[float, str]] = []
    for (candidate, rival, effort), answer in compared.items():
        if (
            effort is not Effort.screen
            or candidate in peers
            or candidate in (best, rival)
            or (candidate, best) in proved
        ):
            continue
        ahead = estimates.get(candidate, math.inf) < estimates[best] - margin(c.noise_floor)
        if ahead and not answer.regressed and not answer.broken and not _given_up(h, candidate, best, Effort.confirm):
            looked.append((estimates[candidate], candidate))
    return tuple(candidate for _, candidate in sorted(looked))


def _unproved(h: History, best: str, failed: dict[str, str], c: Campaign) -> tuple[tuple[str, str], ...]:
    wanted = [(best, c.baseline)] if best != c.baseline else []
    wanted += [(x, c.baseline) for x in source_defaults(h.candidates, best, c.baseline) if x not in failed]
    wanted += [(peer, best) for peer in c.peers.values() if peer not in failed]
    return tuple(
        (x, rival)
        for x, rival in wanted
        if (x, rival, Effort.confirm) not in h.evaluations and not _given_up(h, x, rival, Effort.confirm)
    )


def _unpublished(h: History, best: str, c: Campaign) -> tuple[tuple[str, str], ...]:
    measured = (best, c.baseline, Effort.promote) in h.evaluations
    if best == c.baseline or measured or _given_up(h, best, c.baseline, Effort.promote):
        return ()
    return ((best, c.baseline),)


def _given_up(h: History, candidate: str, rival: str | None = None, effort: Effort = Effort.screen) -> bool:
    """Whether faults used up the attempts at measuring ``candidate`` (against ``rival``, where one is named)."""
    limit = h.campaign.attempts if h.campaign else 1
    for key, reasons in h.faults.items():
        step = h.faulted[key]
        same = isinstance(step, Measure) and step.candidate == candidate and step.effort is effort
        if same and (rival is None or getattr(step, "rival", None) == rival) and len(reasons) >= limit:
            return True
    return False


def _answers(h: History, candidate: str) -> bool:
    """Whether a profile of ``candidate`` would show if the finding that it answers was right: without the losers' the
    hit rate of rules would see winners only.
    """
    if candidate in h.profiles or _left_unexplained(h, candidate):
        return False
    given = h.candidates[candidate]
    return given.parent in h.profiles and bool(cited(given.memo))


def _left_unexplained(h: History, candidate: str) -> bool:
    """Whether profiling ``candidate`` cannot work here, or faults used up the attempts."""
    lost = sum(
        len(reasons)
        for key, reasons in h.faults.items()
        if isinstance(step := h.faulted[key], Explain) and step.candidate == candidate
    )
    return candidate in h.unexplained or lost >= (h.campaign.attempts if h.campaign else 1)


def _unhelpful(h: History, changes: tuple[int, ...]) -> int:
    last_change = changes[-1]
    return sum(1 for r in h.proposed if r.after >= last_change)


def direct(h: History, candidate: str, rival: str) -> Evaluation | None:
    """The strongest evaluation of that very pair."""
    for effort in (Effort.promote, Effort.confirm, Effort.screen):
        if (found := h.evaluations.get((candidate, rival, effort))) is not None:
            return found
    return None
