"""The verdict: its table, its symmetries, and how often it errs on simulated noise."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import BASELINE, ENTRY, KERNEL, SERVING, campaign, failed
from warpsmith.analyse.compare import (
    SMALLEST_MARGIN,
    Comparison,
    Effect,
    Verdict,
    compare,
    effect,
    logs,
    margin,
    noise_floor,
    t95,
    weighted,
)
from warpsmith.model.campaign import Campaign
from warpsmith.model.evaluation import Effort, Evaluation, Metric, Status, WorkloadResult
from warpsmith.model.head import Direction, Guardrail, Objective
from warpsmith.model.step import Measure

STEP = Measure(candidate=ENTRY.id, rival=BASELINE.id, effort=Effort.confirm, round=0)
C = campaign(KERNEL)
MIRROR = {Verdict.faster: Verdict.slower, Verdict.slower: Verdict.faster}


def metric(candidate: list[float], rival: list[float], name: str = "time", up: bool = False) -> Metric:
    direction = Direction.maximize if up else Direction.minimize
    return Metric(name=name, unit="?", direction=direction, candidate=tuple(candidate), rival=tuple(rival))


def evaluation(**workloads: tuple[Metric, ...]) -> Evaluation:
    results = tuple(WorkloadResult(workload=n, status=Status.passed, metrics=m) for n, m in workloads.items())
    return failed(KERNEL, STEP, Status.crashed).model_copy(
        update={"status": Status.passed, "detail": "", "workloads": results}
    )


def ratios(*values: float, rival: float = 2.0) -> tuple[Metric, ...]:
    """Times of the candidate as shares of the rival's."""
    return (metric([v * rival for v in values], [rival] * len(values)),)


def answer(c: Campaign = C, **workloads: tuple[Metric, ...]) -> Comparison:
    found = compare(evaluation(**workloads), c)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("small", "large", "verdict"),
    [
        ((0.90, 0.91, 0.90), (0.90, 0.90, 0.91), Verdict.faster),
        ((1.10, 1.11, 1.10), (1.10, 1.10, 1.11), Verdict.slower),
        ((1.000, 1.001, 0.999), (1.000, 1.001, 0.999), Verdict.same),
        ((0.90, 1.10, 1.00), (0.90, 1.10, 1.00), Verdict.ambiguous),
        ((0.997, 0.997, 0.997), (0.997, 0.997, 0.997), Verdict.same),
        ((0.990, 0.990, 0.990), (0.990, 0.990, 0.990), Verdict.faster),
        ((0.70, 0.70, 0.70), (1.05, 1.05, 1.05), Verdict.ambiguous),
        ((1.50, 1.50, 1.50), (0.90, 0.90, 0.90), Verdict.slower),
        ((0.70, 0.70, 0.70), (1.004, 1.004, 1.004), Verdict.faster),
        ((0.90,), (0.90,), Verdict.ambiguous),
        ((1.00,), (1.00,), Verdict.ambiguous),
    ],
)
def test_the_table(small: tuple[float, ...], large: tuple[float, ...], verdict: Verdict) -> None:
    assert answer(small=ratios(*small), large=ratios(*large)).verdict is verdict


def test_a_regressed_workload_is_named_and_keeps_a_faster_mean_from_winning() -> None:
    found = answer(small=ratios(0.5, 0.5, 0.5), large=ratios(1.05, 1.05, 1.05))
    assert found.regressed == ("large",)
    assert found.overall.high < -found.margin
    assert found.verdict is Verdict.ambiguous


def test_what_is_not_passed_is_not_compared() -> None:
    assert compare(failed(KERNEL, STEP, Status.wrong_values), C) is None
    good = evaluation(small=ratios(0.9, 0.9))
    assert compare(good.model_copy(update={"rival_status": Status.crashed, "rival_detail": "x"}), C) is None
    assert compare(good, campaign(KERNEL, objective=Objective(metric="energy"))) is None


def test_a_guardrail_blocks_beyond_its_limit_only() -> None:
    c = campaign(SERVING)
    fast = metric([11.0, 11.1, 11.0], [10.0, 10.0, 10.0], "batch16.tok_s", up=True)
    assert SERVING.guardrails == (Guardrail(metric="single.ttft_p99", limit=0.05),)

    def with_ttft(share: float) -> Comparison:
        return answer(c, suite=(fast, metric([share] * 3, [1.0] * 3, "single.ttft_p99")))

    assert with_ttft(1.04).verdict is Verdict.faster
    assert with_ttft(1.04).broken == ()
    assert with_ttft(1.06).verdict is Verdict.ambiguous
    assert with_ttft(1.06).broken == ("suite/single.ttft_p99",)
    assert with_ttft(0.5).verdict is Verdict.faster


