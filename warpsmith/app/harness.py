"""A stand-alone harness in one ``.cu``: a section to edit, and a frozen part with the observed configurations.

The same capture, or observation, gives the same file. Contents are drawn in it, within the captured ranges; where
nothing was captured, scalars are sized by what they do (harnessroles.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from warpsmith.app.capturesource import BEGIN, END, Extracted
from warpsmith.app.capturetypes import element, is_constant, scalar
from warpsmith.app.fixtures import Fixtures
from warpsmith.app.harnessroles import sized
from warpsmith.app.symbols import is_pointer
from warpsmith.errors import BadInput
from warpsmith.model.observed import Configuration, ObservedKernel
from warpsmith.model.task import RELATIVE_RMS_LIMIT, AppTask, Argument, Dtype, Role

TEMPLATE = Path(__file__).with_name("templates") / "harness.cu"
_NUMPY: dict[Dtype, Any] = {
    Dtype.f64: np.float64, Dtype.f32: np.float32, Dtype.f16: np.float16, Dtype.i64: np.int64, Dtype.i32: np.int32,
    Dtype.i8: np.int8, Dtype.u8: np.uint8,
}  # fmt: skip


@dataclass(frozen=True)
class Buffer:
    """One buffer of the harness."""

    dtype: Dtype
    output: bool
    low: float = -1.0
    high: float = 1.0
    ordered: bool = False


@dataclass(frozen=True)
class Launch:
    """One configuration: parameters as bytes, with where addresses go."""

    name: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int
    share: float
    real_s: float
    parameters: tuple[bytes, ...]
    pointers: tuple[tuple[int, int, int, int], ...]
    """Parameter, place in it, buffer, offset in that."""
    sizes: tuple[int, ...]
    """Bytes of each buffer."""


def of_task(task: AppTask, source: Extracted, fixtures: Fixtures) -> str:
    """The harness of a captured task: its launches, with contents drawn within the captured ranges."""
    tensors = [a for a in task.arguments if a.is_tensor]
    numbers = {a.name: i for i, a in enumerate(tensors)}
    places = {p.name: i for i, p in enumerate(task.parameters)}
    launches = []
    for workload, one in zip(task.workloads, task.launches, strict=True):
        scalars = {a.name: task.scalar(a, workload) for a in task.arguments if a.role is Role.scalar}
        passed = []
        for p in task.parameters:
            dtype = next((a.element for a in task.arguments if a.name == p.name), None)
            if p.role == "scalar" and dtype is not None:
                passed.append(_NUMPY[dtype](scalars[p.name]).tobytes())
            else:
                passed.append(bytes.fromhex(one.raw[p.name]) if p.name in one.raw else bytes(p.size))
        pointers = tuple((places[x.parameter], x.at, numbers[x.buffer], x.offset) for x in one.pointers)
        sizes = tuple(one.contents[t.name].bytes if t.name in one.contents else 0 for t in tensors)
        launches.append(
            Launch(
                workload.name, one.grid, one.block, one.dynamic_bytes, workload.weight, one.p50_s, tuple(passed),
                pointers, sizes,
            )
        )  # fmt: skip
    buffers = [_ranged(task, t, fixtures) for t in tensors]
    if task.globals:
        raise BadInput("a harness of one file cannot set the application's global variables.", "Leave --harness out.")
    return _written(source, buffers, launches)


def of_observation(kernel: ObservedKernel, source: Extracted, work: int) -> str:
    """The harness of a kernel that was observed and not captured. ``work``: steps of its loops that a thread makes.

    Scalars are those that were seen; where none were, they are sized by what the kernel does with them.
    """
    types = tuple(p.type for p in kernel.parameters) if any(p.type for p in kernel.parameters) else source.types
    buffers = [
        Buffer(element(t) or Dtype.u8, not is_constant(t), *_span(element(t) or Dtype.u8))
        for t in types
        if is_pointer(t)
    ]
    whole = sum(c.seconds for c in kernel.configurations) or 1.0
    launches = []
    for number, one in enumerate(kernel.configurations):
        roles = sized(source.section, source.names, types, one, work)
        passed: list[bytes] = []
        pointers: list[tuple[int, int, int, int]] = []
        sizes: list[int] = []
        for index, (name, type_) in enumerate(zip(source.names, types, strict=True)):
            if is_pointer(type_):
                pointers.append((index, 0, len(sizes), 0))
                sizes.append(_bytes(one, index, element(type_) or Dtype.u8, roles.elements))
                passed.append(bytes(8))
                continue
            passed.append(_scalar_bytes(one, index, type_, roles.values.get(name)))
        x, y, z = one.grid
        launches.append(
            Launch(
                f"{number}: grid {x}x{y}x{z}", one.grid, one.block, one.dynamic_bytes, one.seconds / whole, one.p50_s,
                tuple(passed), tuple(pointers), tuple(sizes),
            )
        )  # fmt: skip
    return _written(source, buffers, launches)


def _scalar_bytes(one: Configuration, index: int, type_: str, sized_as: int | None) -> bytes:
    """A scalar as it is passed: the value that was seen, else the size that its role gives it, else 1."""
    seen = next((s for s in one.scalars if s.index == index), None)
    dtype = scalar(type_)
    if dtype is None:
        if seen is not None and isinstance(seen.value, str):
            return bytes.fromhex(seen.value)
        raise BadInput(
            f"parameter {index} is a {type_}, and what was in it is not known.", "Capture, or pass its members singly."
        )
    if seen is not None and isinstance(seen.value, int | float):
        value = seen.as_float if dtype.is_float and seen.as_float is not None else seen.value
    else:
        value = sized_as if sized_as is not None else 1
    return bytes(_NUMPY[dtype](value).tobytes())


def _bytes(one: Configuration, index: int, dtype: Dtype, elements: int) -> int:
    """Of the buffer behind a pointer: what was seen, else room for every element that the launch can reach."""
    seen = next((b for b in one.buffers if b.index == index), None)
    return seen.most_bytes if seen is not None else elements * dtype.itemsize


def _span(dtype: Dtype) -> tuple[float, float]:
    """Contents where none were captured: an index of 0 is in range everywhere."""
    return (-1.0, 1.0) if dtype.is_float else (0.0, 0.0)


def _ranged(task: AppTask, tensor: Argument, fixtures: Fixtures) -> Buffer:
    """A buffer with the range of its captured contents."""
    low, high, dtype = 0.0, 0.0, tensor.element
    held = [one.contents[tensor.name].before for one in task.launches if tensor.name in one.contents]
    if dtype in _NUMPY:
        values = [np.frombuffer(fixtures.get(d), _NUMPY[dtype]) for d in dict.fromkeys(held)]
        finite = [v[np.isfinite(v)] for v in values]
        low = min((float(v.min()) for v in finite if len(v)), default=0.0)
        high = max((float(v.max()) for v in finite if len(v)), default=0.0)
    else:
        low, high = -1.0, 1.0
    ordered = not dtype.is_float and task.variation(tensor) == "kept"
    return Buffer(dtype, tensor.role is Role.output, low, high, ordered)


def _written(source: Extracted, buffers: Sequence[Buffer], launches: Sequence[Launch]) -> str:
    """The file."""
    spaces = "::".join((*source.spaces, source.entry))
    limits = [RELATIVE_RMS_LIMIT.get(b.dtype.value, 0.0) for b in buffers if b.output]
    parts: Mapping[str, str] = {
        "head": "\n".join(source.head),
        "begin": BEGIN,
        "end": END,
        "section": source.section,
        "caller": source.caller(),
        "buffers": "\n".join(
            f"    {{{b.dtype.value.upper()}, {_flag(b.output)}, {b.low!r}, {b.high!r}, {_flag(b.ordered)}}},"
            for b in buffers
        ),
        "count": str(len(buffers)),
        "sizes": "\n".join(f"    {{{', '.join(map(str, one.sizes))}}}," for one in launches),
        "pointers": "\n".join(
            f"    {{{c}, {', '.join(map(str, p))}}}," for c, one in enumerate(launches) for p in one.pointers
        ),
        "configurations": "\n".join(_configuration(one) for one in launches),
        "limit": repr(max(limits, default=0.0)),
        "original": f"original::{spaces}",
        "edited": f"edited::{spaces}",
    }
    return re.sub(r"\{\{|\}\}|\{(\w+)\}", lambda m: parts[m[1]] if m[1] else m[0][0], TEMPLATE.read_text())


def _configuration(one: Launch) -> str:
    extents = [f"dim3({', '.join(map(str, e))})" for e in (one.grid, one.block)]
    passed = ", ".join("{" + ", ".join(map(str, content)) + "}" for content in one.parameters)
    numbers = f"{one.shared}, {one.share!r}, {one.real_s * 1e6!r}"
    return f"        {{{json.dumps(one.name)}, {', '.join(extents)}, {numbers}, {{{passed}}}}},"


def _flag(value: bool) -> str:
    return "true" if value else "false"
