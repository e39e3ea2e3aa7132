"""Twice the baseline: a candidate's error may be at most twice that of the task's baseline on the same hidden inputs.

The limit by dtype must leave room for every sum of every length, so it hides lower precision in short ones: products in
tf32, a tail left out of a correction. What the plain baseline loses on the same inputs does not. Only sums of what
verify.py found: works on records, and knows no array.

Two things keep it from refusing what is right. The floor: a baseline that is exact by luck or by nature must not forbid
rounding. And numbers: the error of few rows is a few draws of luck (one rounding of a row's factor moves all its
elements), so single calls are compared where there are many rows, and else the mean square over many calls.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from warpsmith.model.evaluation import BesideBaseline, TensorError
from warpsmith.model.task import RELATIVE_RMS_LIMIT, Argument

FACTOR = 2.0
"""How much larger than the baseline's an error may be."""
FLOOR_ROUNDINGS = 4.0
"""The limit is never below so many unit roundoffs of the output's dtype: twice what one rounding of the result and one
of a factor that its row shares may cost at worst."""
UNIT_ROUNDOFF = {"f64": 2.0**-53, "f32": 2.0**-24, "f16": 2.0**-11, "bf16": 2.0**-8}
"""Half the distance from 1 to the next number (IEEE 754; bfloat16 has 8 bits of significand)."""
LEAST_ROWS = 128
"""With 128 rows of equal errors a ratio of two means of squares exceeds 4 once in 1e13 calls (F distribution)."""
LEAST_COLUMNS = 32
"""The worst row counts where rows are so long: a short row's relative error is led by how small it happens to be."""
LEAST_CALLS = 8
"""Calls on inputs of one family over which fewer rows are compared."""


def can_bind(argument: Argument, limit: float | None) -> bool:
    """Whether the rule could ask for more than ``limit`` does: for bf16 and f16 the limit of the dtype is about one
    unit roundoff already.
    """
    return argument.element.is_float and _floor(argument) < _absolute(argument, limit)


@dataclass
class Pool:
    """Squared errors over calls on inputs of one family."""

    calls: int = 0
    mine: float = 0.0
    theirs: float = 0.0


class BaselineBound:
    """The rule for one output of one workload, over one measurement."""

    def __init__(self, argument: Argument, extent: tuple[int, ...]) -> None:
        self.argument = argument
        columns = extent[-1] if extent else 1
        rows = math.prod(extent) // columns if columns else 0
        self.by_call = rows >= LEAST_ROWS
        self.by_row = self.by_call and columns >= LEAST_COLUMNS
        self.pool = Pool()
        self.closest: BesideBaseline | None = None

    def see(self, inputs: str, mine: TensorError, theirs: TensorError, *, pooled: bool) -> str:
        """Take one call that both met into account; what is wrong with it (empty where nothing is)."""
        if not self.argument.element.is_float:
            return ""
        if not self.by_call:
            if not pooled:
                return ""
            self.pool.calls += 1
            self.pool.mine += min(mine.relative_rms, 1.0) ** 2
            self.pool.theirs += min(theirs.relative_rms, 1.0) ** 2
            return ""
        return self._judge(inputs, mine, mine.relative_rms, theirs.relative_rms, theirs.worst_row)

    def end(self, mine: TensorError) -> str:
        """After the last call: the verdict over all of them, where single ones say too little."""
        pool = self.pool
        if pool.calls < LEAST_CALLS:
            return ""
        own, other = (math.sqrt(s / pool.calls) for s in (pool.mine, pool.theirs))
        return self._judge(f"{pool.calls} calls together", mine, own, other, 0.0)

    def _judge(self, inputs: str, mine: TensorError, own: float, other: float, other_row: float) -> str:
        floor = _floor(self.argument)
        rms_limit = min(mine.limit, max(FACTOR * other, floor))
        row_limit = min(mine.limit, max(FACTOR * other_row, floor)) if self.by_row else mine.limit
        found = BesideBaseline(
            inputs=inputs,
            relative_rms=own,
            worst_row=mine.worst_row,
            baseline_rms=other,
            baseline_row=other_row,
            rms_limit=rms_limit,
            row_limit=row_limit,
        )
        if self.closest is None or found.share > self.closest.share:
            self.closest = found
        if own <= rms_limit and mine.worst_row <= row_limit:
            return ""
        name = self.argument.name
        what = "" if own <= rms_limit else f"relative RMS {own:.3g} beside the baseline's {other:.3g}"
        what = what or f"worst row {mine.worst_row:.3g} beside the baseline's {other_row:.3g}"
        limit = rms_limit if own > rms_limit else row_limit
        return f"{name}: less precise than twice the baseline: {what} on the same inputs (limit {limit:.3g}, {inputs})"


def _floor(argument: Argument) -> float:
    return FLOOR_ROUNDINGS * UNIT_ROUNDOFF[argument.element.value]


def _absolute(argument: Argument, limit: float | None) -> float:
    return limit if limit is not None else RELATIVE_RMS_LIMIT[argument.element.value]