def test_a_guardrail_on_what_should_grow() -> None:
    guard = Guardrail(metric="rate", direction=Direction.maximize, limit=0.1)
    c = campaign(KERNEL, guardrails=(guard,))
    fast = ratios(0.8, 0.8)[0]
    lower = metric([0.8, 0.8], [1.0, 1.0], "rate", up=True)
    assert answer(c, small=(fast, lower)).broken == ("small/rate",)
    assert answer(c, small=(fast, metric([2.0, 2.0], [1.0, 1.0], "rate", up=True))).verdict is Verdict.faster


def test_more_is_better_where_the_objective_says_so() -> None:
    c = campaign(KERNEL, objective=Objective(metric="rate", direction=Direction.maximize))
    up = answer(c, small=(metric([12.0, 12.1, 12.0], [10.0, 10.0, 10.0], "rate", up=True),))
    assert up.verdict is Verdict.faster
    assert up.overall.speedup == pytest.approx(1.2, rel=0.01)
    down = answer(c, small=(metric([8.0, 8.1, 8.0], [10.0, 10.0, 10.0], "rate", up=True),))
    assert down.verdict is Verdict.slower


@pytest.mark.parametrize(
    ("floor", "verdict"), [(0.0, Verdict.faster), (0.01, Verdict.faster), (0.05, Verdict.same), (0.021, Verdict.same)]
)
def test_the_noise_floor_of_the_device_counts(floor: float, verdict: Verdict) -> None:
    c = campaign(KERNEL, noise_floor=floor)
    found = answer(c, small=ratios(0.98, 0.98, 0.98))
    assert found.verdict is verdict
    assert found.margin == margin(floor) == math.log1p(max(floor, SMALLEST_MARGIN))


def test_weights_decide_between_workloads() -> None:
    both = {"small": ratios(0.8, 0.8, 0.8), "large": ratios(1.004, 1.004, 1.004)}
    heavy = campaign(KERNEL, weights={"small": 99.0, "large": 1.0})
    light = campaign(KERNEL, weights={"small": 1.0, "large": 99.0})
    assert answer(heavy, **both).overall.log == pytest.approx((99 * math.log(0.8) + math.log(1.004)) / 100)
    assert answer(heavy, **both).verdict is Verdict.faster
    assert answer(light, **both).verdict is Verdict.same


def test_weights_are_shares_of_what_is_there() -> None:
    values = {"a": (1.0, 2.0), "b": (3.0, 4.0, 5.0)}
    assert weighted(values, {"a": 3.0, "b": 1.0}) == (1.5, 2.5)
    assert weighted(values, {"a": 30.0, "b": 10.0, "gone": 60.0}) == (1.5, 2.5)
    assert weighted(values, {}) == (2.0, 3.0)


# --- numbers

T_TABLE = {1: 12.706, 2: 4.303, 4: 2.776, 9: 2.262, 19: 2.093, 29: 2.045, 30: 2.042}
T_TABLE |= {31: 2.0395, 40: 2.0211, 50: 2.0086, 60: 2.0003, 80: 1.9901, 100: 1.9840, 120: 1.9799, 1000: 1.9623}


@pytest.mark.parametrize(("degrees", "wanted"), T_TABLE.items())
def test_t95_is_that_of_the_tables(degrees: int, wanted: float) -> None:
    assert t95(degrees) == pytest.approx(wanted, abs=1e-3)


def test_t95_falls_towards_the_normal_and_knows_no_zero() -> None:
    values = [t95(n) for n in range(1, 200)]
    assert values == sorted(values, reverse=True)
    assert values[-1] > 1.959964
    assert t95(0) == math.inf


SHARES = st.lists(st.floats(0.2, 5.0), min_size=1, max_size=20)


@settings(deadline=None)
@given(SHARES)
def test_the_interval_holds_the_mean(values: list[float]) -> None:
    found = effect([math.log(v) for v in values])
    assert found.low <= found.log <= found.high
    low, high = found.interval
    assert low <= found.speedup * (1 + 1e-12)
    assert high >= found.speedup * (1 - 1e-12)
    assert found.pairs == len(values)


def test_one_pair_knows_no_spread() -> None:
    found = effect([-0.1])
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert found.interval == (0.0, math.inf)
    with pytest.raises(statistics.StatisticsError):
        effect([])


