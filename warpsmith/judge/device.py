"""The device contract: kernels launched by a trusted process, over device memory that the judge owns.

Owns the buffers (guard bands, poison), their hand-over by CUDA IPC, and the launcher's life. The oracle and its outputs
live in the judge's own context, which no launcher maps.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from warpsmith.errors import WarpsmithError
from warpsmith.judge.failures import CandidateFailed, WorkerLost
from warpsmith.judge.launching import LauncherProcess
from warpsmith.judge.numeric import Array, TorchNumeric
from warpsmith.judge.plan import Plan, make_plan
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Status
from warpsmith.model.target import Target
from warpsmith.model.task import Argument, KernelTask, Role, Workload
from warpsmith.toolchains.cache import Built

BAND = 64 << 10
"""Least bytes of the guard band on either side of a tensor."""
BLOCK = 2 << 20
"""Granularity of device allocations. CUDA IPC shares whole blocks, so every buffer is whole blocks: a launcher never
sees a neighbour of what it was given."""
GUARD = 0x5A
POISON = 0xFF
"""Byte that fills outputs before a call: NaN in every float format."""
SMALLEST_FLUSH = 128 << 20
START_S = 60.0
"""Longest time for a launcher to make its context and load the cubin."""


class ContextLost(RuntimeError):
    """The judge's own CUDA context no longer works. Nobody catches it: the session ends; the next has another."""


@lru_cache(maxsize=1)
def numeric() -> TorchNumeric:
    """PyTorch on the judge's device, imported once for a session."""
    made = TorchNumeric()
    made.torch.zeros(1, device=made.device).item()
    return made


class Memory:
    """Device memory of the judge by address, in the primary context that torch uses."""

    def __init__(self) -> None:
        from cuda.bindings import driver

        self.cu = driver
        self.numeric = numeric()
        self.device = self.ask(driver.cuDeviceGet, self.numeric.torch.cuda.current_device())
        self.ask(driver.cuCtxSetCurrent, self.ask(driver.cuDevicePrimaryCtxRetain, self.device))
        self.uuid = bytes(self.ask(driver.cuDeviceGetUuid, self.device).bytes).hex()

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a driver function; its value. Raises WarpsmithError with the driver's name of the error."""
        status, *values = function(*arguments)
        if int(status) != 0:
            raise WarpsmithError(f"{getattr(function, '__name__', function)} gave {status.name}.")
        return values[0] if values else None

    def allocate(self, size: int) -> int:
        """The address of ``size`` bytes. torch's unused blocks are given up before it fails with WarpsmithError."""
        status, address = self.cu.cuMemAlloc(size)
        if status == self.cu.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
            self.numeric.torch.cuda.empty_cache()
            address = self.ask(self.cu.cuMemAlloc, size)
        elif int(status) != 0:
            raise WarpsmithError(f"cuMemAlloc of {size} bytes gave {status.name}.")
        return int(address)

    def free(self, address: int) -> None:
        """Give memory back; in a broken context it is gone already."""
        with contextlib.suppress(WarpsmithError):
            self.ask(self.cu.cuMemFree, address)

    def handle(self, address: int) -> str:
        """What another process opens the allocation by, in hexadecimal."""
        return bytes(self.ask(self.cu.cuIpcGetMemHandle, address).reserved).hex()

    def view(self, address: int, size: int) -> Array:
        """The memory as a tensor of bytes, without a copy."""
        return self.numeric.torch.as_tensor(_Interface(address, size), device=self.numeric.device)

    def probe(self) -> None:
        """Raise ContextLost unless the judge's own context still computes."""
        torch = self.numeric.torch
        try:
            two = torch.ones(1, device=self.numeric.device).mul_(2).item()
        except RuntimeError as error:
            raise ContextLost(f"the judge's CUDA context is lost: {error}") from error
        if two != 2:
            raise ContextLost(f"the judge's CUDA context is lost: 1 * 2 gave {two}")


class _Interface:
    """Device memory under the protocol that torch takes without a copy."""

    def __init__(self, address: int, size: int) -> None:
        self.__cuda_array_interface__ = {
            "shape": (size,), "typestr": "|u1", "data": (address, False), "version": 3,
        }  # fmt: skip


