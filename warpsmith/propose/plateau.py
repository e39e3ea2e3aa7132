"""What the shape of a history asks for: another structure after near-ties, older wins again after a deep change. Pure.

Whoever is asked next is told: the card of an agent, the contract of a round, the prompt of a model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from warpsmith.analyse.standing import Standing, standing
from warpsmith.model.candidate import Candidate
from warpsmith.store.history import History

NEAR = 0.02
"""Share of the best's time within which a candidate is a near-tie."""
TIES = 3
"""Near-ties in a row, after the last new best, that make a plateau."""
DEEP = 0.10
"""Gain over the best before it from which a change of the sources counts as deep."""
FRESH = 4
"""Candidates measured after a deep change, while older wins are still to be looked at again."""


@dataclass(frozen=True)
class Directive:
    """One thing to do next."""

    what: Literal["restructure", "reablate"]
    candidates: tuple[str, ...]
    """The near-ties, newest last; or the older wins, oldest first."""
    landed: str = ""
    """The deep change that asks for older wins to be looked at again."""
    gain: float = 0.0
    """The share by which it is faster than the best before it."""
    profiled: bool = False
    """Whether the best was profiled already: a structure is chosen from what limits it."""


def directives(h: History, s: Standing | None = None) -> tuple[Directive, ...]:
    """What ``h`` asks for, the most pressing first; usually nothing."""
    if h.campaign is None:
        return ()
    s = s or standing(h)
    found = (_reablate(h, s), _restructure(h, s))
    return tuple(d for d in found if d is not None)


def _restructure(h: History, s: Standing) -> Directive | None:
    """The last candidates are all within a hair of the best, and none is better."""
    after = _since(h, s, s.best)[-TIES:]
    near = [x for x in after if x in s.estimates and abs(s.estimates[x] - s.estimates[s.best]) < math.log1p(NEAR)]
    if len(near) < TIES:
        return None
    return Directive("restructure", tuple(near), profiled=s.best in h.profiles)


def _reablate(h: History, s: Standing) -> Directive | None:
    """A deep change leads: what was won before it may be no win any more."""
    older = s.leaders[1:-1]
    if not older or len(_since(h, s, s.best)) >= FRESH:
        return None
    gain = math.expm1(s.estimates[older[-1]] - s.estimates[s.best])
    if gain < DEEP or not _restructured(h.candidates[s.best], h.candidates[older[-1]]):
        return None
    return Directive("reablate", older, landed=s.best, gain=gain, profiled=s.best in h.profiles)


def _since(h: History, s: Standing, leader: str) -> list[str]:
    """Candidates first measured after ``leader`` was, oldest first; failed ones are left out, peers too."""
    assert h.campaign is not None
    apart = {h.campaign.baseline, h.campaign.entry, *h.campaign.peers.values(), *s.leaders, *s.failed}
    order = list(dict.fromkeys(candidate for candidate, _, _ in h.evaluations))
    began = order.index(leader) + 1 if leader in order else 0
    return [x for x in order[began:] if x not in apart]


def _restructured(new: Candidate, old: Candidate) -> bool:
    """Whether more than parameters differ."""
    parts = ("toolchain", "sources", "flags", "launch", "scratch", "tensor_map")
    return any(getattr(new, part) != getattr(old, part) for part in parts)
