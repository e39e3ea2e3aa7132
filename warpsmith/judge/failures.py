"""How running a candidate can end badly: by its own doing (a status) or not (a fault)."""

from __future__ import annotations

import signal

from warpsmith.model.evaluation import Status


class CandidateFailed(Exception):
    """The candidate's own doing: becomes the status of its evaluation."""

    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.detail = detail


class WorkerLost(Exception):
    """Not the candidate's doing as far as anyone can tell: becomes a fault, and the step is tried again."""


OUTPUT_LIMIT = 16 << 20
"""Bytes that a worker may print before it is ended."""


def death(returncode: int, during: str) -> Exception:
    """What the end of a worker that the judge did not end means. SIGKILL comes from outside (a person, the kernel)."""
    if returncode >= 0:
        return CandidateFailed(Status.crashed, f"the process ended with exit status {returncode} {during}")
    name = signal.Signals(-returncode).name
    if name == "SIGKILL":
        return WorkerLost(f"the worker was killed from outside {during}")
    if name == "SIGXFSZ":
        return CandidateFailed(Status.crashed, f"it printed or wrote more than {OUTPUT_LIMIT >> 20} MiB {during}")
    return CandidateFailed(Status.crashed, f"{name} {during}")
