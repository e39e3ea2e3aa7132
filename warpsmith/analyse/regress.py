"""Did anything get slower between two sets of results? By kernel and workload, by intervals. Pure.

Two runs that each faced the same rival are compared by their ratios to it, so that what the machine did in between
drops out; else by their times. The interval is Welch's over the pairs of both. Counts (a profiler's) have no spread.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from warpsmith.analyse.student import quantile
from warpsmith.model.base import Record

Outcome = Literal["regressed", "improved", "same", "unclear", "missing", "failed", "new"]
BAD = ("regressed", "missing", "failed")
"""Outcomes that make a comparison fail; an improvement never does."""


class Change(Record):
    """What became of one quantity. ``change`` is a share of the baseline's: 0.02 is two per cent slower, or more."""

    kernel: str
    workload: str
    metric: str
    baseline: float | None
    current: float | None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    """The interval of ``change``; of a count it is the change itself."""
    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True)
class Quantity:
    """Samples of one quantity, lower being better; logs of them are compared. One sample is a count."""

    samples: tuple[float, ...]
    value: float
    """What people read: median seconds, or the count."""
    failed: str = ""
    """Why there are none."""


Key = tuple[str, str, str]
"""Kernel, workload, metric."""


def regress(
    baseline: Mapping[Key, Quantity], current: Mapping[Key, Quantity], threshold: float, confidence: float = 0.95
) -> tuple[Change, ...]:
    """The changes, those that fail first. ``threshold`` is a share: less than so much slower is no regression."""
    found = [_one(key, baseline.get(key), current.get(key), threshold, confidence) for key in {**baseline, **current}]
    order: Sequence[Outcome] = ("failed", "missing", "regressed", "unclear", "same", "improved", "new")
    return tuple(sorted(found, key=lambda c: (order.index(c.outcome), c.kernel, c.workload, c.metric)))


def fails(changes: Iterable[Change]) -> bool:
    """Whether something regressed, failed, or is gone."""
    return any(c.outcome in BAD for c in changes)


def _one(key: Key, before: Quantity | None, after: Quantity | None, threshold: float, confidence: float) -> Change:
    kernel, workload, metric = key

    def said(outcome: Outcome, detail: str = "", **more: float | None) -> Change:
        return Change(
            kernel=kernel,
            workload=workload,
            metric=metric,
            baseline=before.value if before and not before.failed else None,
            current=after.value if after and not after.failed else None,
            outcome=outcome,
            detail=detail,
            **more,
        )

    if after is None:
        return said("missing", "the current results lack it")
    if after.failed:
        return said("failed" if before and not before.failed else "same", after.failed)
    if before is None or before.failed:
        return said("new", before.failed if before else "the baseline lacks it")
    shift, low, high = _shift(before.samples, after.samples, confidence)
    ends = {"change": math.expm1(shift), "low": _expm1(low), "high": _expm1(high)}
    least = math.log1p(threshold)
    if low > least:
        return said("regressed", f"more than {threshold:.1%} worse", **ends)
    if high < -least:
        return said("improved", "", **ends)
    return said("same" if high <= least else "unclear", "" if high <= least else "the interval is too wide", **ends)


def _shift(before: Sequence[float], after: Sequence[float], confidence: float) -> tuple[float, float, float]:
    """Difference of the mean logs with Welch's interval; positive is worse."""
    if min(*before, *after) <= 0:  # a count of nothing
        change = 0.0 if sum(before) == sum(after) else math.inf if sum(after) > sum(before) else -700.0
        shift = min(change, 700.0)
        return shift, shift, shift
    one, other = [math.log(x) for x in before], [math.log(x) for x in after]
    shift = statistics.fmean(other) - statistics.fmean(one)
    if len(one) == 1 and len(other) == 1:
        return shift, shift, shift
    if min(len(one), len(other)) < 2:
        return shift, -math.inf, math.inf
    a, b = statistics.variance(one) / len(one), statistics.variance(other) / len(other)
    if a + b == 0:
        return shift, shift, shift
    degrees = (a + b) ** 2 / (a**2 / (len(one) - 1) + b**2 / (len(other) - 1))
    half = quantile(confidence, max(1, math.floor(degrees))) * math.sqrt(a + b)
    return shift, shift - half, shift + half


def _expm1(x: float) -> float | None:
    return math.expm1(x) if abs(x) < 700 else None
