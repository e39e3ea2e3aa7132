"""The judge's end of a worker of the host contract on a GPU: forked from a warm process, pinned once it has loaded."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warpsmith.judge.failures import OUTPUT_LIMIT, WorkerLost
from warpsmith.judge.forking import ForkServer
from warpsmith.judge.native import Clock
from warpsmith.judge.working import WorkerProcess
from warpsmith.sandbox.cell import Cell, Mechanism
from warpsmith.sandbox.process import SandboxFailed

HOST_BYTES = 32 << 30
"""Private memory that a worker may write to, without what it maps of the device."""
TMP_BYTES = 256 << 20
LIMITS = {"RLIMIT_FSIZE": OUTPUT_LIMIT, "RLIMIT_NOFILE": 512, "RLIMIT_DATA": HOST_BYTES}
"""No RLIMIT_AS: a CUDA context reserves address space for all memory of all devices."""


@dataclass(frozen=True)
class Shown:
    """What a worker sees of the machine's files."""

    reads: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()


def nothing() -> None:
    """Nothing is revealed, and nothing has to be proved."""


@dataclass(frozen=True)
class Call:
    """What a worker is asked, and what happens before it is let go."""

    command: int
    during: str
    """For messages: ``during workload 'large'``."""
    reveal: Callable[[], None] = nothing
    """Enqueues fresh inputs and poison."""
    prove: Callable[[], None] = nothing
    """Raises CandidateFailed where something was done already; after the caches were flushed."""


class ForkedWorker(WorkerProcess):
    """One worker of the fork-server. Forked at once."""

    def __init__(
        self, server: ForkServer, how: Mechanism, config: dict[str, Any], environment: dict[str, str], shown: Shown
    ) -> None:
        self.settled = False
        self._server = server

        def cell(commands: int, answers: int) -> Cell:
            return Cell(
                argv=(json.dumps(config),),
                environment=environment,
                reads=shown.reads,
                folders=shown.folders,
                limits=LIMITS,
                keep=(commands, answers),
                tmp_bytes=TMP_BYTES,
                cuda=True,
            )

        super().__init__(cell, how, os.memfd_create("warpsmith-worker", os.MFD_CLOEXEC), server.spawn)

    def settle(self, timeout_s: float, core: int) -> None:
        """Wait until it has loaded the candidate, and freeze it; from now on its first thread runs on ``core``, and so
        do those that this starts. Raises CandidateFailed, WorkerLost, SandboxFailed.
        """
        if not self.settled:
            _ = self.pid
            self.load(timeout_s)
            os.sched_setaffinity(self.pid, {core})
            self.settled = True

    def answered(self, clock: Clock, command: int, timeout_s: float, during: str, release: Callable[[], None]) -> int:
        """Let it go with a command and wait for its answer; when it was let go, on the clock in nanoseconds.

        ``release`` is called when the clock runs and before the worker does. Raises CandidateFailed or WorkerLost.
        """
        began = time.perf_counter_ns()
        release()
        self.clocked(clock, command, timeout_s, during)
        return began

    def _death(self, during: str) -> Exception:
        error = super()._death(during)
        if isinstance(error, SandboxFailed) or self._server.alive:
            return error
        return WorkerLost(f"the fork-server was lost {during}, and its workers with it")
