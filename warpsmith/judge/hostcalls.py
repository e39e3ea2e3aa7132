"""The calls of one candidate under the host contract: its worker's life, and what that is told of its arenas."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warpsmith.judge.arena import Arena
from warpsmith.judge.failures import OUTPUT_LIMIT
from warpsmith.judge.native import serve_loop
from warpsmith.judge.numeric import Array
from warpsmith.judge.working import WorkerProcess
from warpsmith.model.candidate import Candidate
from warpsmith.model.head import Workload
from warpsmith.model.task import KernelTask, Role
from warpsmith.sandbox import layers
from warpsmith.sandbox.cell import Cell
from warpsmith.toolchains.cache import Built

if TYPE_CHECKING:
    from warpsmith.judge.host import HostBench

START_S = 30.0
"""Longest time for a worker to load a candidate."""
MEMORY = 8 << 30
"""Address space of a worker beyond its shared buffers, in bytes."""


class HostRunner:
    """One candidate in a worker, with an arena per workload of ``task``."""

    def __init__(
        self, bench: HostBench, task: KernelTask, arenas: list[Arena], candidate: Candidate, built: Built, folder: Path
    ) -> None:
        self.bench = bench
        self.task = task
        self.candidate = candidate
        self.built = built
        self.folder = folder
        self.scratch = bench.worker_folder()
        self.serve = None
        if candidate.toolchain == "c":
            self.serve = serve_loop(task, self.scratch, bench.target, bench.cache)
        self.arenas = arenas
        self.worker: WorkerProcess | None = None
        self._disturbed = ""

    def restart(self) -> None:
        """A fresh worker process on the same arenas. Raises CandidateFailed where it cannot load the candidate."""
        self.stop()
        self.scratch.mkdir(parents=True, exist_ok=True)
        printed = os.open(self.scratch / "printed", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        self.worker = WorkerProcess(self._configured, layers().how, printed)
        self.worker.load(START_S)

    def call(self, workload: int, inputs: dict[str, Array], *, timed: bool) -> float:
        """One call on fresh inputs; returns the seconds from revealing the inputs to the worker's answer.

        Raises CandidateFailed (also where the outputs' surroundings or the inputs were written) or WorkerLost.
        """
        arena = self.arenas[workload]
        arena.reveal(inputs)
        seconds = self.clocked(workload, evict=timed)
        arena.check(inputs, self.bench.numeric)
        return seconds

    def clocked(self, workload: int, *, evict: bool) -> float:
        """One call on whatever lies in the arena; seconds. The judge waits on the worker's own core."""
        bench = self.bench
        os.sched_setaffinity(0, {bench.core})
        try:
            if not evict:
                return self.answered(workload)
            bench.evict(self.arenas[workload])
            bench.watch.begin()
            bench.warm_up()
            seconds = self.answered(workload, settle=True)
            self._disturbed = bench.watch.end(seconds, bench.clock.lost_s)
            return seconds
        finally:
            os.sched_setaffinity(0, bench.cores)

    def disturbed(self) -> str:
        """Why the time of the last timed call cannot be trusted: others had the core. Empty where it can."""
        return self._disturbed

    def kernels(self) -> dict[str, dict[str, int]]:
        """Nothing: host code has no kernels."""
        return {}

    def outputs(self, workload: int) -> dict[str, Array]:
        """Views of the outputs of the last call."""
        arena = self.arenas[workload]
        return {n: arena.views[n] for n, r in arena.regions.items() if r.argument.role is Role.output}

    def stop(self) -> None:
        """End the worker and everything in its sandbox. Raises WorkerLost where it does not go."""
        worker, self.worker = self.worker, None
        if worker is not None:
            worker.stop()

    def close(self) -> None:
        """End the worker."""
        self.stop()

    def answered(self, workload: int, *, settle: bool = False) -> float:
        """Let the worker go, with ``settle`` just after a timer tick; wait for its answer, and stop it; seconds in
        between.
        """
        assert self.worker is not None, "restart comes first"
        during = f"during workload {self.task.workloads[workload].name!r}"
        took = self.worker.clocked(self.bench.clock, workload, self.bench.timeout_s, during, settle=settle)
        self.worker.freeze(during)
        return took / 1e9

    def _configured(self, commands: int, answers: int) -> Cell:
        """The worker's program, with its configuration beside it."""
        config = self.scratch / "config.json"
        config.write_text(json.dumps(self._config(commands, answers)))
        return self._cell(config, (commands, answers, *dict.fromkeys(a.descriptor for a in self.arenas)))

    def _cell(self, config: Path, keep: tuple[int, ...]) -> Cell:
        """The worker's program, and what it sees of this machine's files."""
        program = Path(__file__).with_name("worker.py")
        isolated = ("-I",) if self.serve is None else ("-I", "-S")
        loaded = (self.folder,) if self.serve is None else (self.built.binary, self.serve.binary)
        return Cell(
            argv=(sys.executable, *isolated, str(program), str(config)),
            environment=_environment(),
            reads=(program, config, *loaded),
            keep=keep,
            core=self.bench.core,
            memory_bytes=sum(a.size for a in self.arenas) + MEMORY,
            limits={
                "RLIMIT_FSIZE": OUTPUT_LIMIT,
                "RLIMIT_NOFILE": 64 + len(self.arenas),
                "RLIMIT_AS": sum(a.size for a in self.arenas) + MEMORY,
            },
        )

    def _config(self, commands: int, answers: int) -> dict[str, Any]:
        task = self.task
        return {
            "language": self.candidate.toolchain,
            "binary": str(self.built.binary),
            "serve": str(self.serve.binary) if self.serve else None,
            "module": str(self.folder / self.candidate.sources[0].path),
            "entry": self.candidate.entry,
            "commands": commands,
            "answers": answers,
            "workloads": [
                {"descriptor": a.descriptor, "size": a.size, "arguments": _arguments(task, w, a)}
                for w, a in zip(task.workloads, self.arenas, strict=True)
            ],
        }


def _arguments(task: KernelTask, workload: Workload, arena: Arena) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    for argument in task.arguments:
        if argument.is_tensor:
            region = arena.regions[argument.name]
            said.append({"offset": region.offset, "shape": region.shape, "dtype": argument.element.value})
        elif argument.role is Role.axis:
            said.append({"value": workload.axes[argument.name], "dtype": "i64"})
        else:
            value = task.scalar(argument, workload)
            assert value is not None  # the task's own validation
            whole = not argument.element.is_float
            said.append({"value": int(value) if whole else value, "dtype": argument.element.value})
    return said


def _environment() -> dict[str, str]:
    """Nothing of ours but the search path; BLAS libraries keep to one thread, as the task does."""
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", **threads}
