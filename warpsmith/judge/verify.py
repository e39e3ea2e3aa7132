"""Is an output right? Relative RMS against the float64 oracle per tensor and per row, and every element near.

Comparisons are written so that NaN fails. Where the oracle itself is NaN or infinite, the output must be the same
there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from warpsmith.judge.misses import Misses
from warpsmith.judge.numeric import Array, Numeric
from warpsmith.model.evaluation import TensorError
from warpsmith.model.task import RELATIVE_RMS_LIMIT, Argument

ELEMENT_FACTOR = 8.0
"""One element may be off by this many times the RMS limit, relative to its own size plus the RMS of its row."""
ROW_FLOOR = 1e-3
"""A row smaller than this share of the tensor's RMS is measured against that share: pure cancellation has no digits."""


SHORT_ROW = 8
SHORT_ROW_FLOOR = 0.25
"""A row of fewer than SHORT_ROW elements is measured against at least this share: nothing but chance makes one small.
Of 1e4 rows of one normal number the smallest is 1e-4 of the RMS, and no sum has digits for that."""


def row_floor(columns: int) -> float:
    """Share of the tensor's RMS that a row of that length is measured against at least."""
    return ROW_FLOOR if columns >= SHORT_ROW else SHORT_ROW_FLOOR


@dataclass(frozen=True)
class Verdict:
    """What was found, and what is wrong with it (empty where nothing is)."""

    error: TensorError
    wrong: str


def verify(output: Array, expected: Array, argument: Argument, numeric: Numeric, limit: float | None = None) -> Verdict:
    """Compare a storage array with the float64 oracle of the same shape."""
    allowed = limit if limit is not None else RELATIVE_RMS_LIMIT.get(argument.element.value, 0.0)
    columns = int(expected.shape[-1]) if expected.ndim else 1
    if math.prod(expected.shape) == 0:
        return Verdict(_error(argument, 0.0, 0.0, allowed, 1.0), "")
    out = output.reshape(-1, columns)
    ref = expected.reshape(-1, columns)
    if not argument.element.is_float:
        return _exact(out, ref, argument, numeric)
    return _close(out, ref, argument, numeric, allowed)


def _exact(out: Array, ref: Array, argument: Argument, numeric: Numeric) -> Verdict:
    xp = numeric.xp
    matched = numeric.number(xp.mean(xp.astype(numeric.f64(out) == ref, xp.float64)))
    wrong = "" if matched == 1.0 else f"{argument.name}: {1 - matched:.2%} of the elements differ"
    return Verdict(_error(argument, 0.0, 0.0, 0.0, matched), wrong)


def _close(out: Array, ref: Array, argument: Argument, numeric: Numeric, allowed: float) -> Verdict:
    element = ELEMENT_FACTOR * allowed
    rows, columns = ref.shape
    found = numeric.misses(out, ref, argument.element, element, row_floor(columns)) if numeric.misses else None
    if found is None or not math.isfinite(found.total):
        if not bool(numeric.xp.all(numeric.xp.isfinite(numeric.xp.sum(ref)))):
            out, ref, unequal = _without_special(out, ref, numeric)
            if unequal:
                error = _error(argument, math.inf, math.inf, allowed, 1 - unequal)
                return Verdict(error, f"{argument.name}: {unequal:.2%} of the elements miss a NaN or Inf of the oracle")
        found = plain_misses(out, ref, numeric, element)
    error = _error(argument, _ratio(found.missed, found.total), found.worst, allowed, found.matched)
    return Verdict(error, _reason(argument, error, found.row, rows))


def plain_misses(out: Array, ref: Array, numeric: Numeric, element: float) -> Misses:
    """How far ``out`` misses the finite ``ref`` [rows, columns], in blocks of rows; fused.py does the same on a GPU."""
    xp = numeric.xp
    rows, columns = ref.shape
    step = max(1, numeric.block // columns)
    blocks = [slice(i, min(i + step, rows)) for i in range(0, rows, step)]
    size = xp.concat([xp.sum(ref[b] * ref[b], axis=1) for b in blocks])
    total = numeric.number(xp.sum(size))
    floor = row_floor(columns) ** 2 * total / rows
    scale = xp.clip(size, floor, math.inf) if total > 0 else size
    squares, near = [], 0.0
    for b in blocks:
        difference = numeric.f64(out[b]) - ref[b]
        squares.append(xp.sum(difference * difference, axis=1))
        bound = element * (xp.abs(ref[b]) + xp.sqrt(scale[b] / columns)[:, None])
        near += numeric.number(xp.sum(xp.astype(xp.abs(difference) <= bound, xp.float64)))
    missed = xp.concat(squares)
    by_row = xp.sqrt(missed / xp.where(scale > 0, scale, xp.ones_like(scale)))
    worst = int(xp.argmax(xp.where(xp.isnan(by_row), xp.full_like(by_row, math.inf), by_row)))
    worst_row = numeric.number(by_row[worst])
    return Misses(total, numeric.number(xp.sum(missed)), worst_row, worst, near / (rows * columns))


def _reason(argument: Argument, error: TensorError, worst: int, rows: int) -> str:
    right = error.relative_rms <= error.limit and error.worst_row <= error.limit and error.matched == 1.0
    if right:
        return ""
    said = f"relative RMS {error.relative_rms:.3g}, worst row {worst} of {rows} at {error.worst_row:.3g}"
    return f"{argument.name}: {said} (limit {error.limit:.3g}), {1 - error.matched:.3%} of the elements are off"


def _without_special(out: Array, ref: Array, numeric: Numeric) -> tuple[Array, Array, float]:
    """The arrays with NaN and Inf of the oracle set to zero, and the share of elements that miss one."""
    xp = numeric.xp
    wide = numeric.f64(out)
    special = ~xp.isfinite(ref)
    hit = (wide == ref) | (xp.isnan(wide) & xp.isnan(ref))
    unequal = numeric.number(xp.mean(xp.astype(special & ~hit, xp.float64)))
    zero = xp.zeros_like(ref)
    return xp.where(special, zero, wide), xp.where(special, zero, ref), unequal


def _ratio(missed: float, total: float) -> float:
    if math.isnan(missed):
        return math.inf
    return math.sqrt(missed / total) if total > 0 else math.sqrt(missed)


def _error(argument: Argument, relative: float, worst: float, limit: float, matched: float) -> TensorError:
    """Errors beyond any number (NaN among the outputs) are recorded as the largest float: JSON has no infinity."""
    most = 1.7e308
    return TensorError(
        tensor=argument.name,
        relative_rms=relative if relative < most else most,
        worst_row=worst if worst < most else most,
        limit=limit,
        matched=min(1.0, max(0.0, matched)),
    )
