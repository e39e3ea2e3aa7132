"""Tasks: one optimisation target each, in four kinds. Owns their fields and their consistency; reads no files.

A kernel task states semantics (arguments, oracle), workloads, tolerances, objective and gate. App, command and
serving tasks share the head (:class:`TaskHead`), so that planning, comparing and reporting never ask for the kind.
"""

from __future__ import annotations

from enum import StrEnum
from math import prod
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from warpsmith.errors import ExpressionError
from warpsmith.model.base import Digest, Name, Record, digest
from warpsmith.model.captured import CAPTURE, Capture, Launched, Original, Parameter, Variation
from warpsmith.model.expression import Number, evaluate, evaluate_int, names
from warpsmith.model.harness import CommandTask, ServingTask
from warpsmith.model.head import TaskHead, Workload
from warpsmith.model.hidden import OPTIONAL_FAMILIES, STANDARD, Extent, resolve_families

LARGEST_ALIGNMENT = 4096
DEVICE_FACTS = frozenset({"SM_COUNT"})
"""Names that the launcher adds to every launch-plan expression: multiprocessors of the device."""


class Dtype(StrEnum):
    """Element types, with their sizes in bytes and the limits of :data:`RELATIVE_RMS_LIMIT`."""

    f64 = "f64"
    f32 = "f32"
    f16 = "f16"
    bf16 = "bf16"
    i64 = "i64"
    i32 = "i32"
    i8 = "i8"
    u8 = "u8"

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return {"f64": 8, "f32": 4, "f16": 2, "bf16": 2, "i64": 8, "i32": 4, "i8": 1, "u8": 1}[self.value]

    @property
    def is_float(self) -> bool:
        """Whether rounding applies, so that the relative RMS decides rather than equality."""
        return self.value in RELATIVE_RMS_LIMIT


RELATIVE_RMS_LIMIT: dict[str, float] = {"f64": 1e-12, "f32": 1e-5, "f16": 6e-4, "bf16": 4.5e-3}
"""Largest relative RMS error against float64, per tensor and per row, by dtype (docs/architecture.md, Numbers)."""


SCALARS = (Dtype.f64, Dtype.f32, Dtype.i64, Dtype.i32, Dtype.i8, Dtype.u8)
"""What can be passed by value: the types that C has by itself."""


class Role(StrEnum):
    """What an argument of the entry is."""

    input = "input"
    output = "output"
    axis = "axis"
    scalar = "scalar"


