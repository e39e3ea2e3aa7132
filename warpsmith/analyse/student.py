"""Student's t without a table: the share beyond a value, central or not, quantiles, and what a test could have found.

All by one integral: given the spread that was drawn (chi over its degrees of freedom), the rest is normal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

POWER = 0.9
"""Probability with which the smallest gain that is stated would have been found."""
_STEPS = 400
_DEEP = 60
"""Halvings of an interval: enough for the last bit."""


def beyond(value: float, degrees: int, shift: float = 0.0) -> float:
    """P(T > value) for Student's t of ``degrees`` degrees of freedom, not central by ``shift``."""
    return sum(weight * _normal(shift - value * spread) for spread, weight in _spreads(degrees))


@lru_cache(maxsize=256)
def quantile(confidence: float, degrees: int) -> float:
    """The two-sided quantile: |T| stays below it with probability ``confidence``. Infinite without any degrees."""
    if degrees < 1:
        return math.inf
    outside = (1 - confidence) / 2
    high = 2.0
    while beyond(high, degrees) > outside:
        high *= 2
    return _where(lambda t: beyond(t, degrees) > outside, 0.0, high)


@lru_cache(maxsize=256)
def shift_found(degrees: int, critical: float) -> float:
    """By how many standard errors an effect must differ for T to lie beyond ``critical`` with probability POWER."""
    if degrees < 1:
        return math.inf
    return _where(lambda shift: beyond(critical, degrees, shift) < POWER, 0.0, 2 * critical + 10)


def _where(below: Callable[[float], bool], low: float, high: float) -> float:
    """Where a predicate that is true up to a point stops being true, by bisection."""
    for _ in range(_DEEP):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return high


def _normal(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


@lru_cache(maxsize=64)
def _spreads(degrees: int) -> tuple[tuple[float, float], ...]:
    """Relative spreads sqrt(chi2 / degrees) with their probabilities, by Simpson's rule."""
    top = 1 + 9 / math.sqrt(degrees)
    step = top / _STEPS
    constant = math.log(2) + degrees / 2 * math.log(degrees / 2) - math.lgamma(degrees / 2)
    found = []
    for i in range(1, _STEPS + 1):
        s = i * step
        density = math.exp(constant + (degrees - 1) * math.log(s) - degrees * s * s / 2)
        found.append((s, density * step / 3 * (1 if i == _STEPS else 4 if i % 2 else 2)))
    if degrees == 1:
        found.append((0.0, math.exp(constant) * step / 3))
    total = sum(weight for _, weight in found)
    return tuple((s, weight / total) for s, weight in found)
