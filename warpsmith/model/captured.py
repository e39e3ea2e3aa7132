"""What a capture keeps of launches: how their parameters lie, and the fixtures of each. Reads no files."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from warpsmith.model.base import Digest, Name, Record

Extents = tuple[
    Annotated[int, Field(ge=1)],
    Annotated[int, Field(ge=1)],
    Annotated[int, Field(ge=1)],
]
IDENTICAL = "replay of the original: bit-identical to what the application had after the launch"
"""Begins the condition of a measurement that says so; :data:`CLOSE` where it is within the tolerance only."""
CLOSE = "replay of the original: within the tolerance only, so its results depend on the order of its atomics"
CAPTURE = "CAPTURE"
"""The axis of every workload of an ``app`` task that says which launch it is."""
GEOMETRY = ("GRID_X", "GRID_Y", "GRID_Z", "BLOCK_X", "BLOCK_Y", "BLOCK_Z")
"""Axes with the geometry of the original's launch."""

Variation = Literal["mixed", "permuted", "kept"]
"""How contents that no call has seen are made of captured ones. ``mixed``: each value becomes a mean of two, so that
least and largest hold. ``permuted``: in another order, so that all are in range. ``kept``: as they were.
"""


class Parameter(Record):
    """One parameter of the original's signature."""

    name: Name
    role: Literal["pointer", "scalar", "bytes"]
    """``bytes``: a struct, passed as it was, with the addresses in it put in their places."""
    size: Annotated[int, Field(ge=1)]
    type: str = ""
    """As C++ writes it; empty where nobody says."""


class Pointer(Record):
    """An address within a parameter."""

    parameter: Name
    at: Annotated[int, Field(ge=0)] = 0
    """Bytes from the parameter's begin."""
    buffer: Name
    offset: int = 0
    """Bytes from the begin of the buffer's captured content."""


class Content(Record):
    """What one buffer held."""

    before: Digest
    after: Digest | None = None
    """None: the launch did not change it."""
    bytes: Annotated[int, Field(ge=1)]


class Launched(Record):
    """One captured launch."""

    grid: Extents
    block: Extents
    cluster: Extents = (1, 1, 1)
    dynamic_bytes: Annotated[int, Field(ge=0)] = 0
    contents: dict[Name, Content]
    """By buffer; one that this launch has none of is empty here."""
    pointers: tuple[Pointer, ...]
    raw: dict[Name, str] = {}
    """Bytes of ``bytes`` parameters in hexadecimal, their addresses zero."""
    p50_s: Annotated[float, Field(ge=0)] = 0.0
    """Median device time of such launches in the real application."""
    launches: Annotated[int, Field(ge=0)] = 0


class Original(Record):
    """The kernel as the application has it."""

    symbol: str
    """Its name in the code image, mangled."""
    name: str
    """For people."""
    image: Digest | None = None
    """Of the cubin; None for a task whose original is host code."""
    registers: Annotated[int, Field(ge=0)] = 0
    max_threads: Annotated[int, Field(ge=1)] = 1024
    """Threads of a block, at most: what its launch bounds say."""
    static_bytes: Annotated[int, Field(ge=0)] = 0


class Capture(Record):
    """Of what application, and how sensitive that is."""

    command: tuple[str, ...]
    at: str
    covered: Annotated[float, Field(ge=0, le=1.000001)]
    """Share of the kernel's device time that the captured configurations make up."""
    configurations_seen: Annotated[int, Field(ge=0)]
    sensitivity: Literal["private", "public"] = "private"
    """Of the fixtures: real data of an application is private unless somebody says otherwise."""
    bytes: Annotated[int, Field(ge=0)]
    """Of all fixtures, each counted once."""
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _is_named(self) -> Self:
        if not self.command:
            raise ValueError("the command of the application is missing")
        return self
