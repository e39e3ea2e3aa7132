"""The error tree. Owns every exception that warpsmith raises on purpose; imports nothing.

Each class carries the exit status of docs/cli.md. An error names the file and field, or the tool, says what was
expected, and ends with what to do next.
"""

from __future__ import annotations


class WarpsmithError(Exception):
    """Base of all expected errors: a message for a person, the remedy, and the exit status."""

    exit_status = 5

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class BadInput(WarpsmithError):
    """A file, field, flag or name that cannot be used: exit status 3."""

    exit_status = 3


class ExpressionError(BadInput):
    """An expression over axes, tunables and device facts that cannot be parsed or evaluated."""


class LedgerError(BadInput):
    """A ledger that cannot be read as a whole, and was left untouched."""


class CampaignError(BadInput):
    """A campaign that cannot start or go on, such as a baseline that fails its own task."""


class TaskAtFault(BadInput):
    """A task that cannot judge anybody: its oracle fails, its baseline is wrong, or a lazy answer passes."""


class Missing(WarpsmithError):
    """The environment lacks what this verb needs: exit status 4."""

    exit_status = 4


class BuildFailed(WarpsmithError):
    """A candidate that does not compile; the judge turns it into the status ``build_failed``."""

    exit_status = 1

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log


class ProfilerFailed(Missing):
    """A profiler that is here but gives nothing: not permitted, too old, hung, or out of memory."""


class BadReport(BadInput):
    """A profiler's report that cannot be read, or that lacks the kernel that was asked for."""
