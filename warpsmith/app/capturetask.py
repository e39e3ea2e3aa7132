"""From captured launches to an ``app`` task: parameters by role, buffers by allocation, scalars, weights and fixtures.

Reads the files of a capture run, and keeps what the task needs among the fixtures. Runs nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from warpsmith.app.capture import Taken
from warpsmith.app.capturetypes import DECODED, element, guess, is_constant, scalar, variation
from warpsmith.app.fixtures import Fixtures
from warpsmith.app.symbols import decode, is_pointer, parts
from warpsmith.errors import BadInput
from warpsmith.model.captured import CAPTURE, GEOMETRY, Capture, Content, Launched, Original, Parameter, Pointer
from warpsmith.model.head import Workload
from warpsmith.model.launch import Launch, Snapshot
from warpsmith.model.observed import ObservedKernel
from warpsmith.model.task import DEVICE_FACTS, AppTask, Argument, Dtype, Role

ALIGNMENT = 256
"""Bytes: what the driver aligns allocations to, so what an application's kernels may rely on."""
STRUCT_WORDS = 64
"""Structs of so many bytes have their words as axes, for the launch plans of candidates."""
TRAFFIC, SHARED = "TRAFFIC", "SHARED_BYTES"
_LARGEST_COUNT = 1 << 20
"""A word of an unknown type below is a whole number, whatever float its bits would make."""


@dataclass
class _Buffer:
    """One buffer of the task, over all launches."""

    name: str
    type: str
    snapshots: dict[int, Snapshot] = field(default_factory=dict)
    """By launch."""
    symbol: str = ""


@dataclass(frozen=True)
class Signature:
    """Names and types of the original's parameters, as a source says them; empty where there is none."""

    names: tuple[str, ...] = ()
    types: tuple[str, ...] = ()


