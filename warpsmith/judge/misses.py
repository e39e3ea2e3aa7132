"""How far an output misses the oracle: the numbers that verify.py judges, whoever took them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Misses:
    """Sums over a whole tensor, with the worst row. NaN or infinity anywhere shows in ``missed``."""

    total: float
    """Sum of squares of the oracle."""
    missed: float
    """Sum of squared differences."""
    worst: float
    """Largest relative RMS of a row (infinite for a NaN), against its own size or the floor of rows."""
    row: int
    """Which row that was."""
    matched: float
    """Share of elements within the element-wise bound."""
