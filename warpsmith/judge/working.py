"""The judge's end of a worker of the host contract: start it, let it go, stop it, and what its end means.

A worker runs a candidate's host code, so nothing that it sends is believed beyond that it sent something; an end that
the judge did not ask for is the candidate's doing, except a SIGKILL. It stands still whenever it is not its turn. No
device library: hostcalls.py and gpuhostworking.py say what is started.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable

from warpsmith.judge.failures import (
    OUTPUT_LIMIT,
    CandidateFailed,
    WorkerKilled,
    WorkerLost,
    death,
    ended_for_memory,
)
from warpsmith.judge.native import GONE, TIMED_OUT, UNASKED, Clock, waits_of
from warpsmith.model.evaluation import Status
from warpsmith.sandbox.cell import Cell, Mechanism
from warpsmith.sandbox.process import SandboxFailed, Spawn, start

TAIL = 500
"""Characters of what a worker printed that an error carries."""

MakeCell = Callable[[int, int], Cell]
"""The program, by the descriptors that it reads commands from and writes answers to."""


class WorkerProcess:
    """One worker, started at once. It loads on its own time, and is frozen once it has."""

    def __init__(self, cell: MakeCell, how: Mechanism, printed: int, spawn: Spawn | None = None) -> None:
        """``printed`` is an open file for what it prints, and is closed with the worker. Raises SandboxFailed."""
        self.ended = False
        self._printed = printed
        self._waits = -1
        self._ended_for_memory = ended_for_memory()
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        try:
            self._process = start(cell(commands, answers), how, stdout=printed, stderr=printed, spawn=spawn)
        except BaseException:
            for descriptor in (self._commands, self._answers, printed):
                os.close(descriptor)
            raise
        finally:
            os.close(commands)
            os.close(answers)

    @property
    def pid(self) -> int:
        """The worker as it is known out here. Raises SandboxFailed."""
        return self._process.worker

    def load(self, timeout_s: float) -> None:
        """Wait until it has loaded the candidate, and freeze it. Raises CandidateFailed, WorkerLost, SandboxFailed."""
        during = "while it was loaded"
        ready, _, _ = select.select([self._answers], [], [], timeout_s)
        if not ready:
            self.stop()
            raise CandidateFailed(Status.timed_out, f"no answer within {timeout_s:g} s {during}")
        match os.read(self._answers, 1):
            case b"":
                raise self._death(during)
            case b"R":
                self._waits = waits_of(self.pid)
                self.freeze("after it was loaded")
            case _:
                raise self._unasked(during)

    def clocked(self, clock: Clock, command: int, timeout_s: float, during: str, *, settle: bool = False) -> int:
        """Let it go with a command, with ``settle`` just after a timer tick, and wait for its answer; nanoseconds in
        between. It is not frozen again. Raises CandidateFailed or WorkerLost.
        """
        pipes = (self._commands, self._answers)
        took = clock.clocked(self.pid, pipes, command, round(timeout_s * 1000), self._waits, settle=settle)
        if took == TIMED_OUT:
            self.stop()
            raise CandidateFailed(Status.timed_out, f"no answer within {timeout_s:g} s {during}")
        if took == UNASKED:
            raise self._unasked(during)
        if took < 0:
            raise self._death("between calls" if took == GONE else during)
        return took

    def freeze(self, during: str) -> None:
        """Stop everything in its sandbox, and wait until it stands still. Raises as :meth:`clocked` does."""
        stopped = self._process.stop()
        if stopped is None:
            raise self._death(during)
        if not stopped:
            self.stop()
            raise CandidateFailed(Status.timed_out, f"a process of it could not be stopped {during}")

    def finish(self, command: bytes, timeout_s: float) -> str:
        """Let it go for the last time, with ``command`` or, where that is empty, with the end of all commands; wait
        until it ends by itself, or end it. The end of what it printed.
        """
        if self.ended:
            return ""
        with contextlib.suppress(OSError):
            if command:
                os.write(self._commands, command)
            else:
                os.close(self._commands)
                self._commands = -1
            self._process.signal(signal.SIGCONT)
        self._process.wait(timeout_s)
        printed = self._said()
        self.stop()
        return printed

    def kill(self) -> None:
        """End it and all that is in its sandbox, without waiting: a CUDA context takes about 60 ms to go."""
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

    def _unasked(self, during: str) -> Exception:
        self.stop()
        return CandidateFailed(Status.cheated, f"it answered what it was not asked {during}")

    def _death(self, during: str) -> Exception:
        """What its end means, which nobody asked for."""
        try:
            status = self._process.wait(5.0) or 0
            ran_out = self._process.ran_out
        except SandboxFailed as failed:
            return failed
        finally:
            said = self._said()
            self.stop()
        error = death(status, during)
        if isinstance(error, WorkerKilled) and ran_out:
            return CandidateFailed(Status.crashed, f"it took more than {ran_out >> 20} MiB of memory {during}")
        if isinstance(error, WorkerKilled) and ended_for_memory() > self._ended_for_memory:
            return WorkerLost(f"the kernel ended a process of this machine for want of memory {during}")
        if isinstance(error, CandidateFailed) and said:
            return CandidateFailed(error.status, f"{error.detail}; it printed: {said}")
        return error

    def _said(self) -> str:
        """The end of what it printed."""
        with contextlib.suppress(OSError):
            size = min(os.fstat(self._printed).st_size, OUTPUT_LIMIT)
            printed = os.pread(self._printed, 4 * TAIL, max(0, size - 4 * TAIL))
            return printed.decode(errors="replace").strip()[-TAIL:]
        return ""
