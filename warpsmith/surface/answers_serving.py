"""What the verb ``serve`` answers."""

from __future__ import annotations

from warpsmith.surface.answers import Answer


class ServeAnswer(Answer):
    """A server that was up, and how it ended."""

    task: str
    candidate: str
    url: str
    """Where it was, without ``/v1``."""
    log: str
    how: str
    """``drained``: by itself, once it was told to; ``killed``: its time was up."""
    status: int | None
    """Its exit status, negative for a signal."""
    seconds: float
    """From being told to end to the end of all that it started."""
