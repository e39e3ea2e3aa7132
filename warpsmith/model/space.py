"""The tunables of a source, and the points that their constraints allow. Reads no files."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field, model_validator

from warpsmith.errors import BadInput, ExpressionError
from warpsmith.model.base import Name, Record
from warpsmith.model.expression import Number, evaluate, names


class Tunable(Record):
    """One compile-time parameter: ``-DNAME=value``."""

    values: Annotated[tuple[int, ...], Field(min_length=1)]
    default: int
    doc: str = ""

    @model_validator(mode="after")
    def _default_is_a_value(self) -> Self:
        if self.default not in self.values:
            raise ValueError(f"the default {self.default} is not among the values {list(self.values)}")
        if len(set(self.values)) != len(self.values):
            raise ValueError("values repeat")
        return self


class Space(Record):
    """The tunables of a source, with the constraints between them."""

    tunables: dict[Name, Tunable] = Field(default_factory=dict)
    constraints: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _constraints_hold_by_default(self) -> Self:
        try:
            for constraint in self.constraints:
                if unknown := names(constraint) - set(self.tunables):
                    raise ValueError(f"the constraint {constraint!r} uses unknown tunables: {sorted(unknown)}")
            broken = [c for c in self.constraints if not evaluate(c, self.defaults)]
        except ExpressionError as error:
            raise ValueError(f"constraints: {error}") from None
        if broken:
            raise ValueError(f"the defaults break the constraints {broken}")
        return self

    @property
    def defaults(self) -> dict[str, int]:
        """The default point."""
        return {name: t.default for name, t in self.tunables.items()}

    @property
    def size(self) -> int:
        """Points before constraints."""
        return math.prod(len(t.values) for t in self.tunables.values())

    def allows(self, point: dict[str, int]) -> bool:
        """Whether ``point`` satisfies every constraint; a constraint that fails to evaluate is not satisfied."""
        environment: dict[str, Number] = dict(point)
        try:
            return all(bool(evaluate(c, environment)) for c in self.constraints)
        except ExpressionError:
            return False

    def points(self) -> Iterator[dict[str, int]]:
        """Every valid point, in the order of the declaration."""
        for values in itertools.product(*(t.values for t in self.tunables.values())):
            point = dict(zip(self.tunables, values, strict=True))
            if self.allows(point):
                yield point

    def resolve(self, overrides: dict[str, int]) -> dict[str, int]:
        """The defaults with ``overrides``; raises :class:`BadInput` for a name or value outside the space."""
        for name, value in overrides.items():
            if name not in self.tunables:
                raise BadInput(f"there is no tunable {name!r}.", f"Declared: {', '.join(self.tunables) or 'none'}.")
            if value not in self.tunables[name].values:
                raise BadInput(f"{name}={value} is not declared.", f"Values: {list(self.tunables[name].values)}.")
        point = {**self.defaults, **overrides}
        if not self.allows(point):
            raise BadInput(f"the point {point} breaks the constraints {list(self.constraints)}.")
        return point
