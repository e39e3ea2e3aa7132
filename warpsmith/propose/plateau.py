"""What the shape of a history asks for, when going on as before will not do: it is time to escalate. Pure.

Whoever is asked next is told (the card of an agent, the contract of a round, the prompt of a model), and so is whoever
reads a history, a report or an explanation: the words are :func:`warpsmith.propose.agent_card.asked_for`'s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from warpsmith.analyse.compare import Verdict, compare, margin
from warpsmith.analyse.defaults import by_environment, source_defaults, variables
from warpsmith.analyse.hotspots import hotspots
from warpsmith.analyse.standing import PROOF, Standing, standing
from warpsmith.model.base import short
from warpsmith.model.candidate import OVERLAY, Candidate
from warpsmith.store.history import History

NEAR = 0.02
"""Share of the best's time within which a candidate is a near-tie."""
TIES = 3
"""Near-ties in a row, after the last new best, that make a plateau."""
SWEPT = 4
"""Settings of one source in a row, within noise of one another, that show that these constants decide nothing."""
DEEP = 0.10
"""Gain over the best before it from which a change of the sources counts as deep."""
FRESH = 4
"""Candidates measured after a deep change, while looking at older wins again comes before anything else."""
UNCHANGED = 0.05
"""Share of the time by which the largest part of a profile may shrink and still be called unchanged."""


@dataclass(frozen=True)
class Directive:
    """One thing to do next."""

    what: Literal["restructure", "flat", "reablate", "default", "bucket"]
    candidates: tuple[str, ...]
    """The near-ties or settings, newest last; the older wins that are unchecked, oldest first; the leader whose gain is
    an environment; the two leaders whose profiles agree.
    """
    landed: str = ""
    """The deep change that asks for older wins to be looked at again; the source default that did not hold."""
    gain: float = 0.0
    """The share by which the deep change is faster than the best before it; the share of the largest part."""
    profiled: bool = False
    """Whether the best was profiled already: a structure is chosen from what limits it."""
    about: str = ""
    """The tunables that decide nothing; the variables that are set; the largest part of both profiles."""
    overlay: bool = False
    """Whether candidates are overlays: then the command itself is profiled, and no kernel explained."""


def directives(h: History, s: Standing | None = None) -> tuple[Directive, ...]:
    """What ``h`` asks for, the most pressing first; usually nothing."""
    if h.campaign is None:
        return ()
    s = s or standing(h)
    again = _reablate(h, s)
    fresh = again is not None and len(_since(h, s, again.landed)) < FRESH
    found = (again if fresh else None, _flat(h, s) or _restructure(h, s), _default(h, s), _bucket(h, s),
             None if fresh else again)  # fmt: skip
    overlay = h.candidates[h.campaign.entry].toolchain == OVERLAY
    return tuple(replace(d, overlay=overlay) for d in found if d is not None)


def _restructure(h: History, s: Standing) -> Directive | None:
    """The last candidates are all within a hair of the best, and none is better."""
    after = _since(h, s, s.best)[-TIES:]
    near = [x for x in after if x in s.estimates and abs(s.estimates[x] - s.estimates[s.best]) < math.log1p(NEAR)]
    if len(near) < TIES:
        return None
    return Directive("restructure", tuple(near), profiled=s.best in h.profiles)


def _flat(h: History, s: Standing) -> Directive | None:
    """The last candidates are settings of one source, and noise is all that tells them apart."""
    assert h.campaign is not None
    after = [x for x in _since(h, s, s.best) if x in s.estimates][-SWEPT:]
    found = [h.candidates[x] for x in after]
    if len(found) < SWEPT or any(_restructured(x, found[0]) for x in found):
        return None
    spread = max(s.estimates[x] for x in after) - min(s.estimates[x] for x in after)
    first = variables(found[0])
    varied = sorted({k for x in found for k, v in variables(x).items() if first.get(k) != v})
    if not varied or spread > 2 * margin(h.campaign.noise_floor):
        return None
    return Directive("flat", tuple(after), profiled=s.best in h.profiles, about=", ".join(varied))


