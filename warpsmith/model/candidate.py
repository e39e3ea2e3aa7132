"""Candidates: immutable sources with their toolchain, entry, parameters and launch plan. Reads no files."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from warpsmith.model.base import Digest, Name, Record, digest
from warpsmith.model.head import Variable
from warpsmith.model.space import Space
from warpsmith.model.task import Dtype

SETS_BLOCK = frozenset({"triton"})
"""Toolchains whose compiler decides block, shared memory and cluster of a kernel."""
SPECIALISES = frozenset({"triton", "cute"})
"""Toolchains whose kernels take constants, and have no types of their own: those of the task's arguments hold."""
OVERLAY = "overlay"
"""The toolchain of candidates that are no kernel: files that go over those of a workspace, and an environment."""

Expression = str | int
Symbol = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_$.]*$", max_length=4096)]
"""A kernel as the code image names it: a mangled name can be long."""


class Launch(Record):
    """One kernel launch of the device contract; every number is an expression over axes, tunables, device facts."""

    kernel: Symbol
    grid: tuple[Expression, Expression, Expression]
    block: tuple[Expression, Expression, Expression] | None = None
    """Threads; None where the compiler decides (Triton), and only there."""
    shared_bytes: Expression = 0
    arguments: tuple[Name, ...]
    cluster: tuple[Expression, Expression, Expression] | None = None
    """Blocks of a thread-block cluster; None for none."""
    when: Expression | None = None
    """The launch is left out where this is zero; None: it never is."""
    constants: dict[Name, Expression] = Field(default_factory=dict)
    """Compile-time arguments and options of a Triton or CuTe kernel, over tunables only, beside the tunables."""
    divisible: dict[Name, Annotated[int, Field(ge=2)]] = Field(default_factory=dict)
    """Triton: the kernel is compiled for this argument being a multiple; the plan is impossible where it is not."""


class Scratch(Record):
    """A device buffer that the launcher allocates for the candidate; its content is undefined before every call."""

    name: Name
    bytes: Expression
    dtype: Dtype | None = None
    """What a Triton or CuTe kernel, or a tensor map, takes its elements for."""


class TensorMap(Record):
    """A TMA descriptor of a tensor or a scratch buffer, made before the calls and passed by value (128 bytes).

    As cuTensorMapEncodeTiled takes it: the innermost dimension first; extents and boxes in elements, strides in bytes.
    """

    name: Name
    of: Name
    dtype: Dtype | None = None
    """Element type; None: that of the tensor or scratch buffer."""
    dims: Annotated[tuple[Expression, ...], Field(min_length=1, max_length=5)]
    strides: tuple[Expression, ...] = ()
    """Of every dimension but the innermost; empty: packed."""
    box: Annotated[tuple[Expression, ...], Field(min_length=1, max_length=5)]
    element_strides: tuple[Expression, ...] = ()
    """Empty: all 1."""
    swizzle: Literal["none", "32B", "64B", "128B"] = "none"
    interleave: Literal["none", "16B", "32B"] = "none"
    l2_promotion: Literal["none", "64B", "128B", "256B"] = "none"
    oob_fill: Literal["zero", "nan"] = "zero"

    @model_validator(mode="after")
    def _ranks_agree(self) -> Self:
        rank = len(self.dims)
        for field, length, wanted in (
            ("box", len(self.box), (rank,)),
            ("strides", len(self.strides), (0, rank - 1)),
            ("element_strides", len(self.element_strides), (0, rank)),
        ):
            if length not in wanted:
                raise ValueError(f"tensor map {self.name!r}: {rank} dims need {wanted[-1]} {field}, not {length}")
        return self


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
    sources: tuple[SourceFile, ...]
    """At least one, but for an overlay, which may be an environment only."""
    flags: tuple[str, ...] = ()
    environment: dict[Variable, str] = Field(default_factory=dict)
    """Of an overlay: variables that its runs see. Its parameters are variables too."""
    parameters: dict[Name, int] = Field(default_factory=dict)
    launch: tuple[Launch, ...] = ()
    scratch: tuple[Scratch, ...] = ()
    tensor_map: tuple[TensorMap, ...] = ()
    space: Space = Space()
    parent: Digest | None = None
    memo: str = ""

    @model_validator(mode="after")
    def _overlays_are_no_kernels(self) -> Self:
        if self.toolchain != OVERLAY:
            if not self.sources or self.environment:
                raise ValueError("sources: a kernel needs one; environment: only an overlay has one")
        elif self.flags or self.launch or self.scratch or self.tensor_map:
            raise ValueError("an overlay has files, environment and tunables; nothing is built or launched")
        return self

    @model_validator(mode="after")
    def _launches_fit_the_toolchain(self) -> Self:
        for launch in self.launch:
            where = f"launch of {launch.kernel!r}"
            if self.toolchain in SETS_BLOCK and (launch.block or launch.shared_bytes or launch.cluster):
                raise ValueError(f"{where}: {self.toolchain} decides block, shared_bytes and cluster; leave them out")
            if self.toolchain not in SETS_BLOCK and launch.block is None:
                raise ValueError(f"{where}: block is missing")
            if self.toolchain not in SPECIALISES and launch.constants:
                raise ValueError(f"{where}: {self.toolchain} kernels take no constants")
            if self.toolchain != "triton" and launch.divisible:
                raise ValueError(f"{where}: only triton kernels are compiled for divisible arguments")
            if unknown := set(launch.divisible) - set(launch.arguments):
                raise ValueError(f"{where}: divisible names what is not passed: {sorted(unknown)}")
        made = [s.name for s in self.scratch] + [m.name for m in self.tensor_map]
        if len(set(made)) != len(made):
            raise ValueError("names of scratch buffers and tensor maps repeat")
        return self

    @cached_property
    def id(self) -> str:
        """SHA-256 of all that changes behaviour: not the space around it, its parent, or its memo."""
        said: dict[str, Any] = self.model_dump(mode="json", exclude={"space", "parent", "memo"})
        return digest(_without_unused(said))

    def at(self, point: dict[str, int], memo: str) -> Candidate:
        """The same sources at another point of their space."""
        return self.model_copy(update={"parameters": dict(point), "parent": self.id, "memo": memo})


_LATER: dict[str, dict[str, Any]] = {
    "launch": {"cluster": None, "when": None, "constants": {}, "divisible": {}},
    "scratch": {"dtype": None},
}
"""Fields that came after the first identities were written down, with what says that they are not used."""


def _without_unused(said: dict[str, Any]) -> dict[str, Any]:
    """A dumped candidate as it was before it had the fields that it does not use: its identity must not change."""
    for part, unused in _LATER.items():
        said[part] = [{k: v for k, v in one.items() if k not in unused or v != unused[k]} for one in said[part]]
    for name in ("tensor_map", "environment"):
        if not said[name]:
            del said[name]
    return said
