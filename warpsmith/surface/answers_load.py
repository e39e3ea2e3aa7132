"""What the verb ``load`` answers."""

from __future__ import annotations

from warpsmith.model.harness import LoadReport
from warpsmith.surface.answers import Answer


class LoadAnswer(Answer):
    """What a load of a served model saw."""

    task: str
    candidate: str = ""
    """Empty where a server was loaded that is not ours."""
    report: LoadReport
    file: str
    """Where the report is kept, as JSON."""
    failed: tuple[str, ...] = ()
    """Scenarios in which more requests failed than the task allows."""
    crashed: str = ""
    """How the server ended by itself, where it did."""