class Argument(Record):
    """One argument of the kernel's entry, in call order. Tensors are contiguous and row-major."""

    name: Name
    role: Role
    dtype: Dtype | None = None
    """Element type; an axis is always i64 (passed as ``int64_t``)."""
    shape: tuple[str | int, ...] | None = None
    """Expressions over the axes; tensors only."""
    value: float | None = None
    """Value of a scalar, unless the workload sets its own."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        tensor = self.role in (Role.input, Role.output)
        if tensor and (self.dtype is None or self.shape is None):
            raise ValueError(f"argument {self.name!r}: an {self.role} needs dtype and shape")
        if not tensor and self.shape is not None:
            raise ValueError(f"argument {self.name!r}: only tensors have a shape")
        if self.role is Role.axis and self.dtype not in (None, Dtype.i64):
            raise ValueError(f"argument {self.name!r}: an axis is an i64")
        if self.role is Role.scalar and self.dtype not in SCALARS:
            raise ValueError(f"argument {self.name!r}: a scalar's dtype is one of {', '.join(sorted(SCALARS))}")
        return self

    @property
    def is_tensor(self) -> bool:
        """Whether the argument is a buffer."""
        return self.shape is not None

    @property
    def element(self) -> Dtype:
        """Element type, with an axis being an i64."""
        return self.dtype or Dtype.i64

    def extent(self, axes: dict[str, int]) -> tuple[int, ...]:
        """The concrete shape under ``axes``; raises :class:`ExpressionError`."""
        shape = tuple(evaluate_int(dim, axes) for dim in self.shape or ())
        if any(dim < 0 for dim in shape):
            raise ExpressionError(f"argument {self.name!r} gets the negative shape {shape}.")
        return shape


class Tolerance(Record):
    """What counts as right: largest relative RMS per tensor and per row; None takes the limit of the dtype."""

    relative_rms: Annotated[float, Field(gt=0, lt=1)] | None = None


class KernelTask(TaskHead):
    """A kernel with stated semantics, judged under the host or the device contract."""

    kind: Literal["kernel"] = "kernel"
    contract: Literal["host", "device"]
    reference: str = "reference.py"
    """Python file with ``reference(xp, ...)``, the float64 oracle over an array-API namespace."""
    arguments: Annotated[tuple[Argument, ...], Field(min_length=1)]
    tolerance: Tolerance = Tolerance()
    bytes: str | int
    """Compulsory traffic of one call in bytes, an expression over axes."""
    flops: str | int = 0
    """Arithmetic of one call in floating-point operations, an expression over axes."""
    alignment: Annotated[int, Field(ge=1, le=LARGEST_ALIGNMENT)] = 64
    """What candidates may rely on: every buffer's address is a multiple of so many bytes, and of no more."""
    nonfinite: Literal["match", "refuse"] = "match"
    """Where the oracle gives NaN or infinity: a candidate must give the same, or the task is at fault."""
    families: tuple[str, ...] = (STANDARD,)
    """Families of hidden inputs, by name (model/hidden.py)."""
    shapes: dict[Name, Extent] = Field(default_factory=dict)
    """Axes that the judge may vary for workloads of its own, which are verified and never timed."""

    @field_validator("alignment")
    @classmethod
    def _power_of_two(cls, alignment: int) -> int:
        if alignment & (alignment - 1):
            raise ValueError("the alignment must be a power of two")
        return alignment

    @field_validator("families")
    @classmethod
    def _known_families(cls, families: tuple[str, ...]) -> tuple[str, ...]:
        resolve_families(families)
        return families

    @property
    def drawn(self) -> tuple[str, ...]:
        """The families of hidden inputs, ``normal`` among them."""
        return resolve_families(self.families)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        seen = [a.name for a in self.arguments]
        if len(set(seen)) != len(seen):
            raise ValueError("argument names repeat")
        if not any(a.role is Role.output for a in self.arguments):
            raise ValueError("at least one argument must have the role 'output'")
        largest = max(a.element.itemsize for a in self.arguments if a.is_tensor)
        if self.alignment < largest:
            raise ValueError(f"alignment: {self.alignment} is less than the {largest} bytes of an element")
        if self.nonfinite == "refuse" and (asked := set(self.drawn) & set(OPTIONAL_FAMILIES)):
            raise ValueError(f'families: {sorted(asked)} makes no sense with nonfinite = "refuse"')
        for workload in self.workloads:
            self.check_workload(workload)
        return self

    def check_workload(self, workload: Workload) -> None:
        """Raise ValueError where ``workload`` does not fit the task."""
        where = f"workload {workload.name!r}"
        scalars = {a.name for a in self.arguments if a.role is Role.scalar}
        if unknown := set(self.shapes) - set(workload.axes):
            raise ValueError(f"{where}: shapes names axes that it lacks: {sorted(unknown)}")
        if unknown := set(workload.scalars) - scalars:
            raise ValueError(f"{where}: unknown scalars {sorted(unknown)}")
        try:
            for argument in self.arguments:
                if argument.is_tensor:
                    argument.extent(workload.axes)
                elif argument.role is Role.axis and argument.name not in workload.axes:
                    raise ExpressionError(f"the axis {argument.name!r} has no value.")
                elif argument.role is Role.scalar and self.scalar(argument, workload) is None:
                    raise ExpressionError(f"the scalar {argument.name!r} has no value.")
            if self.traffic(workload) < 0 or self.work(workload) < 0:
                raise ExpressionError("bytes and flops must not be negative.")
        except ExpressionError as error:
            raise ValueError(f"{where}: {error}") from None

    def scalar(self, argument: Argument, workload: Workload) -> float | None:
        """The value of a scalar argument in this workload."""
        return workload.scalars.get(argument.name, argument.value)

    def traffic(self, workload: Workload) -> int:
        """Compulsory bytes of one call."""
        return evaluate_int(self.bytes, dict(workload.axes))

    def work(self, workload: Workload) -> float:
        """Floating-point operations of one call."""
        return float(evaluate(self.flops, dict(workload.axes)))


