"""How running a candidate can end badly: by its own doing (a status) or not (a fault)."""

from __future__ import annotations

import re
import signal
from collections import Counter
from pathlib import Path

from warpsmith.model.evaluation import Status


class CandidateFailed(Exception):
    """The candidate's own doing: becomes the status of its evaluation."""

    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.detail = detail


class WorkerLost(Exception):
    """Not the candidate's doing as far as anyone can tell: becomes a fault, and the step is tried again."""


class WorkerKilled(WorkerLost):
    """A SIGKILL that the judge did not send, and memory was not short: by a person, or by the candidate itself."""


class Kills:
    """How often in a row a worker of each candidate was killed. Twice may be chance; three times is its own."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()

    def blame(self, candidate: str, error: CandidateFailed | WorkerKilled) -> CandidateFailed:
        """What the error says of the candidate. Raises it where it says nothing yet."""
        if isinstance(error, CandidateFailed):
            return error
        self._count[candidate] += 1
        if self._count[candidate] < MOST_KILLS:
            raise error
        return CandidateFailed(Status.crashed, f"{error}, {self._count[candidate]} times in a row")

    def forget(self, candidate: str) -> None:
        """It was measured without being killed."""
        del self._count[candidate]


MOST_KILLS = 3
"""As many as the attempts at a step: where its last fault would end in no verdict, there is one."""
OUTPUT_LIMIT = 16 << 20
"""Bytes that a worker may print before it is ended."""


def ended_for_memory() -> int:
    """How many processes of this machine the kernel has ended for want of memory so far; 0 where it does not say."""
    try:
        said = Path("/proc/vmstat").read_text()
    except OSError:
        return 0
    found = re.search(r"^oom_kill (\d+)$", said, re.MULTILINE)
    return int(found.group(1)) if found else 0


def death(returncode: int, during: str) -> Exception:
    """What the end of a worker that the judge did not end means. SIGKILL comes from outside (a person, the kernel)."""
    if returncode >= 0:
        return CandidateFailed(Status.crashed, f"the process ended with exit status {returncode} {during}")
    name = signal.Signals(-returncode).name
    if name == "SIGKILL":
        return WorkerKilled(f"the worker was killed from outside {during}")
    if name == "SIGXFSZ":
        return CandidateFailed(Status.crashed, f"it printed or wrote more than {OUTPUT_LIMIT >> 20} MiB {during}")
    return CandidateFailed(Status.crashed, f"{name} {during}")
