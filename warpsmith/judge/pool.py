"""Launchers of one device, started ahead of their use and reaped after it. Owns when that happens: never beside a call
that is timed.

The driver makes one context after the other, 0.05 s each however many processes ask, and takes 0.02 s to end one. So
both are done while something is built or verified, and what is late is waited for before anything is timed. Letting few
of them ask at a time makes no difference.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from warpsmith.judge.failures import CandidateFailed, WorkerLost
from warpsmith.judge.launching import LauncherProcess
from warpsmith.judge.memory import Arena

READY_S = 60.0
"""Longest time for a launcher to make its context."""


class Pool:
    """Launchers by their state: waiting for work, or ended. ``spawn`` starts one."""

    def __init__(self, spawn: Callable[[], LauncherProcess]) -> None:
        self.spawn = spawn
        self.expected = self.most = 0
        """Launchers that the measurement will still take, and how many of them may wait."""
        self.waiting: deque[LauncherProcess] = deque()
        self.leaving: list[LauncherProcess] = []
        self.left: list[Arena] = []

    def take(self) -> LauncherProcess:
        """The one that has waited longest, or one that is not ready yet. Where none waits, as many as are still
        expected are started together: one by one, each would be waited for.
        """
        self.expected -= 1
        while True:
            if not self.waiting:
                self.ahead(max(1, min(self.expected + 1, self.most)))
            process = self.waiting.popleft()
            if process.alive:
                return process
            self.leave(process)

    def expect(self, count: int, most: int) -> None:
        """A measurement begins that will take about ``count``: start them, up to ``most`` at a time."""
        self.expected, self.most = count, most
        self.ahead(min(count, most))

    def ahead(self, count: int) -> None:
        """Start more, until so many wait."""
        while len(self.waiting) < count:
            self.waiting.append(self.spawn())

    def settle(self) -> None:
        """Wait until every launcher that was started is ready and every one that was ended is gone.

        Raises WorkerLost.
        """
        for process in tuple(self.waiting):
            try:
                process.ready(READY_S)
            except CandidateFailed as silent:  # there is no candidate in it yet
                self.waiting.remove(process)
                raise WorkerLost(f"a launcher did not start: {silent.detail}") from None
            except WorkerLost:
                self.waiting.remove(process)
                raise
        self.reap()

    def leave(self, process: LauncherProcess, arenas: Iterable[Arena] = ()) -> None:
        """End a launcher without waiting; ``arenas`` are given back once everything that mapped them is gone."""
        process.kill()
        self.leaving.append(process)
        self.left += arenas

    def reap(self) -> None:
        """Wait for those that were ended, and give back what they had mapped. Raises WorkerLost."""
        while self.leaving:
            self.leaving.pop().stop()
        while self.left:
            self.left.pop().close()

    def rest(self, count: int) -> None:
        """The measurement is over: have ``count`` wait for the next one."""
        self.expected = 0
        self.ahead(count)

    def close(self) -> None:
        """End all of them, and wait."""
        while self.waiting:
            self.leave(self.waiting.popleft())
        self.reap()
