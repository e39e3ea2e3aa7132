"""Candidates: immutable sources with their toolchain, entry, parameters and launch plan. Reads no files."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from warpsmith.errors import BadInput, ExpressionError
from warpsmith.model.base import Digest, Name, Record, digest
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


class Launch(Record):
    """One kernel launch of the device contract; every number is an expression over axes, tunables, device facts."""

    kernel: Name
    grid: tuple[str | int, str | int, str | int]
    block: tuple[str | int, str | int, str | int]
    shared_bytes: str | int = 0
    arguments: tuple[Name, ...]


class Scratch(Record):
    """A device buffer that the launcher allocates for the candidate; its content is undefined before every call."""

    name: Name
    bytes: str | int


class SourceFile(Record):
    """A file of a candidate: its relative path and the digest of its content."""

    path: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./\-]*$")]
    content: Digest

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        if ".." in path.split("/"):
            raise ValueError(f"{path!r} leaves the candidate's folder")
        return path


class Candidate(Record):
    """Immutable files with all that changes their behaviour. Two with the same :attr:`id` behave the same."""

    toolchain: str
    entry: Name
    sources: Annotated[tuple[SourceFile, ...], Field(min_length=1)]
    flags: tuple[str, ...] = ()
    parameters: dict[Name, int] = Field(default_factory=dict)
    launch: tuple[Launch, ...] = ()
    scratch: tuple[Scratch, ...] = ()
    space: Space = Space()
    parent: Digest | None = None
    memo: str = ""

    @cached_property
    def id(self) -> str:
        """SHA-256 of all that changes behaviour: not the space around it, its parent, or its memo."""
        said: dict[str, Any] = self.model_dump(mode="json", exclude={"space", "parent", "memo"})
        return digest(said)

    def at(self, point: dict[str, int], memo: str) -> Candidate:
        """The same sources at another point of their space."""
        return self.model_copy(update={"parameters": dict(point), "parent": self.id, "memo": memo})
