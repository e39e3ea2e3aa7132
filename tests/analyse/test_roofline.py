"""The roofline: which roof is lower, and what cannot be drawn."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warpsmith.analyse.roofline import roof


def test_below_the_ridge_memory_is_the_roof_and_beyond_it_arithmetic() -> None:
    """100 B/s and 1000 flop/s meet at 10 flop/B."""
    found = roof([("thin", 40.0, 40, 1.0, 100.0), ("fat", 4000.0, 40, 8.0, 100.0)], 1000.0)
    assert found is not None
    thin, fat = found.points
    assert (thin.intensity, thin.flops_per_s, thin.attainable_flops_per_s) == (1.0, 40.0, 100.0)
    assert thin.share == pytest.approx(0.4)
    assert (fat.intensity, fat.flops_per_s, fat.attainable_flops_per_s) == (100.0, 500.0, 1000.0)
    assert fat.share == pytest.approx(0.5)


def test_without_a_measured_peak_only_memory_is_a_roof() -> None:
    found = roof([("fat", 4000.0, 40, 8.0, 100.0)], None)
    assert found is not None
    assert found.flops_per_s is None
    assert found.points[0].attainable_flops_per_s == 10_000.0


def test_each_workload_stands_under_its_own_copy_rate() -> None:
    found = roof([("a", 10.0, 10, 1.0, 50.0), ("b", 10.0, 10, 1.0, 200.0)], None)
    assert found is not None
    assert [p.attainable_flops_per_s for p in found.points] == [50.0, 200.0]
    assert found.bytes_per_s == 200.0


@pytest.mark.parametrize(
    "missing", [("w", None, 8, 1.0, 1.0), ("w", 0.0, 8, 1.0, 1.0), ("w", 8.0, None, 1.0, 1.0), ("w", 8.0, 8, 1.0, None)]
)
def test_what_lacks_a_number_is_left_out(missing: tuple[str, float | None, int | None, float, float | None]) -> None:
    assert roof([missing], 1.0) is None
    found = roof([missing, ("there", 1.0, 1, 1.0, 1.0)], 1.0)
    assert found is not None
    assert [p.workload for p in found.points] == ["there"]


def test_nothing_gives_no_roof() -> None:
    assert roof([], 1.0) is None


POSITIVE = st.floats(1e-3, 1e12)


@settings(deadline=None)
@given(POSITIVE, st.integers(1, 10**9), st.floats(1e-6, 1e3), POSITIVE, POSITIVE)
def test_no_roof_is_higher_than_either(flops: float, traffic: int, seconds: float, copy: float, peak: float) -> None:
    found = roof([("w", flops, traffic, seconds, copy)], peak)
    assert found is not None
    (point,) = found.points
    assert point.attainable_flops_per_s <= peak
    assert point.attainable_flops_per_s <= point.intensity * copy
    assert point.share * point.attainable_flops_per_s == pytest.approx(point.flops_per_s)
