"""Whose doing it is when something goes wrong in a measurement of whatever kind, and where its time went."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from warpsmith.judge.deadline import Deadline
from warpsmith.judge.evidence import Side, SideFailed
from warpsmith.judge.failures import CandidateFailed, Kills, WorkerKilled
from warpsmith.model.head import Workload


class Blame:
    """Of one measurement, under its deadline; ``kills`` is what the session remembers of workers that were killed."""

    def __init__(self, deadline: Deadline, kills: Kills | None = None) -> None:
        self.deadline = deadline
        self.kills = kills or Kills()
        self.phases: dict[str, float] = {}
        """Seconds by phase."""

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Charge the time to a phase."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.phases[name] = self.phases.get(name, 0.0) + time.monotonic() - began

    @contextmanager
    def on(self, side: Side, workload: Workload | None = None) -> Iterator[None]:
        """Something that ``side`` does: what goes wrong is its doing, and so is the time that it takes.

        Raises SideFailed, also for whoever used up the time of the step; WorkerKilled while a kill may be chance; and
        WarpsmithError where the time is up and nobody alone is to blame.
        """
        late = self.deadline.check()
        began = time.monotonic()
        try:
            if late is not None:
                side, workload = late, None
                raise self.deadline.failure(late)
            yield
        except (CandidateFailed, WorkerKilled) as error:
            raise SideFailed(side, self.kills.blame(side.candidate.id, error), workload) from None
        finally:
            side.turns += 1
            side.spent_s += time.monotonic() - began
