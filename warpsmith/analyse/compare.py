"""Is A faster than B? Paired log-ratios, a Student interval over the pairs, four verdicts.

For pair i the effect is r_i = ln(candidate_i / rival_i), signed so that negative is better. The interval is the 95 %
Student interval of the mean over the pairs, which were fixed beforehand (3 screen, 10 confirm, 20 promote): with
independent pairs it holds its level at these counts, and nobody peeks.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from warpsmith.analyse.student import quantile, shift_found
from warpsmith.model.campaign import Campaign
from warpsmith.model.evaluation import Evaluation, Metric
from warpsmith.model.head import Direction

SMALLEST_MARGIN = 0.005
"""A gain must clear max(noise floor, 0.5 %): smaller effects are within what layout and alignment move."""

_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Two-sided 95 % quantiles of Student's t for 1..30 degrees of freedom (any standard table)."""


class Verdict(StrEnum):
    """The four answers."""

    faster = "faster"
    slower = "slower"
    same = "same"
    ambiguous = "ambiguous"


@dataclass(frozen=True)
class Effect:
    """A mean log-ratio with its interval, of 95 % unless said otherwise; negative is better. Without spread known the
    interval is infinite.
    """

    log: float
    low: float
    high: float
    pairs: int
    confidence: float = 0.95

    @property
    def speedup(self) -> float:
        """Rival / candidate: 1.25 means that the candidate needs 1 / 1.25 of the rival's time."""
        return math.exp(-self.log)

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the speed-up, low end first."""
        return _exp(-self.high), _exp(-self.low)


def _exp(x: float) -> float:
    return math.inf if x > 700 else math.exp(x)


@dataclass(frozen=True)
class Comparison:
    """The answer for one evaluation, overall and per workload."""

    verdict: Verdict
    overall: Effect
    workloads: dict[str, Effect]
    margin: float
    regressed: tuple[str, ...]
    """Workloads whose interval lies wholly on the worse side of the margin."""
    broken: tuple[str, ...]
    """Guardrails that the candidate breaks, as ``workload/metric``."""

    @property
    def detectable(self) -> float | None:
        """The power of this comparison; see :func:`detectable`."""
        return detectable(self.overall, self.margin)


def t95(degrees: int) -> float:
    """Two-sided 95 % quantile of Student's t; beyond 30 degrees by the Cornish-Fisher expansion (error < 1e-3)."""
    if degrees < 1:
        return math.inf
    if degrees <= len(_T95):
        return _T95[degrees - 1]
    z = 1.959964
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)


def effect(logs: Sequence[float], confidence: float = 0.95) -> Effect:
    """Mean and interval of some log-ratios. Raises ValueError for none."""
    mean = statistics.fmean(logs)
    if len(logs) < 2:
        return Effect(mean, -math.inf, math.inf, len(logs), confidence)
    spread = math.sqrt(math.fsum((x - mean) ** 2 for x in logs) / (len(logs) - 1))
    half = _critical(confidence, len(logs) - 1) * spread / math.sqrt(len(logs))
    return Effect(mean, mean - half, mean + half, len(logs), confidence)


def _critical(confidence: float, degrees: int) -> float:
    return t95(degrees) if confidence == 0.95 else quantile(confidence, degrees)


def detectable(found: Effect, least: float) -> float | None:
    """The smallest gain, as a share of the rival's time, that a comparison with this spread and number of pairs would
    have called faster with probability 0.9 (student.POWER; non-central t): ``least`` plus so many standard errors.
    None where the spread is not known. It takes the spread that was seen for the true one, and no workload to regress.
    """
    degrees = found.pairs - 1
    if degrees < 1 or not math.isfinite(found.high):
        return None
    critical = _critical(found.confidence, degrees)
    error = (found.high - found.low) / 2 / critical
    return -math.expm1(-(least + shift_found(degrees, critical) * error))


def logs(metric: Metric) -> tuple[float, ...]:
    """The paired log-ratios of a metric, signed so that negative is better."""
    sign = 1.0 if metric.direction is Direction.minimize else -1.0
    return tuple(sign * math.log(c / r) for c, r in zip(metric.candidate, metric.rival, strict=True))


def margin(noise_floor: float) -> float:
    """The least log-effect that counts: max(noise floor, 0.5 %)."""
    return math.log1p(max(noise_floor, SMALLEST_MARGIN))


def compare(evaluation: Evaluation, campaign: Campaign, confidence: float = 0.95) -> Comparison | None:
    """The verdict of an evaluation under a campaign's objective; None where nothing was measured (not passed).

    ``confidence`` is that of the overall interval; those of the workloads, and guardrails, keep 95 %.
    """
    if not evaluation.passed:
        return None
    per_workload: dict[str, tuple[float, ...]] = {}
    broken: list[str] = []
    for result in evaluation.workloads:
        metric = result.metric(campaign.objective.metric)
        if metric is not None:
            per_workload[result.workload] = logs(metric)
        for guard in campaign.guardrails:
            guarded = result.metric(guard.metric)
            if guarded is not None and effect(logs(guarded)).log > math.log1p(guard.limit):
                broken.append(f"{result.workload}/{guard.metric}")
    if not per_workload:
        return None
    least = margin(campaign.noise_floor)
    effects = {name: effect(values) for name, values in per_workload.items()}
    overall = effect(weighted(per_workload, campaign.weights), confidence)
    regressed = tuple(name for name, e in effects.items() if e.low > least)
    return Comparison(
        _verdict(overall, least, regressed or tuple(broken)), overall, effects, least, regressed, tuple(broken)
    )


def _verdict(overall: Effect, least: float, against: Iterable[str]) -> Verdict:
    if overall.low > least:
        return Verdict.slower
    if overall.high < -least:
        return Verdict.ambiguous if tuple(against) else Verdict.faster
    if overall.low > -least and overall.high < least:
        return Verdict.same
    return Verdict.ambiguous


def weighted(values: Mapping[str, Sequence[float]], weights: Mapping[str, float]) -> tuple[float, ...]:
    """Per pair, the weighted mean over the workloads (weights are normalised over those present)."""
    total = sum(weights.get(name, 1.0) for name in values)
    pairs = min(len(v) for v in values.values())
    return tuple(sum(weights.get(n, 1.0) * v[i] for n, v in values.items()) / total for i in range(pairs))


def noise_floor(comparisons: Sequence[Effect]) -> float:
    """The floor of a device from A/A comparisons: the largest difference that an interval left uncovered, as a share.

    An interval of identical candidates should hold zero. How far it stays away from zero is what the spread over its
    pairs does not explain (effects that last a whole comparison), and nothing smaller is called a gain.
    """
    uncovered = [max(e.low, -e.high, 0.0) for e in comparisons]
    return math.expm1(max(uncovered, default=0.0))
