"""Timed rounds that something outside of both sides disturbed: which are taken again, and when that does not count.

A round is one call of each side on the same inputs. One that was disturbed, whoever was running, is dropped as a whole
and taken again on fresh inputs, at most as often as rounds were wanted. A candidate can disturb its own calls, and
would do so where they are slow: so rounds also stay as they were first taken, and these count where one side was
disturbed far more often than the other.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from warpsmith.model.evaluation import Disturbed

SURPLUS = 2.0
"""Standard deviations by which the two counts of disturbed calls may differ where chance alone decides."""

Times = tuple[float, float]
"""Seconds of the candidate and of the rival."""


class Rounds:
    """The rounds of one pair on one workload, of which ``wanted`` count."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.taken: list[Times] = []
        self.kept: list[Times] = []
        self.dropped = 0
        self.endured = 0
        """Disturbed rounds that count all the same, since as many again were taken."""

    @property
    def more(self) -> bool:
        """Whether rounds are still to be taken."""
        return len(self.kept) < self.wanted

    def add(self, times: Times, *, disturbed: bool) -> None:
        """A round that was carried out; it is dropped where it was disturbed and as many again may still be taken."""
        self.taken.append(times)
        if disturbed and self.dropped < self.wanted:
            self.dropped += 1
        else:
            self.endured += disturbed
            self.kept.append(times)

    def sample(self) -> Times:
        """What stands for the rounds that were not dropped."""
        return centre(self.kept)

    def first(self) -> Times:
        """What stands for the rounds as they were first taken."""
        return centre(self.taken[: self.wanted])


def centre(times: Sequence[Times]) -> Times:
    """Times of both sides that stand for some rounds. Their ratio is the median over the rounds of its ratio, since
    what slows the machine for longer than a call slows both calls of a round; they are as long as the two medians.
    """
    log = statistics.median(math.log(mine / other) for mine, other in times)
    medians = (statistics.median(t[0] for t in times), statistics.median(t[1] for t in times))
    middle = math.sqrt(medians[0] * medians[1])
    return middle * math.exp(log / 2), middle * math.exp(-log / 2)


@dataclass
class Disturbance:
    """What was disturbed over all pairs and workloads of one measurement."""

    rounds: int = 0
    dropped: int = 0
    kept: int = 0
    candidate: int = 0
    rival: int = 0
    why: Counter[str] = field(default_factory=Counter)

    def see(self, candidate: str, rival: str) -> bool:
        """Note why the calls of a round were disturbed (empty: they were not); whether any was."""
        self.candidate += bool(candidate)
        self.rival += bool(rival)
        self.why.update(filter(None, (candidate, rival)))
        return bool(candidate or rival)

    def add(self, rounds: Rounds) -> None:
        """Count the rounds of a pair that is complete."""
        self.rounds += rounds.wanted
        self.dropped += rounds.dropped
        self.kept += rounds.endured

    @property
    def one_sided(self) -> bool:
        """Whether one side was disturbed more often than the other by more than chance explains."""
        return abs(self.candidate - self.rival) > 1 + SURPLUS * math.sqrt(self.candidate + self.rival)

    def record(self) -> Disturbed | None:
        """What the evaluation says of it; None where nothing was timed."""
        if not self.rounds:
            return None
        return Disturbed(
            rounds=self.rounds,
            dropped=self.dropped,
            kept=self.kept,
            candidate=self.candidate,
            rival=self.rival,
            why=dict(sorted(self.why.items())),
            undone=self.one_sided,
        )
