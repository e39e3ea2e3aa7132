"""Launch plans made concrete: expressions to numbers, scalars to bytes. Pure; imports no device library.

The judge evaluates every expression itself, so the launcher is told numbers only.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

from warpsmith.errors import ExpressionError, WarpsmithError
from warpsmith.judge.failures import CandidateFailed
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Status
from warpsmith.model.expression import Number, evaluate_int
from warpsmith.model.target import Target
from warpsmith.model.task import DEVICE_FACTS, Argument, Dtype, KernelTask, Role, Workload, geometry

MOST_BLOCKS = (2**31 - 1, 65535, 65535)
MOST_THREADS = (1024, 1024, 64)
MOST_THREADS_PER_BLOCK = 1024
"""Limits of every compute capability since 3.0 (CUDA C++ Programming Guide, Technical Specifications)."""
PLAIN_SHARED_BYTES = 48 << 10
"""What a block may use without the opt-in, where the target does not say its limit."""
_FORMATS = {"f64": "<d", "f32": "<f", "f16": "<e", "i64": "<q", "i32": "<i", "i8": "<b", "u8": "<B"}


@dataclass(frozen=True)
class ConcreteLaunch:
    """One launch in numbers. An argument is the name of a buffer, or the little-endian bytes of a scalar."""

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int
    arguments: tuple[str | bytes, ...]

    def said(self) -> dict[str, Any]:
        """As JSON for the launcher."""
        arguments = [{"buffer": a} if isinstance(a, str) else {"bytes": a.hex()} for a in self.arguments]
        return {
            "kernel": self.kernel,
            "grid": self.grid,
            "block": self.block,
            "shared_bytes": self.shared_bytes,
            "arguments": arguments,
        }


@dataclass(frozen=True)
class Plan:
    """All launches of one call, and the bytes of each scratch buffer."""

    launches: tuple[ConcreteLaunch, ...]
    scratch: dict[str, int]


def make_plan(task: KernelTask, workload: Workload, candidate: Candidate, target: Target) -> Plan:
    """The plan of ``candidate`` on one workload. Raises CandidateFailed for one that no device could carry out.

    Where some tensor of the task is empty, a launch of zero blocks has nothing to do and is left out.
    """
    where = f"launch plan on workload {workload.name!r}"
    if not candidate.launch:
        raise CandidateFailed(Status.crashed, f"{where}: there is no launch")
    environment = _environment(task, workload, candidate, target)
    empty = any(0 in a.extent(workload.axes) for a in task.arguments if a.is_tensor)
    try:
        scratch = {s.name: evaluate_int(s.bytes, environment) for s in candidate.scratch}
        launches = []
        for launch in candidate.launch:
            x, y, z = (evaluate_int(extent, environment) for extent in launch.grid)
            i, j, k = (evaluate_int(extent, environment) for extent in launch.block)
            shared = evaluate_int(launch.shared_bytes, environment)
            arguments = tuple(_argument(name, task, workload, scratch) for name in launch.arguments)
            if empty and 0 in (x, y, z):
                continue
            launches.append(ConcreteLaunch(launch.kernel, (x, y, z), (i, j, k), shared, arguments))
    except ExpressionError as error:
        raise CandidateFailed(Status.crashed, f"{where}: {error}") from None
    for made in launches:
        if wrong := _impossible(made, target):
            raise CandidateFailed(Status.crashed, f"{where}: {made.kernel}: {wrong}")
    for name, size in scratch.items():
        if size < 0:
            raise CandidateFailed(Status.crashed, f"{where}: the scratch buffer {name!r} has {size} bytes")
    return Plan(tuple(launches), scratch)


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


def _argument(name: str, task: KernelTask, workload: Workload, scratch: dict[str, int]) -> str | bytes:
    found: Argument | None = next((a for a in task.arguments if a.name == name), None)
    if found is None or found.is_tensor:
        if found is None and name not in scratch:
            raise ExpressionError(f"the argument {name!r} is neither the task's nor a scratch buffer.")
        return name
    if found.role is Role.axis:
        return scalar_bytes(Dtype.i64, workload.axes[name])
    value = task.scalar(found, workload)
    assert value is not None  # the task's own validation
    return scalar_bytes(found.element, value)


def _impossible(launch: ConcreteLaunch, target: Target) -> str:
    """Why no device could carry ``launch`` out; empty where one could."""
    for name, extents, most in (("grid", launch.grid, MOST_BLOCKS), ("block", launch.block, MOST_THREADS)):
        if any(not 1 <= extent <= limit for extent, limit in zip(extents, most, strict=True)):
            return f"the {name} {extents} is out of range (1 to {most})"
    if math.prod(launch.block) > MOST_THREADS_PER_BLOCK:
        return f"the block {launch.block} has more than {MOST_THREADS_PER_BLOCK} threads"
    most_shared = target.facts.get("SHARED_BYTES_PER_BLOCK", PLAIN_SHARED_BYTES)
    if not 0 <= launch.shared_bytes <= most_shared:
        return f"{launch.shared_bytes} bytes of dynamic shared memory are out of range (0 to {most_shared})"
    return ""
