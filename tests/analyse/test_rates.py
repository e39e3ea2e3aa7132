"""Published rates and the power of a comparison: against tables, against the definition, against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.analyse.test_compare import answer, metric
from warpsmith.analyse.compare import Effect, Verdict, detectable, effect, margin, t95
from warpsmith.analyse.rates import rate, upper95
from warpsmith.analyse.student import POWER, beyond, quantile, shift_found


@pytest.mark.parametrize(
    ("seen", "count", "bound"),
    [(0, 3, 0.6316), (0, 8, 0.3123), (0, 59, 0.0495), (0, 300, 0.00994), (1, 50, 0.0914), (5, 50, 0.1988), (2, 2, 1.0)],
)
def test_the_bound_is_that_of_the_tables(seen: int, count: int, bound: float) -> None:
    assert upper95(seen, count) == pytest.approx(bound, abs=1e-4)


@settings(deadline=None)
@given(st.integers(1, 400), st.data())
def test_at_the_bound_so_few_are_seen_in_one_case_of_twenty(count: int, data: st.DataObject) -> None:
    """The definition of Clopper and Pearson."""
    seen = data.draw(st.integers(0, count - 1))
    bound = upper95(seen, count)
    assert seen / count < bound < 1
    few = sum(math.comb(count, k) * bound**k * (1 - bound) ** (count - k) for k in range(seen + 1))
    assert few == pytest.approx(0.05, rel=1e-6)


def test_nothing_counted_excludes_nothing() -> None:
    assert upper95(0, 0) == 1.0
    assert rate(0, 0).share is None
    assert rate(1, 4).share == 0.25
    assert rate(0, 8).said == "0 of 8 (at most 31.2 %)"


@pytest.mark.parametrize(("seen", "count"), [(2, 1), (-1, 3)])
def test_what_is_no_rate_is_refused(seen: int, count: int) -> None:
    with pytest.raises(ValueError, match="is no rate"):
        upper95(seen, count)


@pytest.mark.parametrize(
    ("confidence", "degrees", "wanted"),
    [
        (0.95, 9, 2.2622),
        (0.975, 9, 2.6850),
        (0.975, 19, 2.4334),
        (0.99, 19, 2.8609),
        (0.9, 4, 2.1318),
        (0.95, 1, 12.706),
    ],
)
def test_quantiles_are_those_of_the_tables(confidence: float, degrees: int, wanted: float) -> None:
    assert quantile(confidence, degrees) == pytest.approx(wanted, rel=3e-4)


def test_quantiles_agree_with_the_table_that_decides() -> None:
    for degrees in (*range(2, 40), 60, 120):
        assert quantile(0.95, degrees) == pytest.approx(t95(degrees), abs=1e-3)
    assert quantile(0.95, 0) == shift_found(0, 2.0) == math.inf


def test_the_central_tail_is_half_at_zero() -> None:
    for degrees in (1, 2, 9, 30):
        assert beyond(0.0, degrees) == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("pairs", [3, 10, 20])
def test_a_shift_that_is_found_9_times_in_10_is(pairs: int) -> None:
    rng = np.random.default_rng(pairs)
    critical = t95(pairs - 1)
    shift = shift_found(pairs - 1, critical)
    drawn = rng.standard_normal((40_000, pairs)) + shift / math.sqrt(pairs)
    t = drawn.mean(1) / (drawn.std(1, ddof=1) / math.sqrt(pairs))
    assert (t > critical).mean() == pytest.approx(POWER, abs=0.01)


@pytest.mark.parametrize(("pairs", "spread"), [(10, 0.004), (10, 0.02), (20, 0.01)])
def test_the_detectable_gain_is_found_9_times_in_10(pairs: int, spread: float) -> None:
    """With the true spread put in, the verdict itself is ``faster`` that often."""
    half = t95(pairs - 1) * spread / math.sqrt(pairs)
    gain = detectable(Effect(0.0, -half, half, pairs), margin(0.0))
    assert gain is not None
    rng = np.random.default_rng(11)
    true = math.log1p(-gain)
    verdicts = []
    for _ in range(800):
        logs = rng.normal(true, spread, pairs)
        verdicts.append(answer(small=(metric(list(np.exp(logs)), [1.0] * pairs),)).verdict)
    assert sum(v is Verdict.faster for v in verdicts) / len(verdicts) == pytest.approx(POWER, abs=0.03)


def test_more_pairs_and_less_spread_find_smaller_gains_and_none_below_the_margin() -> None:
    def of(pairs: int, spread: float, floor: float = 0.0) -> float:
        half = t95(pairs - 1) * spread / math.sqrt(pairs)
        found = detectable(Effect(0.0, -half, half, pairs), margin(floor))
        assert found is not None
        return found

    assert of(20, 0.01) < of(10, 0.01) < of(3, 0.01)
    assert of(10, 0.005) < of(10, 0.01) < of(10, 0.01, floor=0.02)
    assert of(10, 0.0) == pytest.approx(0.005, abs=1e-4)


def test_a_stricter_interval_finds_less() -> None:
    logs = [0.01, -0.01, 0.02, -0.02, 0.0, 0.01]
    plain, strict = effect(logs), effect(logs, 0.975)
    assert strict.high - strict.low > plain.high - plain.low
    less, more = detectable(plain, margin(0.0)), detectable(strict, margin(0.0))
    assert less is not None and more is not None
    assert more > less


def test_without_a_spread_there_is_no_power_to_state() -> None:
    assert detectable(effect([-0.1]), margin(0.0)) is None
