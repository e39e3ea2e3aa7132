"""The device contract: kernels launched by a trusted process, over device memory that the judge owns.

Owns the launchers' lives and what is asked of them; memory.py owns the buffers. The oracle and its outputs
live in the judge's own context, which no launcher maps.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from warpsmith.judge.contract import SanitizedRunner
from warpsmith.judge.failures import CandidateFailed, WorkerLost
from warpsmith.judge.gpu import SPARES, gpu
from warpsmith.judge.launching import PROFILED, LauncherProcess
from warpsmith.judge.memory import Arena, flush_bytes
from warpsmith.judge.numeric import Array
from warpsmith.judge.plan import Plan, make_plan, to_load
from warpsmith.judge.pool import READY_S
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Effort
from warpsmith.model.head import Workload
from warpsmith.model.target import Target
from warpsmith.model.task import KernelTask, Role
from warpsmith.sandbox import layers
from warpsmith.toolchains import spare
from warpsmith.toolchains.cache import Built

START_S = 60.0
"""Longest time for a launcher to load a cubin."""
LARGEST_IDLE_SCRATCH = 1 << 30
"""A launcher with more scratch memory than this is ended at once, not kept until nothing is timed any more."""


class DeviceBench:
    """What the device contract needs beside the candidates. Launchers write no files but the reports of tools."""

    def __init__(
        self,
        task: KernelTask,
        target: Target,
        scratch: Path,
        cache: Path,
        *,
        cold: bool,
        timeout_s: float,
        effort: Effort = Effort.screen,
    ) -> None:
        self.task = task
        self.target = target
        self.cold = cold
        self.timeout_s = timeout_s
        self.scratch, self.cache = scratch, cache
        self.gpu = gpu(target, cache)
        self.memory, self.pool, self.health = self.gpu.memory, self.gpu.pool, self.gpu.health
        self.numeric = self.memory.numeric
        self.confined = self.gpu.confined
        self.memory.probe()
        self.health.begin()
        spare.ahead()
        if effort.fresh:
            self.pool.expect(2 * effort.pairs + SPARES + 1, self.gpu.room)
        self.pool.reap()
        self.flush_bytes = flush_bytes(target) if cold else 0
        self._copier: Copier | None = None
        self._retired: list[LauncherProcess] = []

    @property
    def conditions(self) -> tuple[str, ...]:
        """What a reader of the evidence must know."""
        cold = f"cache: cold ({self.flush_bytes >> 20} MiB read before every timed call)"
        return (
            cold if self.cold else "cache: warm",
            f"clock: stamps of the device's own timer, watched from outside; {self.gpu.overhead_ns} ns taken off",
            f"sandbox: no candidate host code; compilers by {layers().said}; launchers: {self.confined.said}",
            *self.health.conditions,
            *(
                ("profiled: launchers inherit the environment; times are not to be used",)
                if PROFILED in os.environ
                else ()
            ),
        )

    def start(
        self, candidate: Candidate, built: Built, folder: Path, hidden: tuple[Workload, ...] | None = None
    ) -> DeviceRunner:
        """A runner without a launcher yet; see :meth:`DeviceRunner.restart`. Buffers of ``hidden`` workloads are
        aligned to what the task declares and to no more.
        """
        if hidden is None:
            return DeviceRunner(self, self.task, candidate, built)
        task = self.task.model_copy(update={"workloads": hidden})
        return DeviceRunner(self, task, candidate, built, task.alignment)

    def sanitized(
        self, candidate: Candidate, built: Built, folder: Path, workloads: tuple[Workload, ...], tools: tuple[str, ...]
    ) -> Iterator[SanitizedRunner]:
        """A runner under each tool of compute-sanitizer. Raises Missing where that is not there."""
        from warpsmith.judge.sanitize_device import sanitized

        return sanitized(self, candidate, built, workloads, tools)

    def plan(self, task: KernelTask, workload: Workload, candidate: Candidate, built: Built) -> Plan:
        """A candidate's launches in numbers. Raises CandidateFailed for an impossible one."""
        return make_plan(task, workload, candidate, self.target, built.build.kernels)

    def layout(self, task: KernelTask, workload: Workload, arena: Arena) -> dict[str, Any]:
        """Where a launcher finds what the launches name."""
        return {"buffers": {name: (b.handle, b.offset) for name, b in arena.buffers.items()}}

    def exact(self, task: KernelTask, arena: Arena) -> dict[str, tuple[int, bool, bool]]:
        """Of each buffer its bytes, whether a call reads what the judge put there, and whether it gives it back: what a
        launcher needs to give kernels copies of exactly that size (exact.py).
        """
        writes = {name: b.argument.role is Role.output for name, b in arena.buffers.items()}
        return {name: (len(b.bytes), not writes[name], writes[name]) for name, b in arena.buffers.items()}

    def copy(self, workload: int) -> tuple[float, int, str]:
        """A trusted copy of the workload's traffic by the driver, under the same flush and clock."""
        if self._copier is None:
            self._copier = Copier(self)
        return self._copier.copy(workload)

    def load(
        self, process: LauncherProcess, binary: Path | None, kernels: list[dict[str, Any]]
    ) -> dict[str, dict[str, int]]:
        """Wait for ``process`` and have it load a cubin; facts of its kernels. Raises as LauncherProcess.wait does."""
        process.ready(READY_S)
        said = {"do": "load", "binary": process.carry(binary), "kernels": kernels, "flush_bytes": self.flush_bytes}
        said["overhead_ns"] = self.gpu.overhead_ns
        loaded = process.ask(said, "loaded", START_S, "while the kernel was loaded")
        keys = ("registers", "stack_bytes", "shared_bytes")
        return {str(kernel): {key: int(facts[key]) for key in keys} for kernel, facts in loaded.items()}

    def retire(self, process: LauncherProcess, scratch: int) -> None:
        """A launcher that is not needed any more: ending it beside timed calls would disturb them, so it idles."""
        if scratch > LARGEST_IDLE_SCRATCH:
            self.pool.leave(process)
        else:
            self._retired.append(process)

    def close(self) -> None:
        """End every launcher of this measurement, and start those of the next; nothing is waited for."""
        if self._copier is not None:
            self.pool.leave(self._copier.process)
        for process in self._retired:
            self.pool.leave(process)
        self._retired = []
        self.pool.rest(SPARES)