class AppTask(KernelTask):
    """A kernel captured from a real application: the oracle is the original kernel, on the captured buffers.

    Its tensors are whole captured allocations and global variables, as rows of one; whatever the kernel may write is an
    ``output``, which begins each call with content as an input does.
    """

    kind: Literal["app"] = "app"  # type: ignore[assignment]  # a kind of its own, judged as kernels are
    reference: str = "original.toml"
    """File that names the original."""
    original: Original
    capture: Capture
    parameters: tuple[Parameter, ...] = ()
    """The original's signature; empty where the original is host code, which takes the arguments in order."""
    launches: Annotated[tuple[Launched, ...], Field(min_length=1)]
    """One per workload, in the same order."""
    variations: dict[Name, Variation] = Field(default_factory=dict)
    """By buffer, how its content is varied; ``mixed`` where floats are not named here, else ``permuted``."""
    globals: dict[Name, str] = Field(default_factory=dict)
    """Buffers that are ``__device__`` or ``__constant__`` variables, with their symbols."""
    match: Literal["tolerance", "bits"] = "tolerance"
    """What an output must be beside the original's."""
    deterministic: bool | None = None
    """Whether the original gives the same bits again; None: it was not replayed yet, and nothing relies on it."""

    @property
    def drawn(self) -> tuple[str, ...]:
        """Contents that a candidate meets: varied anew each time, as captured, and varied buffer by buffer."""
        return ("normal", "captured", "apart")

    @property
    def fixtures(self) -> tuple[Digest, ...]:
        """Everything that the task needs and that is not committed, each once."""
        found = [d for one in self.launches for c in one.contents.values() for d in (c.before, c.after) if d]
        return tuple(dict.fromkeys([*([self.original.image] if self.original.image else []), *found]))

    def launched(self, workload: Workload) -> Launched:
        """The launch that a workload is."""
        return self.launches[workload.axes[CAPTURE]]

    def variation(self, buffer: Argument) -> Variation:
        """How the content of a buffer is varied."""
        return self.variations.get(buffer.name, "mixed" if buffer.element.is_float else "permuted")

    @model_validator(mode="after")
    def _captured(self) -> Self:
        if len(self.launches) != len(self.workloads):
            raise ValueError(f"{len(self.launches)} launches for {len(self.workloads)} workloads")
        buffers = {a.name: a for a in self.arguments if a.is_tensor}
        known = {p.name for p in self.parameters}
        if unknown := (set(self.variations) | set(self.globals)) - set(buffers):
            raise ValueError(f"variations and globals name no buffer: {sorted(unknown)}")
        for number, (workload, one) in enumerate(zip(self.workloads, self.launches, strict=True)):
            where = f"workload {workload.name!r}"
            if workload.axes.get(CAPTURE) != number:
                raise ValueError(f"{where}: the axis {CAPTURE} is {number}, the place of its launch")
            if self.parameters and any(p.parameter not in known or p.buffer not in buffers for p in one.pointers):
                raise ValueError(f"{where}: a pointer names an unknown parameter or buffer")
            for name, buffer in buffers.items():
                held = one.contents[name].bytes if name in one.contents else 0
                if held != prod(buffer.extent(workload.axes)) * buffer.element.itemsize:
                    raise ValueError(f"{where}: {name} holds {held} bytes, and its shape says otherwise")
        return self


Task = Annotated[KernelTask | AppTask | CommandTask | ServingTask, Field(discriminator="kind")]

_SAYS_NOTHING = {"title", "description", "tags", "baseline", "entry", "peers", "gate"}
"""Fields that change no verdict: prose, the folders of candidates (each has its own hash), and the gate of a view."""


def task_digest(task: TaskHead, files: dict[str, str]) -> str:
    """The identity of a task: all that changes a verdict, with the digests of the files it refers to."""
    said: dict[str, Any] = task.model_dump(mode="json", exclude=_SAYS_NOTHING)
    return digest({"task": said, "files": files})


def geometry(axes: dict[str, int], tunables: dict[str, int], facts: dict[str, int]) -> dict[str, Number]:
    """The environment of a launch-plan expression: axes, then tunables, then device facts."""
    return {**axes, **tunables, **facts}


def free_names(texts: tuple[str | int, ...]) -> frozenset[str]:
    """All names used by some expressions."""
    return frozenset().union(*(names(t) for t in texts)) if texts else frozenset()
