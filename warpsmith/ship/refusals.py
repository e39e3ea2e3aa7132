"""The conditions of entry: every reason against a promotion, each with its remedy. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

from warpsmith.analyse.compare import Comparison, Verdict
from warpsmith.model.base import Record, short
from warpsmith.model.evaluation import Evaluation, Status, Trust
from warpsmith.model.release import MOST_BYTES, ReleasedFile, is_version

Reason = Literal[
    "bad_version", "exists", "index_broken", "unknown_candidate", "task_changed", "sources_missing", "no_correctness",
    "wrong", "not_judged", "sanitizer_findings", "no_sanitizer_run", "regression", "guardrail", "not_faster",
    "below_gate", "other_artefact", "evidence_missing", "evidence_wrong", "too_large", "installed_path",
]  # fmt: skip
INPUT = {"bad_version", "exists", "index_broken", "unknown_candidate", "task_changed", "sources_missing"}
"""Reasons that no measurement gives."""
NO_GAIN = {"not_faster", "below_gate"}


class Refusal(Record):
    """One reason against a release."""

    reason: Reason
    message: str
    remedy: str


def exit_status(refusals: Sequence[Refusal]) -> int:
    """0 without any; 3 where what was asked for cannot be; 2 where nothing was gained and all else is well; else 1."""
    reasons = {r.reason for r in refusals}
    if not reasons:
        return 0
    if reasons & INPUT:
        return 3
    return 2 if reasons <= NO_GAIN else 1


def version(text: str, known: Iterable[str], name: str) -> list[Refusal]:
    """Against a version that cannot be one, or exists. ``known`` are those of this name."""
    if not is_version(text):
        remedy = "Use letters, digits, '.', '-', '_' and '+', such as 1.0.0."
        return [Refusal(reason="bad_version", message=f"{text!r} cannot be a version.", remedy=remedy)]
    if text in known:
        message = f"{name}@{text} exists, and releases are never changed."
        return [Refusal(reason="exists", message=message, remedy="Use a new version.")]
    return []


def sources(identity: str, known: bool, lacking: Sequence[str]) -> list[Refusal]:
    """Against a candidate that no ledger knows, or whose sources the blobs do not hold."""
    found = []
    if not known:
        message = f"no ledger of the task knows the candidate {short(identity)}."
        remedy = "Hand it in with 'warpsmith submit', so that it is measured and kept."
        found.append(Refusal(reason="unknown_candidate", message=message, remedy=remedy))
    for why in lacking:
        remedy = "Restore the blob, or submit the sources again."
        found.append(Refusal(reason="sources_missing", message=why, remedy=remedy))
    return found


def task(now: str, then: str | None) -> list[Refusal]:
    """Against a task that is not the one that the ledger's campaign measured."""
    if then is None or now == then:
        return []
    message = f"the task is {short(now)} now, and the campaign measured {short(then)}."
    remedy = "Run 'warpsmith optimize' again, or restore the task's files."
    return [Refusal(reason="task_changed", message=message, remedy=remedy)]


def correctness(evaluation: Evaluation | None, why: str = "") -> list[Refusal]:
    """Against what is wrong, or was not shown to be right. ``why`` there is no evaluation."""
    if evaluation is None:
        remedy = "Mend what kept it from being measured, and promote again."
        return [Refusal(reason="no_correctness", message=f"it was not measured: {why}", remedy=remedy)]
    found = []
    if evaluation.status is not Status.passed or evaluation.rival_status is not Status.passed:
        mine = evaluation.status is not Status.passed
        what = f"{evaluation.status}: {evaluation.detail}" if mine else f"the baseline: {evaluation.rival_detail}"
        found.append(Refusal(reason="wrong", message=what, remedy="See 'warpsmith check'."))
    elif unverified := [w.workload for w in evaluation.workloads if not w.calls or not w.errors]:
        message = f"no call was verified on {', '.join(unverified)}."
        remedy = "A release needs every workload verified."
        found.append(Refusal(reason="no_correctness", message=message, remedy=remedy))
    if evaluation.trust is not Trust.judged:
        remedy = "Only what this judge measured itself can be released."
        found.append(Refusal(reason="not_judged", message="a harness reported these numbers.", remedy=remedy))
    return found


