"""The judge's end of a worker of the host contract on a GPU: fork it, let it go, stop it, and what its end means.

No device library. The worker runs a candidate's host code, so nothing that it sends is believed beyond that it sent
something; an end that the judge did not ask for is the candidate's doing, except a SIGKILL.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warpsmith.judge.failures import (
    OUTPUT_LIMIT,
    CandidateFailed,
    WorkerKilled,
    WorkerLost,
    death,
    ended_for_memory,
)
from warpsmith.judge.forking import ForkServer
from warpsmith.judge.native import GONE, TIMED_OUT, UNASKED, Clock, waits_of
from warpsmith.model.evaluation import Status
from warpsmith.sandbox.process import Cell, Mechanism, SandboxFailed, start

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


class WorkerProcess:
    """One worker. Forked at once; it loads on its own time and is frozen when it is ready."""

    def __init__(
        self, server: ForkServer, how: Mechanism, config: dict[str, Any], environment: dict[str, str], shown: Shown
    ) -> None:
        self.ended = self.settled = False
        self._server = server
        self._waits = -1
        self._ended_for_memory = ended_for_memory()
        self._printed = os.memfd_create("warpsmith-worker", os.MFD_CLOEXEC)
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        cell = Cell(
            argv=(json.dumps(config),),
            environment=environment,
            reads=shown.reads,
            folders=shown.folders,
            limits=LIMITS,
            keep=(commands, answers),
            tmp_bytes=TMP_BYTES,
            cuda=True,
        )
        try:
            self._process = start(cell, how, stdout=self._printed, stderr=self._printed, spawn=server.spawn)
        except BaseException:
            for descriptor in (self._commands, self._answers, self._printed):
                os.close(descriptor)
            raise
        finally:
            os.close(commands)
            os.close(answers)

    @property
    def pid(self) -> int:
        """The worker as it is known out here. Raises SandboxFailed."""
        return self._process.worker

    def settle(self, timeout_s: float, core: int) -> None:
        """Wait until it has loaded the candidate, and freeze it; from now on its first thread runs on ``core``, and so
        do those that this starts. Raises CandidateFailed, WorkerLost, SandboxFailed.
        """
        if not self.settled:
            _ = self.pid
            self._await(timeout_s, "while it was loaded")
            self._waits = waits_of(self.pid)
            self.freeze("after it was loaded")
            os.sched_setaffinity(self.pid, {core})
            self.settled = True

    def answered(self, clock: Clock, command: int, timeout_s: float, during: str, release: Callable[[], None]) -> int:
        """Let it go with a command and wait for its answer; when it was let go, on the clock in nanoseconds.

        ``release`` is called when the clock runs and before the worker does. Raises CandidateFailed or WorkerLost.
        """
        pipes = (self._commands, self._answers)
        began = time.perf_counter_ns()
        release()
        took = clock.clocked(self.pid, pipes, command, round(timeout_s * 1000), self._waits, settle=False)
        if took == TIMED_OUT:
            self.stop()
            raise CandidateFailed(Status.timed_out, f"no answer within {timeout_s:g} s {during}")
        if took == UNASKED:
            self.stop()
            raise CandidateFailed(Status.cheated, f"it answered what it was not asked {during}")
        if took < 0:
            raise self._death("between calls" if took == GONE else during)
        return began

    def freeze(self, during: str) -> None:
        """Stop everything in its sandbox, and wait until it stands still. Raises as :meth:`answered` does."""
        stopped = self._process.stop()
        if stopped is None:
            raise self._death(during)
        if not stopped:
            self.stop()
            raise CandidateFailed(Status.timed_out, f"a process of it could not be stopped {during}")

    def kill(self) -> None:
        """End it and all that is in its sandbox, without waiting: a context takes about 60 ms to go."""
        if not self.ended:
            self.ended = True
            self._process.kill()
            for descriptor in (self._commands, self._answers, self._printed, self._waits):
                if descriptor >= 0:
                    os.close(descriptor)

    def stop(self) -> None:
        """End it and wait until it is gone. Raises WorkerLost where it does not go."""
        self.kill()
        if not self._process.end():
            raise WorkerLost(f"the worker {self._process.pid} did not end within 10 s of SIGKILL")

    def _await(self, timeout_s: float, during: str) -> None:
        ready, _, _ = select.select([self._answers], [], [], timeout_s)
        if not ready:
            self.stop()
            raise CandidateFailed(Status.timed_out, f"no answer within {timeout_s:g} s {during}")
        if not os.read(self._answers, 1):
            raise self._death(during)

    def _death(self, during: str) -> Exception:
        try:
            status = self._process.wait(5.0) or 0
            ran_out = self._process.ran_out
        except SandboxFailed as failed:
            return failed
        finally:
            said = self._said()
            self.stop()
        if not self._server.alive:
            return WorkerLost(f"the fork-server was lost {during}, and its workers with it")
        error = death(status, during)
        if isinstance(error, WorkerKilled) and ran_out:
            return CandidateFailed(Status.crashed, f"it took more than {ran_out >> 20} MiB of memory {during}")
        if isinstance(error, WorkerKilled) and ended_for_memory() > self._ended_for_memory:
            return WorkerLost(f"the kernel ended a process of this machine for want of memory {during}")
        return CandidateFailed(error.status, error.detail + said) if isinstance(error, CandidateFailed) else error

    def _said(self) -> str:
        """The end of what it printed."""
        with contextlib.suppress(OSError):
            size = os.fstat(self._printed).st_size
            text = os.pread(self._printed, 600, max(0, size - 600)).decode(errors="replace").strip()
            return f"; it printed: {text[-500:]}" if text else ""
        return ""
