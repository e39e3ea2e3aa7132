"""Twice the baseline: what it refuses, and what it must not."""

from __future__ import annotations

import random

import pytest

from warpsmith.judge.bound import (
    FACTOR,
    FLOOR_ROUNDINGS,
    LEAST_CALLS,
    LEAST_ROWS,
    UNIT_ROUNDOFF,
    BaselineBound,
    can_bind,
)
from warpsmith.model.evaluation import TensorError
from warpsmith.model.task import Argument, Dtype, Role

F32 = Argument(name="y", role=Role.output, dtype=Dtype.f32, shape=("M", "N"))
FLOOR = FLOOR_ROUNDINGS * UNIT_ROUNDOFF["f32"]
MANY, FEW = (1024, 64), (1, 4096)


def error(rms: float, row: float | None = None) -> TensorError:
    return TensorError(tensor="y", relative_rms=rms, worst_row=rms if row is None else row, limit=1e-5, matched=1.0)


def seen(mine: TensorError, theirs: TensorError, extent: tuple[int, ...] = MANY) -> tuple[str, BaselineBound]:
    bound = BaselineBound(F32, extent)
    return bound.see("normal", mine, theirs, pooled=True), bound


def test_more_than_twice_the_error_is_refused_within_the_limit_of_the_dtype() -> None:
    wrong, bound = seen(error(2.1e-6), error(1e-6))
    assert "y: less precise than twice the baseline: relative RMS 2.1e-06 beside the baseline's 1e-06" in wrong
    assert bound.closest is not None
    assert bound.closest.share == pytest.approx(1.05)
    assert bound.closest.rms_limit == pytest.approx(FACTOR * 1e-6)


def test_up_to_twice_passes_and_the_closest_call_is_kept() -> None:
    bound = BaselineBound(F32, MANY)
    for family, mine in (("normal", 1e-6), ("tiny", 1.9e-6), ("large", 1.2e-6)):
        assert not bound.see(family, error(mine), error(1e-6), pooled=False)
    assert bound.closest is not None
    assert (bound.closest.inputs, bound.closest.share) == ("tiny", pytest.approx(0.95))


def test_one_bad_row_is_refused_by_itself() -> None:
    wrong, _ = seen(error(1e-6, row=9e-6), error(1e-6, row=3e-6))
    assert "worst row 9e-06 beside the baseline's 3e-06" in wrong
    assert not seen(error(1e-6, row=9e-6), error(1e-6, row=3e-6), (1024, 8))[0], "short rows are led by chance"


def test_an_exact_baseline_does_not_forbid_rounding() -> None:
    assert not seen(error(FLOOR * 0.99), error(0.0))[0]
    assert seen(error(FLOOR * 1.01), error(0.0))[0]


def test_a_bad_baseline_never_widens_the_limit_of_the_dtype() -> None:
    _, bound = seen(error(9e-6), error(8e-6))
    assert bound.closest is not None
    assert bound.closest.rms_limit == 1e-5


def test_few_rows_are_compared_over_many_calls() -> None:
    """A single row has one common factor: a lucky draw of the baseline's must not condemn anybody."""
    rng = random.Random(3)
    equal, worse = BaselineBound(F32, FEW), BaselineBound(F32, FEW)
    for _ in range(60):
        mine, theirs = (error(abs(rng.gauss(0, 2e-6))) for _ in range(2))
        assert not equal.see("timed", mine, theirs, pooled=True)
        assert not worse.see("timed", error(4 * mine.relative_rms), theirs, pooled=True)
    assert not equal.end(error(2e-6))
    assert "60 calls together" in worse.end(error(8e-6))


def test_too_few_calls_say_nothing() -> None:
    bound = BaselineBound(F32, FEW)
    for _ in range(LEAST_CALLS - 1):
        bound.see("timed", error(9e-6), error(1e-9), pooled=True)
    for _ in range(5):
        bound.see("outliers", error(9e-6), error(1e-9), pooled=False)
    assert not bound.end(error(9e-6))
    bound.see("timed", error(9e-6), error(1e-9), pooled=True)
    assert bound.end(error(9e-6))


def test_integers_are_exact_anyway() -> None:
    whole = Argument(name="y", role=Role.output, dtype=Dtype.i32, shape=("M",))
    bound = BaselineBound(whole, MANY)
    assert not bound.see("normal", error(0.0), error(0.0), pooled=True)
    assert not bound.end(error(0.0))
    assert not can_bind(whole, None)


def test_where_the_rule_can_bind() -> None:
    """In bf16 and f16 the limit of the dtype is about a rounding: a screen need not call the baseline."""
    output = {d: Argument(name="y", role=Role.output, dtype=Dtype(d), shape=("N",)) for d in UNIT_ROUNDOFF}
    assert [d for d, a in output.items() if can_bind(a, None)] == ["f64", "f32"]
    assert can_bind(output["bf16"], 0.05), "unless the task's own tolerance is wide"


@pytest.mark.parametrize("extent", [(), (0,), (0, 5), (5, 0), (LEAST_ROWS, 0)])
def test_empty_and_scalar_outputs(extent: tuple[int, ...]) -> None:
    bound = BaselineBound(F32, extent)
    assert not bound.see("normal", error(0.0), error(0.0), pooled=True)
    assert not bound.end(error(0.0))