def _reablate(h: History, s: Standing) -> Directive | None:
    """A deep change led: what was won before it may be no win any more, until somebody has looked."""
    for at in range(len(s.leaders) - 1, 1, -1):
        landed, before = s.leaders[at], s.leaders[at - 1]
        gain = math.expm1(s.estimates[before] - s.estimates[landed])
        if gain < DEEP or not _restructured(h.candidates[landed], h.candidates[before]):
            continue
        later = [h.candidates[x] for x in _measured_after(h, landed)]
        pairs = zip(s.leaders[:at], s.leaders[1:at], strict=False)
        unchecked = tuple(w for p, w in pairs if not any(_without(h.candidates, x, w, p) for x in later))
        if not unchecked:
            return None
        return Directive("reablate", unchecked, landed=landed, gain=gain, profiled=s.best in h.profiles)
    return None


def _without(known: dict[str, Candidate], x: Candidate, win: str, before: str) -> bool:
    """Whether ``x`` takes ``win`` out again: it says so in its memo, or has its variables as they were ``before``."""
    if short(win) in x.memo:
        return True
    new, old = known[win], known[before]
    then, now, again = variables(old), variables(new), variables(x)
    changed = [k for k in {*then, *now} if then.get(k) != now.get(k)]
    return bool(changed) and not _restructured(new, old) and all(again.get(k) == then.get(k) for k in changed)


def _default(h: History, s: Standing) -> Directive | None:
    """The best is a setting: as a default it has to hold from the source, with nothing set."""
    assert h.campaign is not None
    said = by_environment(h.candidates, s.best, h.campaign.baseline)
    if not said or holds_as_default(h, s):
        return None
    measured = [
        x for x in source_defaults(h.candidates, s.best, h.campaign.baseline) if x in s.estimates or x in s.failed
    ]
    about = " ".join(f"{name}={value}" for name, value in sorted(said.items()))
    return Directive("default", (s.best,), landed=measured[-1] if measured else "", about=about)


def holds_as_default(h: History, s: Standing) -> str:
    """The source default of the best that was proved faster than the baseline, and as fast as the best but for a
    near-tie; empty where there is none.
    """
    assert h.campaign is not None
    for x in source_defaults(h.candidates, s.best, h.campaign.baseline):
        proofs = [e for e in PROOF if (x, h.campaign.baseline, e) in h.evaluations]
        answers = [compare(h.evaluations[x, h.campaign.baseline, e], h.campaign) for e in proofs]
        near = x in s.estimates and s.estimates[x] - s.estimates[s.best] < math.log1p(NEAR)
        if near and any(a is not None and a.verdict is Verdict.faster for a in answers):
            return x
    return ""


def _bucket(h: History, s: Standing) -> Directive | None:
    """The last two leaders that were profiled spend their time in the same place, and as much of it."""
    seen = [(x, shares) for x in s.leaders if x in h.profiles and (shares := hotspots(h.profiles[x]))][-2:]
    if len(seen) < 2:
        return None
    (before, old), (after, new) = seen
    (largest, share), *_ = new.items()
    if next(iter(old)) != largest or share < old[largest] - UNCHANGED:
        return None
    return Directive("bucket", (before, after), gain=share, profiled=True, about=largest)


def _since(h: History, s: Standing, leader: str) -> list[str]:
    """Candidates first measured after ``leader`` was, oldest first; failed ones are left out, peers too."""
    assert h.campaign is not None
    apart = {h.campaign.baseline, h.campaign.entry, *h.campaign.peers.values(), *s.leaders, *s.failed}
    return [x for x in _measured_after(h, leader) if x not in apart]


def _measured_after(h: History, leader: str) -> list[str]:
    """Candidates first measured after ``leader`` was, oldest first."""
    order = list(dict.fromkeys(candidate for candidate, _, _ in h.evaluations))
    return order[order.index(leader) + 1 if leader in order else 0 :]


def _restructured(new: Candidate, old: Candidate) -> bool:
    """Whether more than parameters differ."""
    parts = ("toolchain", "sources", "flags", "launch", "scratch", "tensor_map")
    return any(getattr(new, part) != getattr(old, part) for part in parts)