def sanitizers(evaluation: Evaluation | None, why: str = "") -> list[Refusal]:
    """Against findings, and against not having looked. ``why`` there was no run."""
    results = evaluation.sanitizers if evaluation else ()
    said = [f"{s.tool}: {f.said}" for s in results for f in s.findings]
    if said:
        remedy = "Mend it; 'warpsmith check --sanitize' shows it again."
        return [Refusal(reason="sanitizer_findings", message="; ".join(said), remedy=remedy)]
    if lacking := [f"{s.tool}: {s.reason}" for s in results if s.status == "unavailable"]:
        why = "; ".join(lacking)
    elif not results:
        why = why or (f"{evaluation.status}: {evaluation.detail}" if evaluation else "none was asked")
    if not why:
        return []
    remedy = "Install what is missing ('warpsmith doctor'), and promote again."
    return [Refusal(reason="no_sanitizer_run", message=f"no sanitizer run: {why}", remedy=remedy)]


def gain(answer: Comparison | None, min_gain: float) -> list[Refusal]:
    """Against any regression, and against a gain that is none or below the gate."""
    if answer is None:
        return []  # why nothing was measured is said elsewhere
    found = []
    for name in answer.regressed:
        slower = 1 / answer.workloads[name].speedup - 1
        message = f"the workload {name!r} is {slower:.1%} slower than the baseline."
        remedy = "A release may not make any workload slower; keep the baseline for it, by another kernel."
        found.append(Refusal(reason="regression", message=message, remedy=remedy))
    for name in answer.broken:
        remedy = "Mend it, or loosen the guardrail in task.toml."
        found.append(Refusal(reason="guardrail", message=f"the guardrail {name} is broken.", remedy=remedy))
    low, high = answer.overall.interval
    said = f"{answer.overall.speedup:.3f}x [{low:.3f}, {high:.3f}] over {answer.overall.pairs} pairs"
    if answer.verdict is not Verdict.faster and not found:
        message = f"not shown to be faster than the baseline: {answer.verdict}, {said}."
        found.append(Refusal(reason="not_faster", message=message, remedy="Find a faster candidate."))
    elif answer.verdict is Verdict.slower:
        found.append(Refusal(reason="not_faster", message=f"slower: {said}.", remedy="Find a faster candidate."))
    if 1 - math.exp(answer.overall.log) < min_gain:
        message = f"the gate asks for {min_gain:.1%} of the baseline's time, and it is {said}."
        remedy = "Find a faster candidate, or lower min_gain in the task's gate."
        found.append(Refusal(reason="below_gate", message=message, remedy=remedy))
    return found


def artefact(measured: str | None, built: str | None) -> list[Refusal]:
    """Against an artefact that is not the one that was measured."""
    if measured is None or measured == built:
        return []
    message = f"the artefact is {short(built or '') or 'not there'}, and {short(measured)} was measured."
    remedy = "Promote again; the build cache may have been cleared meanwhile."
    return [Refusal(reason="other_artefact", message=message, remedy=remedy)]


def size(files: Sequence[ReleasedFile]) -> list[Refusal]:
    """Against a folder that would be too large for version control."""
    total = sum(f.bytes for f in files if not f.stored)
    if total <= MOST_BYTES:
        return []
    largest = max((f for f in files if not f.stored), key=lambda f: f.bytes)
    message = f"the release has {total} bytes, and {MOST_BYTES} are allowed; {largest.path} has {largest.bytes}."
    return [Refusal(reason="too_large", message=message, remedy="Make it smaller.")]


def evidence(problems: Sequence[tuple[Literal["evidence_missing", "evidence_wrong"], str, str]]) -> list[Refusal]:
    """Against missing or unreadable reports: reason, message, remedy of each."""
    return [Refusal(reason=r, message=m, remedy=y or "Profile again, or hand in a report.") for r, m, y in problems]
