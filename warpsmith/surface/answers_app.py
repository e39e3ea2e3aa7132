"""What the verbs of real applications answer."""

from __future__ import annotations

from warpsmith.app.counts import Counts
from warpsmith.app.observe import Overhead
from warpsmith.app.trial import Trial
from warpsmith.model.base import Record
from warpsmith.model.observed import FunctionObservation, Observation
from warpsmith.surface.answers import Answer


class ObserveAnswer(Answer):
    """What an application did on its devices."""

    observation: Observation | None = None
    calls: FunctionObservation | None = None
    """Of a Python function, where one was named."""
    counts: Counts | None = None
    """Where launches were only counted."""
    folder: str = ""
    """Where the observation is kept; empty where nothing was to be kept."""
    files: tuple[str, ...] = ()
    reused: str = ""
    """Why what was kept is used again; empty where the application was run."""
    overhead: tuple[Overhead, ...] = ()


class CapturedRow(Record):
    """One captured launch."""

    workload: str
    share: float
    """Of the device time of the captured configurations."""
    launches: int
    real_s: float
    """Median device time of such launches in the application."""
    alone_s: float | None = None
    """Median time of the original on the captured contents in the judge, caches cold; None where it was not timed."""

    @property
    def gap(self) -> float | None:
        """Stand-alone over real: 1.2 means that it takes a fifth longer alone."""
        return self.alone_s / self.real_s if self.alone_s is not None and self.real_s > 0 else None


class CaptureAnswer(Answer):
    """What was captured, and whether the original gives the same again."""

    kernel: str
    task: str = ""
    folder: str = ""
    rows: tuple[CapturedRow, ...] = ()
    covered: float = 0.0
    """Share of the kernel's device time that the captured configurations make up."""
    bytes: int = 0
    """Of the fixtures."""
    replay: str = ""
    """How the replay of the original ended."""
    harness: str = ""
    notes: tuple[str, ...] = ()


class TrialAnswer(Answer):
    """What a candidate did in the live application."""

    task: str
    candidate: str
    trial: Trial
    report: str
    """Where it is kept."""
    ledger: str = ""
    """Which got the outcome; empty where none knows the candidate."""
