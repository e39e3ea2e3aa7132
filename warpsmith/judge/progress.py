"""What is going on in a measurement, in lines for whoever waits for it. They decide nothing, and nothing reads them."""

from __future__ import annotations

import time
from collections.abc import Callable


class Progress:
    """Tells what is being done, with the seconds since its making; by default it tells nobody."""

    def __init__(self, tell: Callable[[str], None] | None = None, every_s: float = 0.0) -> None:
        """A line sooner than ``every_s`` after the one before, or after the beginning, is left out."""
        self.tell = tell
        self.every_s = every_s
        self.began = self.last = time.monotonic()

    def say(self, doing: str) -> None:
        """One line."""
        now = time.monotonic()
        if self.tell is None or now - self.last < self.every_s:
            return
        self.last = now
        self.tell(f"{doing} ({now - self.began:.0f} s so far)")