class DeviceRunner:
    """One candidate in a launcher, with an arena per workload of ``task``, made when first called."""

    exact = False
    """Whether kernels are given copies of exactly the tensors' size."""

    def __init__(
        self, bench: DeviceBench, task: KernelTask, candidate: Candidate, built: Built, shift: int = 0
    ) -> None:
        self.timeout_s = bench.timeout_s
        self.bench = bench
        self.task = task
        self.shift = shift
        self.candidate = candidate
        self.built = built
        self._plans: list[Plan] = []
        self._arenas: dict[int, Arena] = {}
        self._process: LauncherProcess | None = None
        self._loaded = False
        self._disturbed = ""
        self._prepared: set[int] = set()
        self._kernels: dict[str, dict[str, int]] = {}

    def restart(self) -> None:
        """Spawn a fresh launcher; the first call waits for it. Raises CandidateFailed for an impossible launch plan."""
        bench = self.bench
        self._plans = [bench.plan(self.task, w, self.candidate, self.built) for w in self.task.workloads]
        if (before := self._let_go()) is not None:
            bench.retire(before, max((sum(p.scratch.values()) for p in self._plans), default=0))
        self._process = self._launcher()

    def call(self, workload: int, inputs: dict[str, Array], *, timed: bool) -> float:
        """One call on fresh inputs from poisoned outputs; seconds between the two stamps of the launcher's clock.

        Raises CandidateFailed (also where a guard band or an input was written) or WorkerLost.
        """
        arena = self._arenas.get(workload)
        if arena is None:
            arena = Arena(self.bench.memory, self.task, self.task.workloads[workload], self.shift)
            self._arenas[workload] = arena
        arena.reveal(inputs)
        before = self._look(timed)
        try:
            seconds, in_doubt = self._launch(workload, arena, timed=timed)
        except (CandidateFailed, WorkerLost):
            if self._process is None or self._process.ended:
                self.bench.health.suspect = True
                self.bench.memory.probe()
            raise
        if timed:
            self._disturbed = in_doubt or before or self._look(timed)
        arena.check(inputs)
        return seconds

    def disturbed(self) -> str:
        """Why the time of the last timed call cannot be trusted, empty where it can."""
        return self._disturbed

    def outputs(self, workload: int) -> dict[str, Array]:
        """Views of the outputs of the last call."""
        buffers = self._arenas[workload].buffers
        return {name: b.values for name, b in buffers.items() if b.argument.role is Role.output}

    def kernels(self) -> dict[str, dict[str, int]]:
        """Registers, stack and static shared memory as the driver reports them, once a launcher was ready."""
        return self._kernels

    def close(self) -> None:
        """End the launcher; the memory is given back once everything that mapped it is gone."""
        if (process := self._let_go()) is not None:
            self.bench.pool.leave(process)
        self.bench.pool.left += self._arenas.values()
        self._arenas.clear()

    def _look(self, timed: bool) -> str:
        """Before and after a timed call: nothing starts or ends beside it, and the clocks are what they should be."""
        if not timed:
            return ""
        self.bench.pool.settle()
        return self.bench.health.look()

    def _launch(self, workload: int, arena: Arena, *, timed: bool) -> tuple[float, str]:
        process = self._process
        assert process is not None, "restart comes first"
        during = f"during workload {self.task.workloads[workload].name!r}"
        if not self._loaded:
            self._kernels = self.bench.load(process, self.built.binary, to_load(self.candidate, self.built.build))
            self._loaded = True
        if workload not in self._prepared:
            plan = self._plans[workload]
            message = {
                "do": "prepare",
                "workload": workload,
                **self.bench.layout(self.task, self.task.workloads[workload], arena),
                "scratch": plan.scratch,
                "launches": [launch.said() for launch in plan.launches],
            }
            if self.exact:
                message["exact"] = self.bench.exact(self.task, arena)
            process.ask(message, "prepared", START_S, f"before workload {self.task.workloads[workload].name!r}")
            self._prepared.add(workload)
        self.bench.memory.numeric.torch.cuda.synchronize()
        return process.measured({"do": "call", "workload": workload, "timed": timed}, self.timeout_s, during)

    def _launcher(self) -> LauncherProcess:
        return self.bench.pool.take()

    def _let_go(self) -> LauncherProcess | None:
        process, self._process = self._process, None
        self._loaded = False
        self._prepared.clear()
        return process


class Copier:
    """A trusted launcher without a candidate that copies: what the memory of this device gives under the same clock."""

    def __init__(self, bench: DeviceBench) -> None:
        self.halves = [max(1, bench.task.traffic(w) // 2) for w in bench.task.workloads]
        self.timeout_s = bench.timeout_s
        self.process = bench.pool.take()
        try:
            bench.load(self.process, None, [])
            for index in range(len(self.halves)):
                self.copy(index)
        except CandidateFailed as failure:
            raise WorkerLost(f"the copy failed: {failure.detail}") from None

    def copy(self, workload: int) -> tuple[float, int, str]:
        """Seconds, bytes read plus written, and how. Raises WorkerLost."""
        half = self.halves[workload]
        message = {"do": "copy", "bytes": half, "most": max(self.halves)}
        try:
            seconds, _ = self.process.measured(message, self.timeout_s, "during a copy")
        except CandidateFailed as failure:
            raise WorkerLost(f"the copy failed: {failure.detail}") from None
        return seconds, 2 * half, "cuMemcpyDtoD"
