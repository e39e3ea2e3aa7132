"""The host contract: a candidate in a worker process of its own, over shared memory that the judge owns.

Owns the clock around a call, the cold cache, and the worker's life; arena.py owns the layout of that memory.
Both sides of a pair use the same pages, since where pages lie moves a memory-bound time by more than most gains (up to
18 % seen between two buffers of one size). That is safe because a worker is stopped whenever it is not its turn:
it is let go after fresh inputs and poison are in place and the clock runs, and stopped again when it has answered.
"""

from __future__ import annotations

import json
import os
import select
import sys
from pathlib import Path
from typing import Any

import numpy as np

from warpsmith.judge.arena import Arena
from warpsmith.judge.contract import SanitizedRunner
from warpsmith.judge.failures import (
    OUTPUT_LIMIT,
    CandidateFailed,
    WorkerKilled,
    WorkerLost,
    death,
    ended_for_memory,
)
from warpsmith.judge.native import GONE, TIMED_OUT, UNASKED, Clock, Flush, serve_loop, waits_of
from warpsmith.judge.numeric import Array, NumpyNumeric
from warpsmith.judge.watch import Watch
from warpsmith.model.base import digest_bytes
from warpsmith.model.candidate import Candidate, SourceFile
from warpsmith.model.evaluation import Status
from warpsmith.model.target import Target
from warpsmith.model.task import Argument, Dtype, KernelTask, Role, Workload
from warpsmith.sandbox import layers
from warpsmith.sandbox.process import Cell, Process, start
from warpsmith.toolchains.cache import Built, build

START_S = 30.0
"""Longest time for a worker to load a candidate."""
MEMORY = 8 << 30
"""Address space of a worker beyond its shared buffers, in bytes."""
SMALLEST_EVICTION = 64 << 20
"""Bytes that are written before a timed call, to empty the caches of one core."""
PINGS = 3
"""Calls of a worker that does nothing, after the caches were evicted and before the clock."""


