"""What the judge may draw beside what a task shows: families of input values, and shapes that no workload has.

Only names and ranges, so that ``task.toml`` can be checked when it is read; ``judge`` knows what they mean.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from warpsmith.model.base import Record

STANDARD_FAMILIES = (
    "normal", "offset", "positive", "outliers", "integers", "large", "tiny", "cancellation", "sparse", "extremes",
)  # fmt: skip
"""Distributions of hidden inputs that every task meets, unless it says otherwise."""
OPTIONAL_FAMILIES = ("nonfinite",)
"""Those that a task must ask for by name."""
STANDARD = "standard"
"""Stands for all standard families in a task's list."""


def resolve_families(said: tuple[str, ...]) -> tuple[str, ...]:
    """The families that a task's list means, in a fixed order. ``normal`` is always there: timed calls take it.

    Raises ValueError for a name that is not known.
    """
    known = (*STANDARD_FAMILIES, *OPTIONAL_FAMILIES)
    if unknown := sorted(set(said) - {*known, STANDARD}):
        raise ValueError(f"unknown families {unknown}; known: {STANDARD}, {', '.join(known)}")
    wanted = {*said, "normal"} | (set(STANDARD_FAMILIES) if STANDARD in said else set())
    return tuple(name for name in known if name in wanted)


class Extent(Record):
    """The values that an axis may take where the judge makes workloads of its own."""

    min: Annotated[int, Field(ge=0)] = 1
    max: Annotated[int, Field(ge=1)]
    multiple_of: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _holds_something(self) -> Self:
        if self.least > self.max:
            raise ValueError(f"no multiple of {self.multiple_of} above 0 lies between {self.min} and {self.max}")
        return self

    @property
    def least(self) -> int:
        """The smallest value above zero."""
        return max(1, -(-self.min // self.multiple_of)) * self.multiple_of
