"""The judge's own deadline for a step, well before the executor's: who used the time up is known here, not there.

A step that the executor ends is a fault, which is tried again. A candidate that makes every call last just below its
own limit would so be measured again and again and never get a verdict.
"""

from __future__ import annotations

import time

from warpsmith.errors import WarpsmithError
from warpsmith.judge.evidence import Side
from warpsmith.judge.failures import CandidateFailed
from warpsmith.model.evaluation import Status

SHARE = 0.6
"""Of the executor's limit: the rest is for the start of a session, one last call at its limit, and the way out."""
BLAMED = 1 / 3
"""Share of the time used that a side must have cost beyond the pace of the others to be charged with all of it."""


class Deadline:
    """Counts what each side used of a step's time. ``limit_s`` is the executor's limit."""

    def __init__(self, limit_s: float, sides: tuple[Side, ...]) -> None:
        self.limit_s = limit_s
        self.sides = sides
        self._began = time.monotonic()

    def check(self) -> Side | None:
        """The side that used the time up, None while there is some left. Raises WarpsmithError where it was nobody."""
        elapsed = time.monotonic() - self._began
        if elapsed < SHARE * self.limit_s:
            return None
        excess, side = max(((self._excess(s), s) for s in self.sides), key=lambda found: found[0])
        if excess >= BLAMED * elapsed:
            return side
        raise WarpsmithError(
            f"the step needs more than {elapsed:.0f} s of its {self.limit_s:g} s, and no side alone is to blame.",
            "Raise step_timeout_s, or make the task's workloads smaller.",
        )

    def failure(self, side: Side) -> CandidateFailed:
        """What ``side`` is charged with."""
        return CandidateFailed(
            Status.timed_out,
            f"{side.turns} starts and calls of it took {side.spent_s:.1f} s, which the step has no room for"
            f" (it may take {self.limit_s:g} s in all)",
        )

    def _excess(self, side: Side) -> float:
        """Seconds beyond what it would have used at the pace of the others; alone, all that it used."""
        others = [s.spent_s / s.turns for s in self.sides if s is not side and s.turns]
        return side.spent_s - side.turns * min(others, default=0.0)
