"""Launch plans made concrete: expressions to numbers, scalars to bytes. Pure; imports no device library.

The judge evaluates every expression itself, so the launcher is told numbers only.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from warpsmith.errors import ExpressionError, WarpsmithError
from warpsmith.judge.failures import CandidateFailed
from warpsmith.judge.tensormap import MAP_BYTES, ConcreteMap, Impossible, make_map
from warpsmith.model.candidate import Candidate, Launch, TensorMap
from warpsmith.model.evaluation import Build, KernelBuild, Status
from warpsmith.model.expression import Number, evaluate, evaluate_int
from warpsmith.model.head import Workload
from warpsmith.model.target import Target
from warpsmith.model.task import DEVICE_FACTS, Argument, Dtype, KernelTask, Role, geometry

MOST_BLOCKS = (2**31 - 1, 65535, 65535)
MOST_THREADS = (1024, 1024, 64)
MOST_THREADS_PER_BLOCK = 1024
"""Limits of every compute capability since 3.0 (CUDA C++ Programming Guide, Technical Specifications)."""
MOST_BLOCKS_PER_CLUSTER = 16
"""Beyond 8 a device may refuse: the launcher asks for it, and says so."""
CLUSTERS_SINCE = 90
MOST_PARAMETER_BYTES = 32764
SCRATCH_ALIGNMENT = 256
"""Bytes; what the driver aligns every allocation to, at least."""
MOST_SCRATCH = 1 << 50
PLAIN_SHARED_BYTES = 48 << 10
"""What a block may use without the opt-in, where the target does not say its limit."""
_FORMATS = {"f64": "<d", "f32": "<f", "f16": "<e", "i64": "<q", "i32": "<i", "i8": "<b", "u8": "<B"}


@dataclass(frozen=True)
class Packed:
    """A struct passed by value: its bytes, and the buffers whose addresses go to places in it."""

    content: bytes
    pointers: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class ConcreteLaunch:
    """One launch in numbers. An argument is a buffer's name, the little-endian bytes of a scalar, a struct, or a tensor
    map.
    """

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int
    arguments: tuple[str | bytes | Packed | ConcreteMap, ...]
    cluster: tuple[int, int, int] | None = None

    def said(self) -> dict[str, Any]:
        """As JSON for the launcher."""
        return {
            "kernel": self.kernel,
            "grid": self.grid,
            "block": self.block,
            "shared_bytes": self.shared_bytes,
            "cluster": self.cluster,
            "arguments": [_said(argument) for argument in self.arguments],
        }


def _said(argument: str | bytes | Packed | ConcreteMap) -> dict[str, Any]:
    if isinstance(argument, ConcreteMap):
        return {"tensor_map": asdict(argument)}
    if isinstance(argument, Packed):
        return {"bytes": argument.content.hex(), "pointers": argument.pointers}
    return {"buffer": argument} if isinstance(argument, str) else {"bytes": argument.hex()}


@dataclass(frozen=True)
class Plan:
    """All launches of one call, and the bytes of each scratch buffer."""

    launches: tuple[ConcreteLaunch, ...]
    scratch: dict[str, int]


def make_plan(
    task: KernelTask,
    workload: Workload,
    candidate: Candidate,
    target: Target,
    kernels: Sequence[KernelBuild] = (),
    planner: type[Planner] | None = None,
) -> Plan:
    """The plan of ``candidate`` on one workload. Raises CandidateFailed for one that no device could carry out.

    ``kernels`` are those of its build: some compilers decide how theirs are launched. Where some tensor of the task is
    empty, a launch of zero blocks has nothing to do and is left out.
    """
    where = f"launch plan on workload {workload.name!r}"
    if not candidate.launch:
        raise CandidateFailed(Status.crashed, f"{where}: there is no launch")
    try:
        planning = (planner or Planner)(task, workload, candidate, target, kernels)
        made = [planning.launch(index, launch) for index, launch in enumerate(candidate.launch)]
        if not planning.empty and not any(made):
            raise Impossible("no launch applies: each has a 'when' that is zero here")
    except ExpressionError as error:
        raise CandidateFailed(Status.crashed, f"{where}: {error}") from None
    except Impossible as wrong:
        raise CandidateFailed(Status.crashed, f"{where}: {wrong}") from None
    return Plan(tuple(launch for launch in made if launch is not None), planning.scratch)


class Planner:
    """What the launches of one plan share."""

    def __init__(
        self,
        task: KernelTask,
        workload: Workload,
        candidate: Candidate,
        target: Target,
        kernels: Sequence[KernelBuild],
    ) -> None:
        self.task, self.workload, self.candidate, self.target = task, workload, candidate, target
        self.environment = _environment(task, workload, candidate, target)
        self.empty = any(0 in a.extent(workload.axes) for a in task.arguments if a.is_tensor)
        self.built = {index: k for k in kernels if k.compiled for index in k.compiled.launches}
        self.scratch = {s.name: _bounded(s.name, evaluate_int(s.bytes, self.environment)) for s in candidate.scratch}

    def launch(self, index: int, launch: Launch) -> ConcreteLaunch | None:
        """One launch in numbers, None where there is nothing to launch. Raises ExpressionError, Impossible."""
        if launch.when is not None and not evaluate(launch.when, self.environment):
            return None
        grid = self._three(launch.grid)
        if self.empty and 0 in grid:
            return None
        block = self._three(launch.block) if launch.block else (0, 0, 0)
        cluster = self._three(launch.cluster) if launch.cluster else None
        shared = evaluate_int(launch.shared_bytes, self.environment)
        arguments = tuple(self.argument(name) for name in launch.arguments)
        for name, divisor in launch.divisible.items():
            if value := self._number(name) % divisor:
                told = f"it is compiled for {name} divisible by {divisor}, and {value} is left over"
                raise Impossible(f"{launch.kernel}: {told}: guard it by 'when'")
        made = ConcreteLaunch(launch.kernel, grid, block, shared, arguments, cluster)
        if index in self.built:
            made = self._as_compiled(made, self.built[index])
        if wrong := impossible(made, self.target):
            raise Impossible(f"{launch.kernel}: {wrong}")
        return made

    def _as_compiled(self, launch: ConcreteLaunch, kernel: KernelBuild) -> ConcreteLaunch:
        """The launch with what the compiler decided, and the pointers that it passes behind the kernel's own."""
        compiled = kernel.compiled
        assert compiled is not None
        cluster = compiled.cluster or launch.cluster
        x, y, z = launch.grid
        grid = (x * compiled.cluster[0], y, z) if compiled.cluster else launch.grid  # programs, each a cluster
        hidden: list[str | bytes] = []
        for position, size in enumerate(compiled.scratch):
            name = f"{kernel.name}:{position}"
            if size:
                wanted = size * math.prod(max(0, extent) for extent in grid)
                self.scratch[name] = _bounded(name, max(wanted, self.scratch.get(name, 0)))
            hidden.append(name if size else bytes(8))
        return replace(
            launch,
            kernel=kernel.name,
            grid=grid,
            block=compiled.block or launch.block,
            cluster=cluster,
            shared_bytes=launch.shared_bytes if compiled.shared_bytes is None else compiled.shared_bytes,
            arguments=(*launch.arguments, *hidden),
        )

    def _three(self, extents: tuple[str | int, str | int, str | int]) -> tuple[int, int, int]:
        x, y, z = (evaluate_int(extent, self.environment) for extent in extents)
        return x, y, z

    def _number(self, name: str) -> float:
        """The value of an axis or scalar argument. Raises Impossible for a buffer."""
        found = next((a for a in self.task.arguments if a.name == name and not a.is_tensor), None)
        if found is None:
            raise Impossible(f"divisible: {name!r} is no number")
        value = self.workload.axes[name] if found.role is Role.axis else self.task.scalar(found, self.workload)
        assert value is not None  # the task's own validation
        return value

    def argument(self, name: str) -> str | bytes | Packed | ConcreteMap:
        """What is passed under that name. Raises ExpressionError, Impossible."""
        found: Argument | None = next((a for a in self.task.arguments if a.name == name), None)
        if found is None:
            described = next((m for m in self.candidate.tensor_map if m.name == name), None)
            if described is not None:
                return make_map(described, self._dtype(described), self.environment, self._alignment(described))
            if name not in self.scratch:
                raise ExpressionError(
                    f"the argument {name!r} is neither the task's nor a scratch buffer or tensor map."
                )
            return name
        if found.is_tensor:
            return name
        return scalar_bytes(found.element, self._number(name))

    def _dtype(self, described: TensorMap) -> Dtype:
        """The element type of a tensor map. Raises Impossible where nobody says it."""
        tensors = {a.name: a.element for a in self.task.arguments if a.is_tensor}
        stated = {s.name: s.dtype for s in self.candidate.scratch}
        if described.of not in {**tensors, **stated}:
            raise Impossible(f"the tensor map {described.name!r} is of {described.of!r}, which is no buffer")
        dtype = described.dtype or tensors.get(described.of) or stated.get(described.of)
        if dtype is None:
            raise Impossible(f"the tensor map {described.name!r} needs a dtype: the scratch {described.of!r} has none")
        return dtype

    def _alignment(self, described: TensorMap) -> int:
        """What the address is a multiple of, at least: scratch is an allocation of its own."""
        return SCRATCH_ALIGNMENT if described.of in self.scratch else self.task.alignment


