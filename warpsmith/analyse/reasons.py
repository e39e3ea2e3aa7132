"""Why a candidate was kept or rejected: the sentence that histories, reports and memory share."""

from __future__ import annotations

from warpsmith.analyse.compare import Comparison, Verdict
from warpsmith.analyse.standing import Standing
from warpsmith.model.base import short
from warpsmith.model.campaign import Campaign
from warpsmith.model.evaluation import Evaluation, Status
from warpsmith.store.history import History

UNTRIED, LOST = "untried", "lost"
"""What stands for a status where a candidate was not measured yet, or only faults came of it."""

_BESIDE = {
    Verdict.faster: "faster than",
    Verdict.slower: "slower than",
    Verdict.same: "no faster than",
    Verdict.ambiguous: "not clearly faster than",
}


def strongest(h: History, candidate: str) -> Evaluation | None:
    """The evaluation with the most pairs, the latest of equals; beside another candidate where there is one."""
    found = [e for (c, r, _), e in h.evaluations.items() if c == candidate and c != r]
    alone = [e for (c, _, _), e in h.evaluations.items() if c == candidate]
    return max(reversed(found or alone), key=lambda e: e.effort.pairs, default=None)


def status_of(h: History, s: Standing, candidate: str, evaluation: Evaluation | None) -> tuple[str, str]:
    """The named status of a candidate, or UNTRIED or LOST, with its detail."""
    if candidate in s.failed:
        status, _, detail = s.failed[candidate].partition(": ")
        return status, detail
    if evaluation is not None:
        return evaluation.status.value, evaluation.detail
    return (UNTRIED, "") if candidate in s.untried else (LOST, _faults(h, candidate))


def _faults(h: History, candidate: str) -> str:
    reasons = [r for key, rs in h.faults.items() for r in rs if getattr(h.faulted[key], "candidate", "") == candidate]
    return reasons[-1] if reasons else "not measured"


def why(
    s: Standing, c: Campaign, candidate: str, status: str, detail: str, answer: Comparison | None, e: Evaluation | None
) -> str:
    """Why it was kept or rejected, in a sentence."""
    if candidate == c.baseline:
        return "the baseline"
    if candidate in s.twins and status in (Status.passed.value, UNTRIED):
        return f"the same binary as {short(s.twins[candidate])}: it has its verdict and is not confirmed again"
    if status not in (Status.passed.value,):
        return f"rejected: {status}" + (f": {detail.splitlines()[0]}" if detail else "")
    if candidate in s.twins:
        return f"rejected: builds to the same binary as {short(s.twins[candidate])}"
    if answer is None or e is None:
        return "verified only"
    if candidate == s.best:
        return "kept: the best so far"
    if candidate in s.leaders:
        return "kept, then passed by a better one"
    if candidate in c.peers.values():
        return "a peer: shown, never a leader"
    if broken := answer.broken or s.broken.get(candidate, ()):
        return f"rejected: breaks {', '.join(broken)}"
    if candidate in s.published:
        return f"rejected: {answer.verdict.value} than the baseline in the run that is published, which chose nothing"
    if answer.regressed:
        return f"rejected: slower on {', '.join(answer.regressed)}"
    return f"rejected: {_BESIDE[answer.verdict]} its rival in the {e.effort.value}"