def test_a_known_interval() -> None:
    """Mean 3, standard error sqrt(2.5 / 5), t of 4 degrees."""
    found = effect([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.776 * math.sqrt(0.5)
    assert (found.log, found.low, found.high) == pytest.approx((3.0, 3.0 - half, 3.0 + half))


PAIRS = st.lists(st.tuples(st.floats(0.5, 2.0), st.floats(0.5, 2.0)), min_size=1, max_size=12)


@settings(deadline=None, max_examples=200)
@given(PAIRS, st.booleans())
def test_swapping_the_sides_mirrors_everything(pairs: list[tuple[float, float]], up: bool) -> None:
    mine, other = [p[0] for p in pairs], [p[1] for p in pairs]
    objective = Objective(direction=Direction.maximize if up else Direction.minimize)
    c = campaign(KERNEL, objective=objective)
    one = answer(c, small=(metric(mine, other, up=up),))
    two = answer(c, small=(metric(other, mine, up=up),))
    assert two.overall.log == pytest.approx(-one.overall.log, abs=1e-12)
    assert two.overall.speedup == pytest.approx(1 / one.overall.speedup)
    assert (two.overall.low, two.overall.high) == pytest.approx((-one.overall.high, -one.overall.low), abs=1e-12)
    near = min(abs(abs(edge) - one.margin) for edge in (one.overall.low, one.overall.high))
    if near > 1e-9:
        assert two.verdict is MIRROR.get(one.verdict, one.verdict)


@settings(deadline=None)
@given(PAIRS)
def test_turning_the_direction_mirrors_the_logs(pairs: list[tuple[float, float]]) -> None:
    mine, other = [p[0] for p in pairs], [p[1] for p in pairs]
    assert logs(metric(mine, other)) == tuple(-x for x in logs(metric(mine, other, up=True)))


@settings(deadline=None)
@given(PAIRS, st.floats(0.01, 100.0))
def test_the_unit_of_time_does_not_matter(pairs: list[tuple[float, float]], scale: float) -> None:
    one = effect(logs(metric([p[0] for p in pairs], [p[1] for p in pairs])))
    two = effect(logs(metric([scale * p[0] for p in pairs], [scale * p[1] for p in pairs])))
    assert two.log == pytest.approx(one.log, abs=1e-9)


def test_the_floor_is_what_the_intervals_of_equals_leave_uncovered() -> None:
    held = Effect(log=0.02, low=-0.01, high=0.05, pairs=10)
    above = Effect(log=0.03, low=0.01, high=0.05, pairs=10)
    below = Effect(log=-0.04, low=-0.06, high=-0.02, pairs=10)
    assert noise_floor([held]) == 0.0
    assert noise_floor([held, above]) == pytest.approx(math.expm1(0.01))
    assert noise_floor([held, above, below]) == pytest.approx(math.expm1(0.02))
    assert noise_floor([]) == 0.0


# --- how often it errs


def simulated(rng: np.random.Generator, gain: float, noise: float, pairs: int) -> Verdict:
    """Two workloads, each time off by normal noise."""

    def taken(true: float) -> list[float]:
        return list(true * (1 + noise * rng.standard_normal(pairs)))

    return answer(**{n: (metric(taken(1 - gain), taken(1.0)),) for n in ("small", "large")}).verdict


def share(verdicts: list[Verdict], *wanted: Verdict) -> float:
    return sum(v in wanted for v in verdicts) / len(verdicts)


@pytest.mark.parametrize("noise", [0.002, 0.01, 0.05])
def test_identical_candidates_hardly_ever_differ(noise: float) -> None:
    rng = np.random.default_rng(20261121)
    verdicts = [simulated(rng, 0.0, noise, Effort.confirm.pairs) for _ in range(2000)]
    assert share(verdicts, Verdict.faster) <= 0.025
    assert share(verdicts, Verdict.slower) <= 0.025
    assert share(verdicts, Verdict.faster, Verdict.slower) <= 0.05
    if noise < 0.005:
        assert share(verdicts, Verdict.faster, Verdict.slower) == 0.0
        assert share(verdicts, Verdict.same) > 0.95


def test_one_workload_without_a_margin_would_err_as_often_as_the_level_says() -> None:
    """The interval itself: 95 % of them hold the truth, no more and no fewer."""
    rng = np.random.default_rng(5)
    missed = 0
    for _ in range(4000):
        found = effect(list(rng.standard_normal(10)))
        missed += not found.low <= 0.0 <= found.high
    assert 0.04 <= missed / 4000 <= 0.06


def test_a_true_gain_is_found() -> None:
    rng = np.random.default_rng(7)
    verdicts = [simulated(rng, 0.05, 0.01, Effort.confirm.pairs) for _ in range(500)]
    assert share(verdicts, Verdict.faster) >= 0.95


def test_a_gain_below_the_margin_is_none() -> None:
    rng = np.random.default_rng(9)
    verdicts = [simulated(rng, 0.003, 0.001, Effort.promote.pairs) for _ in range(300)]
    assert share(verdicts, Verdict.faster) <= 0.025


def test_a_result_without_the_metric_leaves_the_others() -> None:
    other: Any = (metric([1.0, 1.0], [1.0, 1.0], "energy"),)
    found = answer(small=ratios(0.8, 0.8), large=other)
    assert set(found.workloads) == {"small"}
    assert found.verdict is Verdict.faster