def _bounded(name: str, size: int) -> int:
    """The bytes of a scratch buffer. Raises Impossible where no device could have them."""
    if not 0 <= size <= MOST_SCRATCH:
        raise Impossible(f"the scratch buffer {name!r} has {size} bytes")
    return size


def to_load(candidate: Candidate, build: Build) -> list[dict[str, Any]]:
    """The kernels that a launcher needs of a binary, as JSON: name, symbol, and where the kernel's cubin lies."""
    apart = [k for k in build.kernels if k.compiled]
    if apart:
        places = [(k.name, k.compiled.symbol, k.compiled.offset, k.compiled.bytes) for k in apart if k.compiled]
    else:
        places = [(name, name, 0, build.binary_bytes) for name in sorted({one.kernel for one in candidate.launch})]
    return [dict(zip(("name", "symbol", "offset", "bytes"), place, strict=True)) for place in places]


def scalar_bytes(dtype: Dtype, value: float) -> bytes:
    """A scalar as the bytes of a kernel parameter. Raises WarpsmithError where the dtype cannot hold it."""
    try:
        if dtype is Dtype.bf16:
            (bits,) = struct.unpack("<I", struct.pack("<f", value))
            nearest_even = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
            return struct.pack("<H", nearest_even if math.isfinite(value) else bits >> 16)
        if dtype.is_float:
            return struct.pack(_FORMATS[dtype.value], value)
        if int(value) != value:
            raise ValueError("it is not whole")
        return struct.pack(_FORMATS[dtype.value], int(value))
    except (struct.error, ValueError, OverflowError) as error:
        raise WarpsmithError(f"the scalar {value!r} does not fit {dtype}: {error}.", "Mend the task.") from None


