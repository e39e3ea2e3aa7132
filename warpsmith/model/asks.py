"""What was asked of a language model and what it cost: records only. A proposal and a fault carry them to the ledger.

Money is a Decimal in US dollars, never rounded: a record's cost is exactly tokens times price. A prompt is kept as the
hashes of its blocks, so a ledger shows which blocks stayed the same between asks without holding a word of them.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from warpsmith.model.base import Digest, Record

Role = Literal["propose", "fix", "compact", "review", "agent"]
"""What a model is asked for; ``agent`` is a coding agent's own account, or ``review`` where it reviews."""

Tokens = Annotated[int, Field(ge=0)]


class Usage(Record):
    """Tokens as the provider counted them; every token of a request is in exactly one of the four."""

    input: Tokens = 0
    """Read and not cached."""
    cache_write: Tokens = 0
    """Read and put into the provider's cache."""
    cache_read: Tokens = 0
    """Taken from the provider's cache."""
    output: Tokens = 0
    """Written, thinking included."""

    @property
    def prompt(self) -> int:
        """All tokens read."""
        return self.input + self.cache_write + self.cache_read

    @property
    def total(self) -> int:
        """All tokens: what a budget of tokens counts."""
        return self.prompt + self.output

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input=self.input + other.input,
            cache_write=self.cache_write + other.cache_write,
            cache_read=self.cache_read + other.cache_read,
            output=self.output + other.output,
        )


Ending = Literal[
    "answered", "cut_short", "declined", "rate_limited", "overloaded", "server_error", "unreachable", "stream_cut",
    "timed_out", "refused",
]  # fmt: skip
"""How a try ended. ``cut_short`` is a whole answer that ``max_tokens`` ended, ``stream_cut`` a broken connection."""


class Try(Record):
    """One request over the network."""

    ending: Ending
    status: int | None = None
    """The HTTP status, where there was one."""
    usage: Usage = Usage()
    estimated: bool = False
    """The provider did not say what it counted (its stream broke, or it never says), so tokens were estimated."""
    cost: Decimal | None = None
    """US dollars; None where no price is known."""
    seconds: float = 0.0
    waited: float = 0.0
    """Seconds waited after it, before the next try."""
    request_id: str = ""
    """The provider's name for it, to ask them about."""
    detail: str = ""


class BlockRecord(Record):
    """One block of a prompt."""

    name: str
    digest: Digest
    tokens: Tokens
    """Estimated."""
    stable: bool


class AskRecord(Record):
    """One ask with all its tries, answered or not."""

    role: Role
    model: str
    """As in the settings, without the name of the key's variable."""
    prompt: Digest
    """Of the whole ask: equal asks have equal digests."""
    blocks: tuple[BlockRecord, ...] = ()
    tries: tuple[Try, ...] = ()
    usage: Usage = Usage()
    """Of all tries."""
    cost: Decimal | None = None
    """US dollars, of all tries; None where no price is known."""
    seconds: float = 0.0
    """Wall time, waiting included."""
    continuations: int = 0
    """How often the answer was continued because ``max_tokens`` had cut it."""
    truncated: bool = False
    """The answer is not whole all the same."""
    error: str = ""
    """Why there is no answer; empty where there is one."""
    replayed: bool = False
    """The answer came from a transcript: no network, no money. Usage and cost are those of the recording."""
    note: str = ""
    """Where a replayed prompt differs from the recorded one."""
