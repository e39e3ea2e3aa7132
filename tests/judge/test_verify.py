"""The verdict on an output, with numpy: what passes, what fails, and by which of its three limits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warpsmith.judge.numeric import NumpyNumeric
from warpsmith.judge.verify import ELEMENT_FACTOR, ROW_FLOOR, SHORT_ROW, Verdict, verify
from warpsmith.model.task import RELATIVE_RMS_LIMIT, Argument, Dtype, Role

NUMERIC = NumpyNumeric()
FLOATS = [Dtype.f64, Dtype.f32, Dtype.f16]
WHOLE = [Dtype.i64, Dtype.i32, Dtype.i8, Dtype.u8]
SHAPES = [(7,), (5, 4), (3, 4, 5), (1, 1), (2, 3, 1), ()]
LIMIT = RELATIVE_RMS_LIMIT["f32"]
Array = Any


def argument(dtype: Dtype = Dtype.f32) -> Argument:
    return Argument(name="y", role=Role.output, dtype=dtype, shape=("N",))


def values(shape: tuple[int, ...], seed: int = 1) -> Array:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape))


def judged(output: Array, expected: Array, dtype: Dtype = Dtype.f32, limit: float | None = None) -> Verdict:
    return verify(output, expected, argument(dtype), NUMERIC, limit)


def passes(verdict: Verdict) -> bool:
    error = verdict.error
    limits = error.relative_rms <= error.limit and error.worst_row <= error.limit and error.matched == 1.0
    assert limits is (verdict.wrong == ""), "the record and the verdict say the same"
    return limits


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [*FLOATS, *WHOLE])
def test_what_is_exact_passes(dtype: Dtype, shape: tuple[int, ...]) -> None:
    stored = NUMERIC.cast(np.asarray(np.abs(values(shape)) * 8).astype(np.float32), dtype)
    verdict = judged(stored, NUMERIC.f64(stored), dtype)
    assert passes(verdict)
    assert (verdict.error.relative_rms, verdict.error.worst_row, verdict.error.matched) == (0.0, 0.0, 1.0)
    assert verdict.error.tensor == "y"


@pytest.mark.parametrize("dtype", FLOATS)
def test_rounding_to_the_dtype_passes(dtype: Dtype) -> None:
    expected = values((64, 33))
    verdict = judged(expected.astype(NUMERIC.dtype(dtype)), expected, dtype)
    assert passes(verdict)
    assert verdict.error.limit == RELATIVE_RMS_LIMIT[dtype.value]
    assert (verdict.error.relative_rms > 0) is (dtype is not Dtype.f64)


@pytest.mark.parametrize("dtype", [Dtype.f64, Dtype.f32])
def test_rounding_to_the_next_smaller_dtype_does_not(dtype: Dtype) -> None:
    smaller = {Dtype.f64: np.float32, Dtype.f32: np.float16}[dtype]
    expected = values((64, 33))
    assert not passes(judged(expected.astype(smaller).astype(NUMERIC.dtype(dtype)), expected, dtype))


@pytest.mark.parametrize("shape", [(1,), (9,), (4, 3), (2, 3, 4)])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_one_nan_or_infinity_fails(shape: tuple[int, ...], wrong: float) -> None:
    expected = values(shape)
    output = expected.astype(np.float32)
    output.flat[-1] = wrong
    verdict = judged(output, expected)
    assert not passes(verdict)
    assert verdict.error.matched == 1 - 1 / expected.size
    assert math.isfinite(verdict.error.relative_rms), "JSON has no infinity"


def test_the_poison_of_an_output_fails_in_every_dtype() -> None:
    for dtype in FLOATS:
        expected = values((4, 8))
        poison = np.full(expected.size * dtype.itemsize, 0xFF, np.uint8).view(NUMERIC.dtype(dtype)).reshape(4, 8)
        assert not passes(judged(poison, expected, dtype))


class TestSpecialValuesOfTheOracle:
    EXPECTED = np.array([[1.0, np.nan, 2.0], [np.inf, -np.inf, 3.0]])

    def output(self, **changes: float) -> Array:
        out = self.EXPECTED.astype(np.float32)
        for place, value in changes.items():
            out[int(place[1]), int(place[2])] = value
        return out

    def test_the_same_ones_pass(self) -> None:
        assert passes(judged(self.output(), self.EXPECTED))

    @pytest.mark.parametrize(
        ("place", "value"),
        [("p01", 0.0), ("p10", np.nan), ("p10", -np.inf), ("p10", 3e38), ("p11", np.inf), ("p01", np.inf)],
    )
    def test_others_in_their_place_fail(self, place: str, value: float) -> None:
        verdict = judged(self.output(**{place: value}), self.EXPECTED)
        assert not passes(verdict)
        assert "NaN or Inf of the oracle" in verdict.wrong
        assert verdict.error.matched == pytest.approx(5 / 6)

    @pytest.mark.parametrize("value", [np.nan, np.inf, 1.1])
    def test_the_finite_ones_are_still_compared(self, value: float) -> None:
        assert not passes(judged(self.output(p00=value), self.EXPECTED))

    def test_nothing_but_nan_passes_only_as_nan(self) -> None:
        expected = np.full((2, 2), np.nan)
        assert passes(judged(expected.astype(np.float32), expected))
        assert not passes(judged(np.zeros((2, 2), np.float32), expected))


def test_one_wrong_element_in_a_million_fails_by_itself() -> None:
    """Neither the tensor's nor the row's error would notice it."""
    expected = 1.0 + values((1, 1_000_000)) * 0.1
    output = expected.astype(np.float32)
    output[0, 123_456] *= 1.003
    verdict = judged(output, expected)
    assert verdict.error.relative_rms < LIMIT
    assert verdict.error.worst_row < LIMIT
    assert verdict.error.matched == 1 - 1e-6
    assert not passes(verdict)
    assert "elements are off" in verdict.wrong


def test_one_wrong_row_fails_by_itself() -> None:
    """Neither the tensor's error nor any element's would notice it."""
    expected = 1.0 + values((10_000, 100)) * 0.1
    output = expected.astype(np.float32)
    output[4321] *= 1 + 4 * LIMIT
    verdict = judged(output, expected)
    assert verdict.error.relative_rms < LIMIT
    assert verdict.error.matched == 1.0
    assert verdict.error.worst_row == pytest.approx(4 * LIMIT, rel=0.05)
    assert not passes(verdict)
    assert "worst row 4321 of 10000" in verdict.wrong


def test_a_wrong_tensor_fails_though_no_element_is_far_off() -> None:
    expected = 1.0 + values((50, 100)) * 0.1
    verdict = judged((expected * (1 + 2 * LIMIT)).astype(np.float32), expected)
    assert verdict.error.matched == 1.0
    assert verdict.error.relative_rms == pytest.approx(2 * LIMIT, rel=0.05)
    assert not passes(verdict)


def test_a_wrong_row_among_large_ones_is_seen() -> None:
    """A small row is measured against itself, down to the floor."""
    expected = np.ones((100, 10))
    expected[7] = 0.01
    output = expected.astype(np.float32)
    output[7] *= 1 + 5 * LIMIT
    verdict = judged(output, expected)
    assert verdict.error.matched == 1.0
    assert not passes(verdict)
    expected[7] = output[7] = ROW_FLOOR / 100
    output[7] *= 1 + 5 * LIMIT
    assert passes(judged(output, expected))


def test_a_short_row_is_small_by_chance_only() -> None:
    """What fp32 sums give: an error of 3e-7 of the tensor, in rows of one element that may be near zero."""
    expected = values((1000, 1))
    expected[7] = 1e-4
    output = (expected + 3e-7).astype(np.float32)
    assert passes(judged(output, expected))
    assert not passes(judged((expected + 3e-5).astype(np.float32), expected))
    long = np.repeat(expected, SHORT_ROW, axis=1)
    assert not passes(judged((long + 3e-7).astype(np.float32), long)), "a long row must be right by itself"


def test_pure_cancellation_has_no_digits_to_get_wrong() -> None:
    expected = np.ones((100, 10))
    expected[7] = 1e-12
    output = expected.astype(np.float32)
    output[7] = 1e-9
    assert passes(judged(output, expected)), "a thousand times too large, and nothing beside the other rows"
    output[7] = 1e-4
    assert not passes(judged(output, expected))


def test_rows_of_zeros() -> None:
    expected = np.zeros((4, 8))
    output = np.zeros((4, 8), np.float32)
    assert passes(judged(output, expected))
    output[2, 3] = 1e-30
    assert not passes(judged(output, expected))
    expected[:2] = 1.0
    output[...] = expected
    assert passes(judged(output, expected))
    output[3, 0] = 0.1
    assert not passes(judged(output, expected))


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (2, 0, 3)])
@pytest.mark.parametrize("dtype", [Dtype.f32, Dtype.i32])
def test_an_empty_tensor_passes(shape: tuple[int, ...], dtype: Dtype) -> None:
    verdict = judged(np.zeros(shape, NUMERIC.dtype(dtype)), np.zeros(shape), dtype)
    assert passes(verdict)


@pytest.mark.parametrize("dtype", WHOLE)
def test_integers_are_exact(dtype: Dtype) -> None:
    expected = np.arange(12.0).reshape(3, 4)
    output = expected.astype(NUMERIC.dtype(dtype))
    assert passes(judged(output, expected, dtype))
    output[2, 1] += 1
    verdict = judged(output, expected, dtype)
    assert not passes(verdict)
    assert verdict.error.matched == pytest.approx(11 / 12)
    assert judged(output, expected, dtype, limit=0.5).wrong, "no tolerance makes a wrong integer right"


def test_a_limit_of_the_task_replaces_that_of_the_dtype() -> None:
    expected = values((10, 10))
    output = (expected * 1.0001).astype(np.float32)
    assert not passes(judged(output, expected))
    assert passes(judged(output, expected, limit=1e-3))
    assert not passes(judged(output, expected, limit=1e-5))


@pytest.mark.parametrize("guess", ["zeros", "mean", "swapped", "permuted", "input"])
def test_lazy_answers_fail(guess: str) -> None:
    x = values((32, 16))
    expected = 2.0 * x + 1.0
    answers = {
        "zeros": np.zeros_like(expected),
        "mean": np.full_like(expected, expected.mean()),
        "swapped": expected.reshape(16, 32).T,
        "permuted": expected[::-1],
        "input": x,
    }
    assert not passes(judged(np.ascontiguousarray(answers[guess]).astype(np.float32), expected))


def test_large_tensors_are_verified_in_blocks_with_the_same_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = values((37, 11))
    output = (expected * (1 + 3e-6 * values((37, 11), 2))).astype(np.float32)
    whole = judged(output, expected)
    for block in (1, 11, 12, 100, 37 * 11):
        monkeypatch.setattr(NUMERIC, "block", block)
        pieces = judged(output, expected)
        assert pieces.wrong == whole.wrong
        assert pieces.error.relative_rms == pytest.approx(whole.error.relative_rms)
        assert pieces.error.worst_row == pytest.approx(whole.error.worst_row)


SHAPE = st.sampled_from([(6,), (1, 5), (4, 8), (2, 3, 4)])


@settings(deadline=None, max_examples=100)
@given(SHAPE, st.integers(0, 2**32 - 1), st.sampled_from(FLOATS), st.floats(1e-3, 1e3))
def test_a_perturbation_well_below_the_limit_passes(
    shape: tuple[int, ...], seed: int, dtype: Dtype, scale: float
) -> None:
    """In float64, so that the perturbation is the only error."""
    expected = values(shape, seed) * scale
    sign = np.sign(values(shape, seed + 1))
    limit = RELATIVE_RMS_LIMIT[dtype.value]
    verdict = judged(expected * (1 + sign * limit / 10), expected, dtype)
    assert passes(verdict)
    assert verdict.error.relative_rms == pytest.approx(limit / 10, rel=1e-2)


@settings(deadline=None, max_examples=100)
@given(SHAPE, st.integers(0, 2**32 - 1), st.sampled_from(FLOATS), st.floats(1e-3, 1e3))
def test_a_perturbation_well_above_the_limit_fails(
    shape: tuple[int, ...], seed: int, dtype: Dtype, scale: float
) -> None:
    expected = values(shape, seed) * scale
    sign = np.sign(values(shape, seed + 1))
    limit = RELATIVE_RMS_LIMIT[dtype.value]
    assert not passes(judged(expected * (1 + sign * 10 * limit), expected, dtype))


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32 - 1), st.integers(0, 31), st.integers(0, 15))
def test_one_element_of_a_row_that_is_off_is_always_seen(seed: int, row: int, column: int) -> None:
    expected = values((32, 16), seed)
    output = expected.astype(np.float32)
    output[row, column] += 2 * ELEMENT_FACTOR * LIMIT * (abs(expected[row, column]) + np.abs(expected[row]).max())
    verdict = judged(output, expected)
    assert not passes(verdict)
    assert verdict.error.matched < 1.0


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(-20, 20))
def test_the_scale_of_the_values_does_not_matter(seed: int, power: int) -> None:
    expected = values((8, 8), seed)
    output = (expected * (1 + 7e-6 * values((8, 8), seed + 1))).astype(np.float32)
    one = judged(output, expected)
    two = judged(output * np.float32(2.0**power), expected * 2.0**power)
    assert two.error == one.error
