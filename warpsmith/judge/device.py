"""The device contract: kernels launched by a trusted process, over device memory that the judge owns.

Owns the launchers' lives and what is asked of them; memory.py owns the buffers. The oracle and its outputs
live in the judge's own context, which no launcher maps.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from warpsmith.judge.failures import CandidateFailed, WorkerLost
from warpsmith.judge.launching import PROFILED, Confined, LauncherProcess, confined
from warpsmith.judge.memory import BLOCK, Arena, Memory, numeric
from warpsmith.judge.numeric import Array
from warpsmith.judge.plan import Plan, make_plan
from warpsmith.model.candidate import Candidate
from warpsmith.model.target import Target
from warpsmith.model.task import KernelTask, Role, Workload
from warpsmith.sandbox import layers
from warpsmith.toolchains.cache import Built

SMALLEST_FLUSH = 128 << 20
START_S = 60.0
"""Longest time for a launcher to make its context, and for it to load the cubin."""
SPARES = 3
"""Launchers that a session keeps ready between measurements, for two sides and a baseline: a context takes 0.16 to
0.36 s to make."""
_spares: list[LauncherProcess] = []


class DeviceBench:
    """What the device contract needs beside the candidates. Launchers write no files: ``scratch`` stays empty."""

    def __init__(self, task: KernelTask, target: Target, scratch: Path, *, cold: bool, timeout_s: float) -> None:
        self.task = task
        self.target = target
        self.cold = cold
        self.timeout_s = timeout_s
        self.numeric = numeric()
        self.memory = Memory()
        self.memory.probe()
        self.flush_bytes = max(SMALLEST_FLUSH, 2 * target.facts.get("L2_BYTES", 0)) if cold else 0
        self._copier: Copier | None = None
        self._leaving: list[LauncherProcess] = []
        self._left: list[Arena] = []
        self.confined = self._confine()

    @property
    def conditions(self) -> tuple[str, ...]:
        """What a reader of the evidence must know."""
        cold = f"cache: cold ({self.flush_bytes >> 20} MiB written before every timed call)"
        return (
            cold if self.cold else "cache: warm",
            "clock: CUDA events in the trusted launcher",
            f"sandbox: no candidate host code; compilers by {layers().said}; launchers: {self.confined.said}",
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

    def copy(self, workload: int) -> tuple[float, int, str]:
        """A trusted copy of the workload's traffic by the driver, under the same flush and clock."""
        if self._copier is None:
            self._copier = Copier(self)
        return self._copier.copy(workload)

    def launcher(self) -> LauncherProcess:
        """A launcher on the judge's device: a spare one, or one that is not ready yet."""
        while _spares:
            spare = _spares.pop()
            if spare.alive:
                return spare
            self.leave(spare)
        return self._spawn()

    def load(self, process: LauncherProcess, binary: Path | None, kernels: list[str]) -> dict[str, dict[str, int]]:
        """Wait for ``process`` and have it load a cubin; facts of its kernels. Raises as LauncherProcess.wait does."""
        process.wait("ready", START_S, "at the start of the launcher")
        said = {"do": "load", "binary": process.carry(binary), "kernels": kernels, "flush_bytes": self.flush_bytes}
        loaded = process.ask(said, "loaded", START_S, "while the kernel was loaded")
        keys = ("registers", "stack_bytes", "shared_bytes")
        return {str(kernel): {key: int(facts[key]) for key in keys} for kernel, facts in loaded.items()}

    def leave(self, process: LauncherProcess, arenas: Iterable[Arena] = ()) -> None:
        """End a launcher now, and reap it and free what it mapped by the end of the measurement."""
        process.kill()
        self._leaving.append(process)
        self._left += arenas

    def close(self) -> None:
        """Reap every launcher, free what they had mapped, and start spare ones for the next measurement."""
        if self._copier is not None:
            self.leave(self._copier.process)
        for process in self._leaving:
            process.stop()
        for arena in self._left:
            arena.close()
        self._leaving, self._left = [], []
        while len(_spares) < SPARES:
            _spares.append(self._spawn())

    def _spawn(self) -> LauncherProcess:
        return LauncherProcess(self._config(), how=self.confined.how)

    def _config(self) -> dict[str, Any]:
        paths = [p for p in sys.path if os.path.isabs(p) and (Path(p) / "cuda").is_dir()]
        return {"paths": paths, "uuid": self.memory.uuid}

    def _confine(self) -> Confined:
        """The layers that launchers work under here."""
        address = self.memory.allocate(BLOCK)
        try:
            return confined(self._config(), self.memory.handle(address), START_S)
        finally:
            self.memory.free(address)