class HostBench:
    """What the host contract needs beside the candidates: pinning and the eviction buffer."""

    def __init__(
        self, task: KernelTask, target: Target, scratch: Path, cache: Path, *, cold: bool, timeout_s: float
    ) -> None:
        self.task = task
        self.numeric = NumpyNumeric()
        self.scratch = scratch
        self.cold = cold
        self.timeout_s = timeout_s
        self.cores = os.sched_getaffinity(0)
        self.core = max(self.cores)
        self.target = target
        self.cache = cache
        self.flush = Flush(target, cache)
        everything = max(SMALLEST_EVICTION, 2 * target.facts.get("L3_BYTES", 0))
        self.eviction = np.ones((SMALLEST_EVICTION if self.flush.works else everything) // 8, np.float64)
        self.clock = Clock(target, cache)
        self.watch = Watch(self.core)
        self.arenas = [Arena(task, w, self.numeric) for w in task.workloads]
        self._hidden: list[Arena] = []
        self._count = 0
        self._copier: Copier | None = None
        self._pinger: HostRunner | None = None

    @property
    def conditions(self) -> tuple[str, ...]:
        """What a reader of the evidence must know."""
        how = "tensors flushed and " if self.flush.works else ""
        cold = f"cache: cold ({how}{self.eviction.nbytes >> 20} MiB written before every timed call)"
        return (
            cold if self.cold else "cache: warm",
            f"pinned to one core ({self.core}); the clock runs in the judge, over two pipes",
            f"sandbox by {layers().said}",
            *self.watch.conditions,
        )

    def start(
        self, candidate: Candidate, built: Built, folder: Path, hidden: tuple[Workload, ...] | None = None
    ) -> HostRunner:
        """A runner without a worker yet; see :meth:`HostRunner.restart`. ``hidden`` workloads get arenas of their own,
        whose tensors are aligned to what the task declares and to no more.
        """
        if hidden is None:
            return HostRunner(self, self.task, self.arenas, candidate, built, folder)
        task = self.task.model_copy(update={"workloads": hidden})
        arenas = [Arena(task, w, self.numeric, task.alignment) for w in hidden]
        self._hidden += arenas
        return HostRunner(self, task, arenas, candidate, built, folder)

    def sanitized(
        self, candidate: Candidate, built: Built, folder: Path, workloads: tuple[Workload, ...], tools: tuple[str, ...]
    ) -> list[SanitizedRunner]:
        """One runner for both tools of C."""
        from warpsmith.judge.sanitize_host import SanitizedHostRunner

        task = self.task.model_copy(update={"workloads": workloads})
        return [SanitizedHostRunner(self, task, candidate, built, folder, tools)]

    def worker_folder(self) -> Path:
        """A working folder for one runner's processes."""
        self._count += 1
        return self.scratch / f"worker-{self._count}"

    def copy(self, workload: int) -> tuple[float, int, str]:
        """The faster of a plain and a streaming copy of the workload's traffic, by a trusted worker under the
        same clock.
        """
        if self._copier is None:
            self._copier = Copier(self)
        return self._copier.copy(workload)

    def close(self) -> None:
        """End the trusted workers and give back the memory; runners were closed before."""
        if self._pinger is not None:
            self._pinger.stop()
            self._pinger.arenas[0].close()
        if self._copier is not None:
            self._copier.close()
        for arena in (*self.arenas, *self._hidden):
            arena.close()
        self.clock.close()
        self.watch.close()

    def evict(self, arena: Arena) -> None:
        """Take the arena out of every cache, and replace the contents of those of the core that the worker shares with
        the judge right now. Where tensors cannot be flushed, enough is written to replace the last cache too.
        """
        if self.cold:
            self.flush.flush(arena.bytes.ctypes.data, arena.size)
            self.eviction += 1.0

    def warm_up(self) -> None:
        """After an eviction the kernel's path of a call is cold too: 40 us that are no candidate's doing. A trusted
        worker goes first.
        """
        if not self.cold:
            return
        if self._pinger is None:
            self._pinger = pinger(self)
        for _ in range(PINGS):
            self._pinger.answered(0)


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
        self._process: Process | None = None
        self._commands = self._answers = self._waits = -1
        self._lost_s = 0.0
        self._ended_for_memory = 0
        self._disturbed = ""

    def restart(self) -> None:
        """A fresh worker process on the same arenas. Raises CandidateFailed where it cannot load the candidate."""
        self.stop()
        self._ended_for_memory = ended_for_memory()
        self.scratch.mkdir(parents=True, exist_ok=True)
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        config = self.scratch / "config.json"
        config.write_text(json.dumps(self._config(commands, answers)))
        cell = self._cell(config, (commands, answers, *dict.fromkeys(a.descriptor for a in self.arenas)))
        with (self.scratch / "printed").open("wb") as printed:
            self._process = start(cell, layers().how, stdout=printed, stderr=printed)
        os.close(commands)
        os.close(answers)
        self._await(START_S, "while it was loaded")
        self._waits = waits_of(self._process.worker)
        self._freeze("after it was loaded")

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
            self._disturbed = bench.watch.end(seconds, self._lost_s)
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
        process, self._process = self._process, None
        if process is not None:
            gone = process.end()
            for descriptor in (self._commands, self._answers, self._waits):
                if descriptor >= 0:
                    os.close(descriptor)
            self._waits = -1
            if not gone:
                raise WorkerLost(f"the worker {process.pid} did not end within 10 s of SIGKILL")

    def close(self) -> None:
        """End the worker."""
        self.stop()

    def answered(self, workload: int, *, settle: bool = False) -> float:
        """Let the worker go, with ``settle`` just after a timer tick; wait for its answer, and stop it; seconds in
        between.
        """
        assert self._process is not None
        during = f"during workload {self.task.workloads[workload].name!r}"
        timeout_ms = round(self.bench.timeout_s * 1000)
        clock, worker = self.bench.clock, self._process.worker
        pipes = (self._commands, self._answers)
        took = clock.clocked(worker, pipes, workload, timeout_ms, self._waits, settle=settle)
        self._lost_s = clock.lost_s
        if took == TIMED_OUT:
            raise self._late(self.bench.timeout_s, during)
        if took == UNASKED:
            self.stop()
            raise CandidateFailed(Status.cheated, f"it wrote to the pipe of its worker's answers {during}")
        if took < 0:
            raise self._death("between calls" if took == GONE else during)
        self._freeze(during)
        return took / 1e9

    def _freeze(self, during: str) -> None:
        """Stop everything in the worker's sandbox, and wait until it stands still."""
        assert self._process is not None
        stopped = self._process.stop()
        if stopped is None:
            raise self._death(during)
        if not stopped:
            self.stop()
            raise CandidateFailed(Status.timed_out, f"a process of it could not be stopped {during}")

    def _await(self, timeout_s: float, during: str) -> None:
        ready, _, _ = select.select([self._answers], [], [], timeout_s)
        if not ready:
            raise self._late(timeout_s, during)
        said = os.read(self._answers, 1)
        if not said:
            raise self._death(during)
        if said != b"R":
            self.stop()
            raise CandidateFailed(Status.cheated, f"it wrote to the pipe of its worker's answers {during}")

    def _late(self, timeout_s: float, during: str) -> Exception:
        self.stop()
        return CandidateFailed(Status.timed_out, f"no answer within {timeout_s:g} s {during}")

    def _death(self, during: str) -> Exception:
        assert self._process is not None
        try:
            status = self._process.wait(5.0) or 0
            ran_out = self._process.ran_out
        finally:
            self.stop()
        error = death(status, during)
        if isinstance(error, WorkerKilled) and ran_out:
            return CandidateFailed(Status.crashed, f"it took more than {ran_out >> 20} MiB of memory {during}")
        if isinstance(error, WorkerKilled) and ended_for_memory() > self._ended_for_memory:
            return WorkerLost(f"the kernel ended a process of this machine for want of memory {during}")
        if isinstance(error, CandidateFailed) and (said := self._printed()):
            error = CandidateFailed(error.status, f"{error.detail}; it printed: {said}")
        return error

    def _printed(self) -> str:
        try:
            with (self.scratch / "printed").open("rb") as printed:
                return printed.read(OUTPUT_LIMIT)[-300:].decode(errors="replace").strip()
        except OSError:
            return ""

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


def pinger(bench: HostBench) -> HostRunner:
    """A trusted worker that does nothing."""
    source = Path(__file__).with_name("nothing.c")
    axis = Argument(name="N", role=Role.axis)
    out = Argument(name="y", role=Role.output, dtype=Dtype.u8, shape=("N",))
    task = KernelTask(
        name="warpsmith/nothing",
        title="nothing",
        hardware="cpu",
        contract="host",
        arguments=(out, axis),
        bytes=0,
        workloads=(Workload(name="nothing", axes={"N": 1}),),
    )
    content = source.read_bytes()
    sources = (SourceFile(path=source.name, content=digest_bytes(content)),)
    candidate = Candidate(toolchain="c", entry="nothing", sources=sources)
    built = build(candidate, source.parent, bench.target, "release", bench.cache)
    runner = HostRunner(bench, task, [Arena(task, task.workloads[0], bench.numeric)], candidate, built, source.parent)
    runner.restart()
    return runner


class Copier:
    """A trusted worker that copies: what the memory of this machine gives one core, under the judge's own clock."""

    def __init__(self, bench: HostBench) -> None:
        source = Path(__file__).with_name("copy.c")
        self.traffic = [bench.task.traffic(w) for w in bench.task.workloads]
        largest = max(2, *self.traffic) // 2
        self.task = KernelTask(
            name="warpsmith/copy",
            title="copy",
            hardware="cpu",
            contract="host",
            arguments=(
                Argument(name="from_", role=Role.input, dtype=Dtype.u8, shape=("LARGEST",)),
                Argument(name="to", role=Role.output, dtype=Dtype.u8, shape=("LARGEST",)),
                Argument(name="BYTES", role=Role.axis),
                Argument(name="STREAM", role=Role.axis),
            ),
            bytes="2 * BYTES",
            workloads=tuple(
                Workload(
                    name=f"{index}-{mode}", axes={"LARGEST": largest, "BYTES": max(1, traffic // 2), "STREAM": mode}
                )
                for index, traffic in enumerate(self.traffic)
                for mode in (0, 1)
            ),
        )
        content = source.read_bytes()
        candidate = Candidate(
            toolchain="c",
            entry="copy",
            sources=(SourceFile(path=source.name, content=digest_bytes(content)),),
        )
        built = build(candidate, source.parent, bench.target, "release", bench.cache)
        self.arena = Arena(self.task, self.task.workloads[0], bench.numeric)
        arenas = [self.arena] * len(self.task.workloads)
        self.runner = HostRunner(bench, self.task, arenas, candidate, built, source.parent)
        self.runner.restart()
        for index in range(len(arenas)):
            self.runner.clocked(index, evict=False)

    def copy(self, workload: int) -> tuple[float, int, str]:
        """Seconds, bytes read plus written, and how."""
        plain, streamed = (self.runner.clocked(2 * workload + mode, evict=True) for mode in (0, 1))
        how = "memcpy" if plain <= streamed else "streaming copy"
        return min(plain, streamed), 2 * max(1, self.traffic[workload] // 2), how

    def close(self) -> None:
        """End the worker."""
        self.runner.stop()
        self.arena.close()


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
