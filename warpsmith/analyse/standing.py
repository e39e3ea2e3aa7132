"""Who leads? The opinion that planning, reports and surfaces share, derived from the history alone.

Every candidate has an estimate: its log-time over the baseline's, chained along the pairs that were measured
(candidate over rival, plus the rival's own). So a candidate that was screened against a best since deposed is still
judged against the present one. Confirmed effects replace screened ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from warpsmith.analyse.compare import Comparison, Verdict, compare, margin
from warpsmith.model.campaign import Campaign
from warpsmith.model.evaluation import Effort, Evaluation, Status
from warpsmith.model.step import Measure
from warpsmith.store.history import History

PROOF = (Effort.confirm, Effort.promote)


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
    untried: tuple[str, ...]
    unproved: tuple[tuple[str, str], ...]
    """(candidate, rival) pairs that the final report still needs: best over baseline, peers over best."""
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
    failed = _failed(h)
    compared = {
        pairing: answer
        for pairing, e in h.evaluations.items()
        if pairing[0] not in failed and pairing[1] not in failed and (answer := compare(e, c)) is not None
    }
    estimates = _estimates(compared, c.baseline)
    leaders, changes = _leaders(h, compared, estimates, c)
    best = leaders[-1]
    peers = set(c.peers.values())
    unmeasured = [x for x in h.candidates if x not in estimates and x not in failed and x not in peers]
    return Standing(
        best=best,
        estimates=estimates,
        leaders=leaders,
        contenders=_contenders(h, compared, estimates, best, c),
        unexplained=tuple(x for x in leaders[1:] if c.explain and x not in h.profiles),
        untried=tuple(x for x in unmeasured if not _given_up(h, x)),
        unproved=_unproved(h, best, failed, c),
        failed=failed,
        baseline_failed=failed.get(c.baseline, ""),
        baseline_checked=any(p[0] == c.baseline for p in h.evaluations),
        unhelpful=_unhelpful(h, changes),
        exhausted=bool(h.rounds) and h.rounds[-1].exhausted,
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


def _estimates(compared: dict[tuple[str, str, Effort], Comparison], baseline: str) -> dict[str, float]:
    estimates = {baseline: 0.0}
    known: dict[str, tuple[str, float, bool]] = {}
    for (candidate, rival, effort), answer in compared.items():
        proof = effort in PROOF
        if candidate != rival and candidate != baseline and (candidate not in known or proof >= known[candidate][2]):
            known[candidate] = (rival, answer.overall.log, proof)
    for candidate in known:
        total, at, seen = 0.0, candidate, set()
        while at in known and at not in seen:
            seen.add(at)
            rival, log, _ = known[at]
            total, at = total + log, rival
        if at == baseline:
            estimates[candidate] = total
    return estimates


def _leaders(
    h: History, compared: dict[tuple[str, str, Effort], Comparison], estimates: dict[str, float], c: Campaign
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Every best in turn, and after how many evaluations each came."""
    leaders, changes = [c.baseline], [0]
    peers = set(c.peers.values())
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
    h: History, compared: dict[tuple[str, str, Effort], Comparison], estimates: dict[str, float], best: str, c: Campaign
) -> tuple[str, ...]:
    proved = {(candidate, rival) for candidate, rival, effort in h.evaluations if effort in PROOF}
    peers = set(c.peers.values())
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
    wanted += [(peer, best) for peer in c.peers.values() if peer not in failed]
    return tuple(
        (x, rival)
        for x, rival in wanted
        if (x, rival, Effort.confirm) not in h.evaluations and not _given_up(h, x, rival, Effort.confirm)
    )


def _given_up(h: History, candidate: str, rival: str | None = None, effort: Effort = Effort.screen) -> bool:
    """Whether faults used up the attempts at measuring ``candidate`` (against ``rival``, where one is named)."""
    limit = h.campaign.attempts if h.campaign else 1
    for key, reasons in h.faults.items():
        step = h.faulted[key]
        same = isinstance(step, Measure) and step.candidate == candidate and step.effort is effort
        if same and (rival is None or getattr(step, "rival", None) == rival) and len(reasons) >= limit:
            return True
    return False


def _unhelpful(h: History, changes: tuple[int, ...]) -> int:
    last_change = changes[-1]
    return sum(1 for r in h.rounds if r.after >= last_change)


def direct(h: History, candidate: str, rival: str) -> Evaluation | None:
    """The strongest evaluation of that very pair."""
    for effort in (Effort.promote, Effort.confirm, Effort.screen):
        if (found := h.evaluations.get((candidate, rival, effort))) is not None:
            return found
    return None