class TaskMaker:
    """Makes one task of some launches of one kernel."""

    def __init__(
        self, name: str, kernel: ObservedKernel, found: Sequence[Taken], fixtures: Fixtures, signature: Signature
    ) -> None:
        self.name, self.kernel, self.found, self.fixtures = name, kernel, found, fixtures
        self.function = found[0].launch.function
        self.parameters = self._parameters(signature)
        self.notes: list[str] = []
        self._kept: dict[tuple[Path, str], str] = {}
        self.buffers: dict[str, _Buffer] = {}
        self.pointers = [self._reached(number, one) for number, one in enumerate(found)]
        for number, one in enumerate(found):
            self._variables(number, one)

    def make(self, command: Sequence[str]) -> AppTask:
        """The task. Raises BadInput where the launches changed nothing that could be seen."""
        contents = {name: self._contents(buffer) for name, buffer in self.buffers.items()}
        arguments, variations = [], {}
        for name, buffer in self.buffers.items():
            held = [self.found[n].content(s) for n, s in buffer.snapshots.items()]
            dtype, known = self._dtype(buffer, held)
            role = self._role(buffer)
            arguments.append(Argument(name=name, role=role, dtype=dtype, shape=(f"n_{name}",)))
            variations[name] = variation(held, dtype, known=known)
            if variations[name] == "kept":
                self.notes.append(f"{name} is given as it was captured: sorted, or bytes of an unknown kind")
        scalars = [p for p in self.parameters if p.role == "scalar"]
        values = {p.name: [self._value(p, t.launch) for t in self.found] for p in scalars}
        for p in scalars:
            same = values[p.name][0] if len(set(values[p.name])) == 1 else None
            arguments.append(Argument(name=p.name, role=Role.scalar, dtype=self._scalar(p), value=same))
        if not any(a.role is Role.output for a in arguments):
            raise BadInput(f"{self.kernel.name} writes nothing that can be seen.", "Capture another kernel.")
        dtypes = {a.name: a.element for a in arguments}
        changing = {n: v for n, v in values.items() if len(set(v)) > 1}
        image = self.fixtures.put((self.found[0].folder / self.found[0].image.file).read_bytes())
        launches = tuple(
            self._launched(n, t, {b: c[n] for b, c in contents.items() if n in c}) for n, t in enumerate(self.found)
        )
        digests = {image, *(d for one in launches for c in one.contents.values() for d in (c.before, c.after) if d)}
        return AppTask(
            name=self.name,
            title=f"{parts(self.kernel.symbol).name}, as {command[0].rpartition('/')[2]} launches it"[:120],
            hardware="cuda",
            contract="device",
            entry="src",
            bytes=TRAFFIC,
            alignment=ALIGNMENT,
            arguments=tuple(arguments),
            workloads=tuple(
                self._workload(n, t, launches[n], dtypes, {s: v[n] for s, v in changing.items()})
                for n, t in enumerate(self.found)
            ),
            original=Original(
                symbol=self.kernel.symbol, name=self.kernel.name, image=image, registers=self.function.registers,
                max_threads=self.function.max_threads, static_bytes=self.function.static_bytes,
            ),
            capture=Capture(
                command=tuple(command), at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                covered=self._covered(), configurations_seen=self.kernel.configurations_seen,
                bytes=self.fixtures.bytes_of(digests), notes=tuple(self.notes),
            ),
            parameters=self.parameters,
            launches=launches,
            variations=variations,
            globals={b.name: b.symbol for b in self.buffers.values() if b.symbol},
        )  # fmt: skip

    def _covered(self) -> float:
        """Share of the kernel's device time that was captured: less than was chosen, where graphs launch the rest."""
        taken = sum(t.configuration.seconds for t in self.found)
        return min(1.0, taken / self.kernel.seconds) if self.kernel.seconds else 0.0

    def words(self, number: int) -> dict[str, int]:
        """Whole numbers of a launch that its geometry may follow from, as a launch plan names them."""
        launch, found = self.found[number].launch, {}
        for p, (offset, size) in zip(self.parameters, self.function.parameters, strict=True):
            content = launch.parameters[offset : offset + size]
            if p.role == "scalar" and not self._scalar(p).is_float:
                found[p.name] = int(self._value(p, launch))
            if p.role == "bytes" and size <= STRUCT_WORDS:
                reached = [b.offset - offset for b in launch.buffers if offset <= b.offset < offset + size]
                for at in range(0, size - 3, 4):
                    if not any(r <= at < r + 8 for r in reached):
                        found[f"{p.name}_{at}"] = int.from_bytes(content[at : at + 4], "little", signed=True)
        return found

    def _parameters(self, signature: Signature) -> tuple[Parameter, ...]:
        layout = self.function.parameters
        types = tuple(p.type for p in self.kernel.parameters)
        if len(signature.types) == len(layout) and not any(types):
            types = signature.types
        if len(types) != len(layout):
            types = ("",) * len(layout)
        names = signature.names if len(signature.names) == len(layout) else tuple(f"p{i}" for i in range(len(layout)))
        pointing = {b.offset for t in self.found for b in t.launch.buffers}
        made = []
        for name, type_, (offset, size) in zip(names, types, layout, strict=True):
            role = "bytes"
            if is_pointer(type_) or (not type_ and size == 8 and offset in pointing):
                role = "pointer"
            elif (type_ and scalar(type_)) or (not type_ and size in (4, 8)):
                role = "scalar"
            said = Parameter.model_validate({"name": _free(name), "role": role, "size": size, "type": type_})
            passes = role != "scalar" or all(_finite(self._value(said, t.launch, offset)) for t in self.found)
            made.append(said if passes else said.model_copy(update={"role": "bytes"}))
        return tuple(made)

    def _reached(self, number: int, one: Taken) -> tuple[Pointer, ...]:
        """The pointers of a launch; allocations become buffers, named by the first pointer into each."""
        by_allocation: dict[int, str] = {}
        found = []
        for p, (offset, size) in zip(self.parameters, self.function.parameters, strict=True):
            if p.role == "scalar":
                continue  # a number that happens to look like an address
            for buffer in (b for b in one.launch.buffers if offset <= b.offset < offset + size):
                snapshot = next((s for s in one.before if not s.name and s.offset == buffer.offset), None)
                if snapshot is None:
                    continue
                at = buffer.offset - offset
                name = by_allocation.get(snapshot.address)
                if name is None:
                    name = by_allocation[snapshot.address] = p.name if p.role == "pointer" else f"{p.name}_at{at}"
                    held = self.buffers.setdefault(name, _Buffer(name, p.type if p.role == "pointer" else ""))
                    held.snapshots[number] = snapshot
                    if not snapshot.whole:
                        self.notes.append(f"{name}: {snapshot.bytes} of {snapshot.size} bytes were kept")
                elif p.role != "pointer" or element(p.type) != element(self.buffers[name].type):
                    self.buffers[name].type = ""  # what lies there is of several kinds
                if is_constant(self.buffers[name].type) and not is_constant(p.type):
                    self.buffers[name].type = p.type
                behind = one.launch.pointer(buffer) - snapshot.address
                found.append(Pointer(parameter=p.name, at=at, buffer=name, offset=behind))
        return tuple(found)

    def _variables(self, number: int, one: Taken) -> None:
        for snapshot in (s for s in one.before if s.name and s.whole):
            name = "var_" + re.sub(r"\W", "_", parts(snapshot.name).name)[-48:]
            held = self.buffers.setdefault(name, _Buffer(name, "", symbol=snapshot.name))
            if held.symbol == snapshot.name:
                held.snapshots[number] = snapshot

    def _contents(self, buffer: _Buffer) -> dict[int, Content]:
        found = {}
        for number, snapshot in buffer.snapshots.items():
            one = self.found[number]
            changed = one.changed(snapshot)
            found[number] = Content(
                before=self._keep(one, snapshot), after=self._keep(one, changed) if changed else None,
                bytes=snapshot.bytes,
            )  # fmt: skip
        return found

    def _keep(self, one: Taken, snapshot: Snapshot) -> str:
        """The digest of a snapshot's content, which several snapshots may share."""
        key = (one.folder, snapshot.file)
        if key not in self._kept:
            self._kept[key] = self.fixtures.put(one.content(snapshot))
        return self._kept[key]

    def _dtype(self, buffer: _Buffer, held: Sequence[bytes]) -> tuple[Dtype, bool]:
        said = element(buffer.type)
        if said is not None and all(len(c) % said.itemsize == 0 for c in held):
            return said, True
        return guess(held), False

    def _role(self, buffer: _Buffer) -> Role:
        """An output is what changed, and whatever may be written: beginning with its content costs it nothing."""
        if any(self.found[n].changed(s) for n, s in buffer.snapshots.items()):
            return Role.output
        return Role.input if buffer.symbol or is_constant(buffer.type) else Role.output

    def _scalar(self, p: Parameter) -> Dtype:
        if p.type and (said := scalar(p.type)) is not None:
            return said
        seen = next((s for c in self.kernel.configurations for s in c.scalars if s.index == self._index(p)), None)
        small = seen is not None and isinstance(seen.value, int) and abs(seen.value) < _LARGEST_COUNT
        floats = seen is not None and seen.as_float is not None and not small
        if p.size == 4:
            return Dtype.f32 if floats else Dtype.i32
        return Dtype.f64 if floats else Dtype.i64

    def _index(self, p: Parameter) -> int:
        return next((i for i, known in enumerate(getattr(self, "parameters", ())) if known.name == p.name), -1)

    def _value(self, p: Parameter, launch: Launch, offset: int | None = None) -> float:
        if offset is None:
            offset = self.function.parameters[self._index(p)][0]
        read = decode(DECODED[self._scalar(p)], launch.parameters[offset : offset + p.size])
        return float(read) if isinstance(read, int | float) else float("nan")

    def _launched(self, number: int, one: Taken, contents: Mapping[str, Content]) -> Launched:
        raw = {}
        for p, (offset, size) in zip(self.parameters, self.function.parameters, strict=True):
            if p.role == "bytes":
                content = bytearray(one.launch.parameters[offset : offset + size])
                for pointer in (x for x in self.pointers[number] if x.parameter == p.name):
                    content[pointer.at : pointer.at + 8] = bytes(8)
                raw[p.name] = content.hex()
        return Launched(
            grid=one.launch.grid, block=one.launch.block, cluster=one.launch.cluster,
            dynamic_bytes=one.launch.dynamic_bytes, contents=dict(contents), pointers=self.pointers[number], raw=raw,
            p50_s=one.configuration.p50_s, launches=one.configuration.launches,
        )  # fmt: skip

    def _workload(
        self, number: int, one: Taken, launched: Launched, dtypes: Mapping[str, Dtype], scalars: dict[str, float]
    ) -> Workload:
        geometry = zip(GEOMETRY, (*launched.grid, *launched.block), strict=True)
        held = {n: launched.contents[n].bytes if n in launched.contents else 0 for n in self.buffers}
        said = "x".join(map(str, one.launch.grid)) + " of " + "x".join(map(str, one.launch.block))
        speed = "" if one.configuration.speed == "all" else f", {one.configuration.speed}"
        numbers = {n: v for n, v in self.words(number).items() if n not in {p.name for p in self.parameters}}
        return Workload(
            name=f"{number}: grid {said}{speed}"[:80],
            axes={
                CAPTURE: number, **dict(geometry), SHARED: launched.dynamic_bytes, TRAFFIC: self._traffic(one),
                **numbers, **{f"n_{n}": size // dtypes[n].itemsize for n, size in held.items()},
            },
            scalars=scalars,
            weight=max(one.configuration.seconds, 1e-12),
        )  # fmt: skip

    def _traffic(self, one: Taken) -> int:
        """Bytes that the launch certainly wrote: those that differ afterwards."""
        count = 0
        for snapshot in one.before:
            if (after := one.changed(snapshot)) is not None:
                pair = [np.frombuffer(one.content(s), np.uint8) for s in (snapshot, after)]
                count += int(np.count_nonzero(pair[0] != pair[1]))
        return max(1, count)


def _free(name: str) -> str:
    """A name that is no axis of ours."""
    taken = {CAPTURE, TRAFFIC, SHARED, *DEVICE_FACTS, *GEOMETRY}
    return f"{name}_" if name in taken or name.startswith("n_") else name


def _finite(value: float) -> bool:
    return value == value and abs(value) < 2**53
