"""One request over the network, whoever's format it has: what goes out, what comes back, and how it can fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from warpsmith.model.asks import Ending, Usage
from warpsmith.propose.llm.asking import Ask
from warpsmith.propose.llm.tokens import estimate

RATE_LIMIT, OVERLOADED = 429, 529
TRANSIENT = frozenset({408, 409, RATE_LIMIT})
"""Statuses below 500 after which the same request may succeed."""
QUOTA = ("insufficient_quota", "credit balance")
"""What a server says, with 429 or 400, where no money is left: waiting cannot help."""


@dataclass(frozen=True)
class Timeouts:
    """Seconds."""

    connect: float = 10.0
    read: float = 300.0
    """Between two pieces of a stream: a model may think that long before it writes."""


@dataclass(frozen=True)
class Answer:
    """What one request gave, with the text up to its end."""

    text: str
    ending: Ending
    """``answered``, ``cut_short`` or ``declined``."""
    usage: Usage
    model: str
    """As the provider names what answered."""
    request_id: str = ""
    estimated: bool = False
    """Whether the tokens are our estimate."""


class TryFailed(Exception):
    """A request that gave no whole answer. It never leaves this package: it becomes a record, and then an AskError."""

    def __init__(
        self,
        ending: Ending,
        detail: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        usage: Usage | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(detail)
        self.ending = ending
        self.detail = detail
        self.status = status
        self.retry_after = retry_after
        self.usage = usage
        """What was spent all the same, in part estimated; None where nothing was."""
        self.request_id = request_id


class Wire(Protocol):
    """A provider's format over its own SDK, which retries nothing itself."""

    prefills: bool
    """Whether it goes on from the beginning of its own answer, whose last white space it then writes again."""

    def send(self, ask: Ask, partial: str, max_tokens: int, stopped: Callable[[], bool]) -> Answer:
        """One request. ``partial`` is what was answered so far: the answer goes on right behind it.

        ``stopped`` is looked at between pieces. Raises TryFailed.
        """

    def close(self) -> None:
        """Close its connections."""


def from_status(status: int, detail: str, retry_after: float | None, request_id: str) -> TryFailed:
    """The failure that an HTTP status means."""
    ending: Ending = "refused"
    if any(sign in detail for sign in QUOTA):
        ending = "refused"
    elif status == RATE_LIMIT:
        ending = "rate_limited"
    elif status in (503, OVERLOADED):
        ending = "overloaded"
    elif status >= 500 or status in TRANSIENT:
        ending = "server_error"
    return TryFailed(ending, detail, status=status, retry_after=retry_after, request_id=request_id)


def cut(prompt: Usage | None, text: str, detail: str, request_id: str) -> TryFailed:
    """The failure of a stream that broke after ``text``: what was written until then is paid for all the same."""
    if prompt is None and not text:
        return TryFailed("stream_cut", detail, request_id=request_id)
    begun = prompt or Usage()
    spent = begun.model_copy(update={"output": max(begun.output, estimate(text))})
    return TryFailed("stream_cut", detail, usage=spent, request_id=request_id)


def seconds_of(header: str | None) -> float | None:
    """A ``retry-after`` header that gives seconds; None for a date or none."""
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None


TAIL = 120
"""Characters of the answer that are shown again where a model cannot be given its beginning."""


@cache
def _turn() -> str:
    return Path(__file__).with_name("continue.txt").read_text(encoding="utf-8").strip()


def continuation(partial: str) -> str:
    """The turn that asks for the rest of ``partial``."""
    return _turn().replace("{tail}", partial[-TAIL:])
