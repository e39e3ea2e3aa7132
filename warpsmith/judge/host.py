"""The host contract: a candidate in a worker process of its own, over shared memory that the judge owns.

Owns the clock around a call and the cold cache; hostcalls.py owns one candidate's calls and its worker's life, arena.py
the layout of the memory. Both sides of a pair use the same pages, since where pages lie moves a memory-bound time by
more than most gains (up to 18 % seen between two buffers of one size). That is safe because a worker is stopped
whenever it is not its turn: it is let go after fresh inputs and poison are in place and the clock runs, and stopped
again when it has answered.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from warpsmith.judge.arena import Arena
from warpsmith.judge.contract import SanitizedRunner
from warpsmith.judge.hostcalls import HostRunner
from warpsmith.judge.hostworkers import Copier, pinger
from warpsmith.judge.native import Clock, Flush
from warpsmith.judge.numeric import NumpyNumeric
from warpsmith.judge.watch import Watch
from warpsmith.model.candidate import Candidate
from warpsmith.model.head import Workload
from warpsmith.model.target import Target
from warpsmith.model.task import KernelTask
from warpsmith.sandbox import layers
from warpsmith.toolchains.cache import Built

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