def _environment(task: KernelTask, workload: Workload, candidate: Candidate, target: Target) -> dict[str, Number]:
    scalars = {a.name: task.scalar(a, workload) for a in task.arguments if a.role is Role.scalar}
    facts = {name: target.facts[name] for name in DEVICE_FACTS if name in target.facts}
    said = {name: value for name, value in scalars.items() if value is not None}
    return {**said, **geometry(workload.axes, candidate.parameters, facts)}


def impossible(launch: ConcreteLaunch, target: Target) -> str:
    """Why no device could carry ``launch`` out; empty where one could."""
    for name, extents, most in (("grid", launch.grid, MOST_BLOCKS), ("block", launch.block, MOST_THREADS)):
        if any(not 1 <= extent <= limit for extent, limit in zip(extents, most, strict=True)):
            return f"the {name} {extents} is out of range (1 to {most})"
    if math.prod(launch.block) > MOST_THREADS_PER_BLOCK:
        return f"the block {launch.block} has more than {MOST_THREADS_PER_BLOCK} threads"
    most_shared = target.facts.get("SHARED_BYTES_PER_BLOCK", PLAIN_SHARED_BYTES)
    if not 0 <= launch.shared_bytes <= most_shared:
        return f"{launch.shared_bytes} bytes of dynamic shared memory are out of range (0 to {most_shared})"
    passed = sum(_size(argument) for argument in launch.arguments)
    if passed > MOST_PARAMETER_BYTES:
        return f"the arguments take {passed} bytes, more than {MOST_PARAMETER_BYTES}"
    return _impossible_cluster(launch, target) if launch.cluster else ""


def _impossible_cluster(launch: ConcreteLaunch, target: Target) -> str:
    cluster = launch.cluster
    assert cluster is not None
    if (capability := _capability(target)) < CLUSTERS_SINCE:
        return f"thread-block clusters need sm_{CLUSTERS_SINCE}, and the device is sm_{capability}"
    if any(extent < 1 for extent in cluster) or math.prod(cluster) > MOST_BLOCKS_PER_CLUSTER:
        return f"the cluster {cluster} is out of range (1 to {MOST_BLOCKS_PER_CLUSTER} blocks)"
    if any(blocks % extent for blocks, extent in zip(launch.grid, cluster, strict=True)):
        return f"the grid {launch.grid} is not a multiple of the cluster {cluster}"
    return ""


def _size(argument: str | bytes | Packed | ConcreteMap) -> int:
    """Bytes of a kernel parameter."""
    if isinstance(argument, ConcreteMap):
        return MAP_BYTES
    if isinstance(argument, Packed):
        return len(argument.content)
    return len(argument) if isinstance(argument, bytes) else 8


def _capability(target: Target) -> int:
    """90 for ``sm_90a``; 0 where the architecture says something else."""
    found = re.match(r"sm_(\d+)", target.architecture)
    return int(found.group(1)) if found else 0
