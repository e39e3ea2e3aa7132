"""Rates that are published: always with their count, and with what they may be at worst."""

from __future__ import annotations

import math

from warpsmith.model.base import Record


class Rate(Record):
    """How often something was seen, with the one-sided 95 % upper bound on how often it happens (Clopper-Pearson)."""

    seen: int
    count: int
    upper95: float

    @property
    def share(self) -> float | None:
        """Seen over count; None where nothing was counted."""
        return self.seen / self.count if self.count else None

    @property
    def said(self) -> str:
        """``0 of 8 (at most 31.2 %)``."""
        return f"{self.seen} of {self.count} (at most {100 * self.upper95:.3g} %)"


def rate(seen: int, count: int) -> Rate:
    """The rate of something that was seen ``seen`` times in ``count``."""
    return Rate(seen=seen, count=count, upper95=upper95(seen, count))


def upper95(seen: int, count: int) -> float:
    """One-sided 95 % upper bound on a rate (Clopper-Pearson, exact: 1 - 0.05^(1/n) for none seen). Raises ValueError
    where more was seen than counted.
    """
    if not 0 <= seen <= count:
        raise ValueError(f"{seen} of {count} is no rate")
    if seen == count:
        return 1.0
    low, high = seen / count, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(seen, count, middle) > 0.05 else (low, middle)
    return high


def _at_most(seen: int, count: int, share: float) -> float:
    """Probability of seeing no more than ``seen`` in ``count``."""
    if share in (0.0, 1.0):
        return float(share == 0.0)
    logs = (
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
        + k * math.log(share) + (count - k) * math.log1p(-share)
        for k in range(seen + 1)
    )  # fmt: skip
    return sum(math.exp(x) for x in logs)
