"""Where the next ask begins: at a failure that can be mended, or at one of the fastest kernels. Pure.

A guardrail that is broken by what would be best is such a failure.

A *line* is a candidate with what was made to mend it. Parents of new work are the beam: the fastest distinct kernels,
the faster ones more often, and those that were asked from least come first.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from warpsmith.analyse.standing import Standing
from warpsmith.model.campaign import Campaign
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Status
from warpsmith.store.history import History

MENDABLE = frozenset(Status) - {Status.passed, Status.cheated}
"""What telling a model about it may mend. A cheat is no mistake."""
WITHIN = 1.25
"""A kernel that takes longer than so many times the best is no parent."""


@dataclass(frozen=True)
class Turn:
    """What an ask begins at."""

    parent: str
    role: Literal["propose", "fix"]


def turns(h: History, s: Standing, c: Campaign, room: int, new: int) -> list[Turn]:
    """At most ``room`` asks, mending first, at most ``new`` of them for something new."""
    mending = [Turn(x, "fix") for x in mendable(h, s, c)[:room]]
    chosen: list[Turn] = []
    for _ in range(min(room - len(mending), new)):
        chosen.append(Turn(_next_parent(h, s, c, chosen), "propose"))
    return mending + chosen


def mendable(h: History, s: Standing, c: Campaign) -> tuple[str, ...]:
    """Failed candidates whose line has asks left and none under way; the least tried first, then the newest."""
    if not c.fixes:
        return ()
    roots = _roots(h)
    tries = Counter(_root(roots, r.parent) for r in h.rounds if r.role == "fix")
    busy = {_root(roots, ask.parent) for ask in h.asks if ask.role == "fix"}
    answered = {r.parent for r in h.rounds if r.role == "fix" and r.candidates}
    found = [
        (tries[_root(roots, x)], -number, x)
        for number, x in enumerate(h.candidates)
        if _failed(s, x) and x not in answered and _root(roots, x) not in busy and _written(h, x)
        and tries[_root(roots, x)] < c.fixes
    ]  # fmt: skip
    return tuple(x for _, _, x in sorted(found))


def _failed(s: Standing, candidate: str) -> bool:
    """Whether it ended by a mistake, or leads by the objective and breaks a guardrail."""
    if candidate in s.failed:
        return s.failed[candidate].partition(":")[0] in MENDABLE
    return candidate in s.broken and s.estimates[candidate] < s.estimates[s.best]


def tries(h: History, candidate: str) -> int:
    """Answered asks of its line."""
    roots = _roots(h)
    mine = _root(roots, candidate)
    return sum(r.role == "fix" and _root(roots, r.parent) == mine for r in h.rounds)


def beam(h: History, s: Standing, width: int) -> tuple[str, ...]:
    """The fastest kernels, the best first: one point of each source, none much slower than the best."""
    peers = set(h.campaign.peers.values()) if h.campaign else set()
    best = s.estimates[s.best]
    found: list[str] = []
    seen: set[str] = set()
    for x in (s.best, *sorted(s.estimates, key=lambda x: s.estimates[x])):
        text = kernel(h.candidates[x])
        slow = s.estimates[x] > best + math.log(WITHIN)
        if text not in seen and x not in s.failed and x not in peers and x not in s.twins and not slow:
            seen.add(text)
            found.append(x)
    return tuple(found[:width])


def kernel(candidate: Candidate) -> str:
    """What stays the same over all points of its space: one text for each."""
    files = [f"{s.path} {s.content}" for s in sorted(candidate.sources, key=lambda s: s.path)]
    return "\n".join([*files, *(f"{name}={value}" for name, value in sorted(candidate.environment.items()))])


def _next_parent(h: History, s: Standing, c: Campaign, chosen: list[Turn]) -> str:
    """The member of the beam that is owed an ask: the best is owed twice as many as the second, and so on."""
    asked = Counter(kernel(h.candidates[r.parent]) for r in h.proposed if r.parent in h.candidates)
    asked += Counter(kernel(h.candidates[a.parent]) for a in h.asks if a.role == "propose")
    asked += Counter(kernel(h.candidates[turn.parent]) for turn in chosen)
    members = beam(h, s, c.beam)
    return min(members, key=lambda x: (asked[kernel(h.candidates[x])] + 1) * (members.index(x) + 1))


def _written(h: History, candidate: str) -> bool:
    """Whether a proposer wrote it: not handed in, and not a point of a kernel that is there without it."""
    parent = h.candidates.get(h.candidates[candidate].parent or "")
    same = parent is not None and kernel(parent) == kernel(h.candidates[candidate])
    return h.origins[candidate].startswith("round ") and not same


def _roots(h: History) -> dict[str, str]:
    """What each mended candidate was made from."""
    return {x: r.parent for r in h.rounds if r.role == "fix" for x in r.candidates if x != r.parent}


def _root(roots: dict[str, str], candidate: str) -> str:
    seen = set()
    while candidate in roots and candidate not in seen:
        seen.add(candidate)
        candidate = roots[candidate]
    return candidate
