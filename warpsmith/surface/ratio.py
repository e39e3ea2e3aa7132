"""A measured speed-up as people read it: one number, its interval, and what the comparison could have seen."""

from __future__ import annotations

import math

from warpsmith.analyse.compare import Effect
from warpsmith.model.base import Record


class Ratio(Record):
    """A speed-up (rival over candidate: 1.25 means a fifth less time) with its interval over ``pairs`` pairs."""

    speedup: float
    low: float | None
    high: float | None
    pairs: int
    confidence: float = 0.95
    detectable: float | None = None
    """The power: the smallest gain, as a share of the rival's time, that this comparison would have called faster with
    probability 0.9, given the spread of its pairs. None where that is not known, or not asked.
    """


def ratio_of(found: Effect, detectable: float | None = None) -> Ratio:
    """An effect as people read it, with the power of its comparison; an unknown end is None."""
    low, high = found.interval
    finite = math.isfinite(low) and math.isfinite(high) and low > 0
    return Ratio(
        speedup=found.speedup,
        low=low if finite else None,
        high=high if finite else None,
        pairs=found.pairs,
        confidence=found.confidence,
        detectable=detectable,
    )