class DeviceRunner:
    """One candidate in a launcher, with an arena per workload of ``task``, made when first called."""

    def __init__(
        self, bench: DeviceBench, task: KernelTask, candidate: Candidate, built: Built, shift: int = 0
    ) -> None:
        self.bench = bench
        self.task = task
        self.shift = shift
        self.candidate = candidate
        self.built = built
        self._plans: list[Plan] = []
        self._arenas: dict[int, Arena] = {}
        self._process: LauncherProcess | None = None
        self._loaded = False
        self._prepared: set[int] = set()
        self._kernels: dict[str, dict[str, int]] = {}

    def restart(self) -> None:
        """Spawn a fresh launcher; the first call waits for it. Raises CandidateFailed for an impossible launch plan."""
        bench = self.bench
        self._plans = [make_plan(self.task, w, self.candidate, bench.target) for w in self.task.workloads]
        self._stop()
        self._process = bench.launcher()

    def call(self, workload: int, inputs: dict[str, Array], *, timed: bool) -> float:
        """One call on fresh inputs from poisoned outputs; seconds between two events of the launcher.

        Raises CandidateFailed (also where a guard band or an input was written) or WorkerLost.
        """
        arena = self._arenas.get(workload)
        if arena is None:
            arena = Arena(self.bench.memory, self.task, self.task.workloads[workload], self.shift)
            self._arenas[workload] = arena
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
        """End the launcher; the bench gives back the memory once it is gone."""
        self._stop(self._arenas.values())
        self._arenas.clear()

    def _launch(self, workload: int, arena: Arena, *, timed: bool) -> float:
        process = self._process
        assert process is not None, "restart comes first"
        during = f"during workload {self.task.workloads[workload].name!r}"
        if not self._loaded:
            names = sorted({launch.kernel for launch in self.candidate.launch})
            self._kernels = self.bench.load(process, self.built.binary, names)
            self._loaded = True
        if workload not in self._prepared:
            plan = self._plans[workload]
            message = {
                "do": "prepare",
                "workload": workload,
                "buffers": {name: (b.handle, b.offset) for name, b in arena.buffers.items()},
                "scratch": plan.scratch,
                "launches": [launch.said() for launch in plan.launches],
            }
            process.ask(message, "prepared", START_S, f"before workload {self.task.workloads[workload].name!r}")
            self._prepared.add(workload)
        self.bench.memory.numeric.torch.cuda.synchronize()
        return process.seconds({"do": "call", "workload": workload, "timed": timed}, self.bench.timeout_s, during)

    def _stop(self, arenas: Iterable[Arena] = ()) -> None:
        process, self._process = self._process, None
        self._loaded = False
        self._prepared.clear()
        if process is not None:
            self.bench.leave(process, arenas)


class Copier:
    """A trusted launcher without a candidate that copies: what the memory of this device gives under the same clock."""

    def __init__(self, bench: DeviceBench) -> None:
        self.halves = [max(1, bench.task.traffic(w) // 2) for w in bench.task.workloads]
        self.timeout_s = bench.timeout_s
        self.process = bench.launcher()
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
            seconds = self.process.seconds(message, self.timeout_s, "during a copy")
        except CandidateFailed as failure:
            raise WorkerLost(f"the copy failed: {failure.detail}") from None
        return seconds, 2 * half, "cuMemcpyDtoD"