class Buffer:
    """One tensor between two guard bands, in an allocation of its own."""

    def __init__(self, memory: Memory, argument: Argument, shape: tuple[int, ...]) -> None:
        self.argument = argument
        data = math.prod(shape) * argument.element.itemsize
        size = -(-(BAND + data + BAND) // BLOCK) * BLOCK
        self.address = memory.allocate(size)
        self.handle = memory.handle(self.address)
        whole = memory.view(self.address, size)
        whole.fill_(GUARD)
        self.bytes = whole[BAND : BAND + data]
        self.values = self.bytes.view(memory.numeric.dtype(argument.element)).reshape(shape)
        self.bands = (whole[:BAND], whole[BAND + data :])


class Arena:
    """The buffers of one side for one workload."""

    def __init__(self, memory: Memory, task: KernelTask, workload: Workload) -> None:
        self.memory = memory
        self.buffers: dict[str, Buffer] = {}
        try:
            for argument in task.arguments:
                if argument.is_tensor:
                    self.buffers[argument.name] = Buffer(memory, argument, argument.extent(workload.axes))
        except WarpsmithError:
            self.close()
            raise

    def reveal(self, inputs: dict[str, Array]) -> None:
        """Fresh inputs in, outputs poisoned; enqueued only."""
        for name, buffer in self.buffers.items():
            if buffer.argument.role is Role.input:
                buffer.values.copy_(inputs[name])
            else:
                buffer.bytes.fill_(POISON)

    def check(self, inputs: dict[str, Array]) -> None:
        """Raise CandidateFailed where a guard band or an input was written. One wait for the device in all."""
        torch = self.memory.numeric.torch
        found: list[tuple[CandidateFailed, Array]] = []
        for name, buffer in self.buffers.items():
            outside = CandidateFailed(Status.wrong_values, f"it wrote out of bounds of {name!r} (a guard band changed)")
            found += [(outside, (band == GUARD).all()) for band in buffer.bands]
            if buffer.argument.role is Role.input:
                given = inputs[name].reshape(-1).view(torch.uint8)
                width = torch.int64 if len(given) % 8 == 0 and given.data_ptr() % 8 == 0 else torch.uint8
                same = (buffer.bytes.view(width) == given.view(width)).all()
                found.append((CandidateFailed(Status.cheated, f"it changed its input {name!r}"), same))
        kept = torch.stack([flag for _, flag in found]).tolist()
        for (failure, _), held in zip(found, kept, strict=True):
            if not held:
                raise failure

    def close(self) -> None:
        """Give the memory back; views must not be used afterwards."""
        for buffer in self.buffers.values():
            self.memory.free(buffer.address)
        self.buffers.clear()


class DeviceBench:
    """What the device contract needs beside the candidates."""

    def __init__(self, task: KernelTask, target: Target, scratch: Path, *, cold: bool, timeout_s: float) -> None:
        self.task = task
        self.target = target
        self.scratch = scratch
        self.cold = cold
        self.timeout_s = timeout_s
        self.numeric = numeric()
        self.memory = Memory()
        self.memory.probe()
        self.flush_bytes = max(SMALLEST_FLUSH, 2 * target.facts.get("L2_BYTES", 0)) if cold else 0
        self._count = 0
        self._copier: Copier | None = None

    @property
    def conditions(self) -> tuple[str, ...]:
        """What a reader of the evidence must know."""
        cold = f"cache: cold ({self.flush_bytes >> 20} MiB written before every timed call)"
        return (
            cold if self.cold else "cache: warm",
            "clock: CUDA events in the trusted launcher",
            "sandbox: no candidate host code; the launcher is a process of its own with resource limits",
        )

    def start(self, candidate: Candidate, built: Built, folder: Path) -> DeviceRunner:
        """A runner without a launcher yet; see :meth:`DeviceRunner.restart`."""
        return DeviceRunner(self, candidate, built)

    def copy(self, workload: int) -> tuple[float, int, str]:
        """A trusted copy of the workload's traffic by the driver, under the same flush and clock."""
        if self._copier is None:
            self._copier = Copier(self)
        return self._copier.copy(workload)

    def launcher(self, binary: Path | None, kernels: list[str]) -> LauncherProcess:
        """A launcher on the judge's device, spawned but not yet ready."""
        self._count += 1
        config = {
            "paths": [p for p in sys.path if os.path.isabs(p) and (Path(p) / "cuda").is_dir()],
            "uuid": self.memory.uuid,
            "flush_bytes": self.flush_bytes,
            "binary": str(binary) if binary else "",
            "kernels": kernels,
        }
        return LauncherProcess(self.scratch / f"launcher-{self._count}", config)

    def close(self) -> None:
        """End the copier."""
        if self._copier is not None:
            self._copier.process.stop()


class DeviceRunner:
    """One candidate in a launcher, with an arena per workload, made when first called."""

    def __init__(self, bench: DeviceBench, candidate: Candidate, built: Built) -> None:
        self.bench = bench
        self.task = bench.task
        self.candidate = candidate
        self.built = built
        self._plans: list[Plan] = []
        self._arenas: dict[int, Arena] = {}
        self._process: LauncherProcess | None = None
        self._ready = False
        self._prepared: set[int] = set()
        self._kernels: dict[str, dict[str, int]] = {}

    def restart(self) -> None:
        """Spawn a fresh launcher; the first call waits for it. Raises CandidateFailed for an impossible launch plan."""
        bench = self.bench
        self._plans = [make_plan(self.task, w, self.candidate, bench.target) for w in self.task.workloads]
        self._stop()
        names = sorted({launch.kernel for launch in self.candidate.launch})
        self._process = bench.launcher(self.built.binary, names)

    def call(self, workload: int, inputs: dict[str, Array], *, timed: bool) -> float:
        """One call on fresh inputs from poisoned outputs; seconds between two events of the launcher.

        Raises CandidateFailed (also where a guard band or an input was written) or WorkerLost.
        """
        arena = self._arenas.get(workload)
        if arena is None:
            arena = self._arenas[workload] = Arena(self.bench.memory, self.task, self.task.workloads[workload])
        arena.reveal(inputs)
        try:
            seconds = self._launch(workload, arena, timed=timed)
        except CandidateFailed:
            if self._process is None or self._process.ended:
                self.bench.memory.probe()
            raise
        arena.check(inputs)
        return seconds

    def outputs(self, workload: int) -> dict[str, Array]:
        """Views of the outputs of the last call."""
        buffers = self._arenas[workload].buffers
        return {name: b.values for name, b in buffers.items() if b.argument.role is Role.output}

    def kernels(self) -> dict[str, dict[str, int]]:
        """Registers, stack and static shared memory as the driver reports them, once a launcher was ready."""
        return self._kernels

    def close(self) -> None:
        """End the launcher, then give back the memory that it had mapped."""
        self._stop()
        for arena in self._arenas.values():
            arena.close()
        self._arenas.clear()

    def _launch(self, workload: int, arena: Arena, *, timed: bool) -> float:
        process = self._process
        assert process is not None, "restart comes first"
        during = f"during workload {self.task.workloads[workload].name!r}"
        if not self._ready:
            self._kernels = _facts(process.wait("ready", START_S, "while the kernel was loaded"))
            self._ready = True
        if workload not in self._prepared:
            plan = self._plans[workload]
            message = {
                "do": "prepare",
                "workload": workload,
                "buffers": {name: (b.handle, BAND) for name, b in arena.buffers.items()},
                "scratch": plan.scratch,
                "launches": [launch.said() for launch in plan.launches],
            }
            process.ask(message, "prepared", START_S, f"before workload {self.task.workloads[workload].name!r}")
            self._prepared.add(workload)
        self.bench.memory.numeric.torch.cuda.synchronize()
        return process.seconds({"do": "call", "workload": workload, "timed": timed}, self.bench.timeout_s, during)

    def _stop(self) -> None:
        process, self._process = self._process, None
        self._ready = False
        self._prepared.clear()
        if process is not None:
            process.stop()


class Copier:
    """A trusted launcher without a candidate that copies: what the memory of this device gives under the same clock."""

    def __init__(self, bench: DeviceBench) -> None:
        self.halves = [max(1, bench.task.traffic(w) // 2) for w in bench.task.workloads]
        self.timeout_s = bench.timeout_s
        self.process = bench.launcher(None, [])
        try:
            self.process.wait("ready", START_S, "at its start")
            for index in range(len(self.halves)):
                self.copy(index)
        except CandidateFailed as failure:
            raise WorkerLost(f"the copy failed: {failure.detail}") from None

    def copy(self, workload: int) -> tuple[float, int, str]:
        """Seconds, bytes read plus written, and how. Raises WorkerLost."""
        half = self.halves[workload]
        message = {"do": "copy", "bytes": half, "most": max(self.halves)}
        try:
            seconds = self.process.seconds(message, self.timeout_s, "during a copy")
        except CandidateFailed as failure:
            raise WorkerLost(f"the copy failed: {failure.detail}") from None
        return seconds, 2 * half, "cuMemcpyDtoD"


def _facts(ready: Any) -> dict[str, dict[str, int]]:
    """What the launcher reports of the kernels, taken over key by key."""
    keys = ("registers", "stack_bytes", "shared_bytes")
    return {str(kernel): {key: int(facts[key]) for key in keys} for kernel, facts in ready.items()}
