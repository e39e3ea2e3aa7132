"""One candidate of any ledger, whole (``show``), and two side by side (``diff``)."""

from __future__ import annotations

import difflib
import math
from typing import Any

from warpsmith.analyse.compare import compare
from warpsmith.analyse.standing import direct, standing
from warpsmith.errors import BadInput
from warpsmith.model.candidate import Candidate
from warpsmith.store.history import History, fold
from warpsmith.store.ledger import read_events
from warpsmith.surface.answers import DiffAnswer, ShowAnswer
from warpsmith.surface.ratio import Ratio, ratio_of
from warpsmith.surface.view import view
from warpsmith.surface.workspace import Workspace


def find(space: Workspace, identity: str, task: str | None) -> tuple[History, str]:
    """The history that holds the candidate whose id begins with ``identity``. Raises BadInput for none or several."""
    found: dict[str, History] = {}
    for path in sorted((space.home / "campaigns").glob("*/*/*/ledger.jsonl")):
        h = fold(read_events(path))
        if h.campaign is None or task not in (None, h.campaign.task_name):
            continue
        found.update({i: h for i in h.candidates if i.startswith(identity) and i not in found})
    if len(found) != 1:
        problem = f"begins {len(found)} ids" if found else "is in no ledger"
        raise BadInput(f"the candidate {identity!r} {problem}.", "Take an id from 'warpsmith history TASK'.")
    whole, h = next(iter(found.items()))
    return h, whole


def show_candidate(space: Workspace, identity: str, task: str | None) -> ShowAnswer:
    """Everything that is known of one candidate."""
    h, whole = find(space, identity, task)
    assert h.campaign is not None
    candidate = h.candidates[whole]
    return ShowAnswer(
        task=h.campaign.task_name,
        row=next(r for r in view(h, None).rows if r.id == whole),
        candidate=candidate.model_dump(mode="json"),
        sources=space.blobs.texts(candidate),
        evaluations=tuple(e for (c, _, _), e in h.evaluations.items() if c == whole),
    )


def diff_candidates(space: Workspace, a: str, b: str, task: str | None) -> DiffAnswer:
    """What differs between two candidates."""
    h, first = find(space, a, task)
    other, second = find(space, b, task)
    one, two = h.candidates[first], other.candidates[second]
    ratio, how = _ratio(h, first, second) if second in h.candidates else (None, "not in one campaign")
    names = sorted(set(one.parameters) | set(two.parameters))
    return DiffAnswer(
        a=first,
        b=second,
        parameters={
            n: (one.parameters.get(n), two.parameters.get(n))
            for n in names
            if one.parameters.get(n) != two.parameters.get(n)
        },
        fields=_fields(one, two),
        sources=unified(space.blobs.texts(one), space.blobs.texts(two)),
        ratio=ratio,
        how=how,
    )


def _fields(one: Candidate, two: Candidate) -> dict[str, tuple[Any, Any]]:
    names = ("toolchain", "entry", "flags", "environment", "launch", "scratch", "tensor_map")
    first, second = one.model_dump(mode="json"), two.model_dump(mode="json")
    return {n: (first[n], second[n]) for n in names if first[n] != second[n]}


def _ratio(h: History, a: str, b: str) -> tuple[Ratio | None, str]:
    assert h.campaign is not None
    evaluation = direct(h, b, a)
    answer = compare(evaluation, h.campaign) if evaluation else None
    if answer is not None:
        return ratio_of(answer.overall), "measured directly"
    estimates = standing(h).estimates
    if a in estimates and b in estimates:
        chained = math.exp(estimates[a] - estimates[b])
        return Ratio(speedup=chained, low=None, high=None, pairs=0), "chained through the ledger"
    return None, "not measured"


def unified(one: dict[str, str], two: dict[str, str]) -> str:
    """What differs between two sets of files, as one patch."""
    lines: list[str] = []
    for path in sorted(set(one) | set(two)):
        before, after = one.get(path, "").splitlines(keepends=True), two.get(path, "").splitlines(keepends=True)
        lines += difflib.unified_diff(before, after, f"a/{path}", f"b/{path}")
    return "".join(lines)
