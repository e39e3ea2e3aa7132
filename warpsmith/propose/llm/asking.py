"""The contract between what is said to a model (prompts, hygiene, memory) and how it is asked (wires, money,
retries).

A proposer does not hold a model. It opens a *sitting* for its step and asks through it::

    sitting = asker.sitting(step, history)        # warpsmith.propose.llm.sitting
    reply = sitting.ask(Ask(role="propose", system=blocks, messages=(Message(role="user", blocks=(...)),)))
    return Proposal(candidates=..., asks=sitting.asks)

The sitting chooses the model of the role, keeps to the budget, retries, continues what was cut, prices, keeps the
transcript, and collects one :class:`AskRecord` per ask. Whatever it raises is an :class:`AskError`, which the sitting
has already recorded; the crew puts ``error.asks`` into the fault, so nothing that cost money is missing from the
ledger.

After a kill the same step with the same history makes the same asks: those that were answered already are not asked
again, whether or not a transcript is kept. So an ask must not hold a time, a random number or a memory address.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cached_property
from typing import Annotated, Literal, Protocol, Self

from pydantic import Field, model_validator

from warpsmith.errors import Missing, WarpsmithError
from warpsmith.model.asks import AskRecord, BlockRecord, Role, Usage
from warpsmith.model.base import Record, digest, digest_bytes
from warpsmith.model.step import Propose
from warpsmith.store.history import History

__all__ = [
    "Ask", "AskError", "AskRecord", "Block", "BlockRecord", "BudgetSpent", "Declined", "Differs", "Message", "Model",
    "NoKey", "Refused", "Reply", "Role", "Unreachable", "Usage",
]  # fmt: skip

MAX_TOKENS = 32_000
"""Longest reply before it is continued. Thinking counts, so it is far above what the files themselves need."""


class Block(Record):
    """A named part of a prompt. The name is what records, token accounts and differences are told by."""

    name: str
    text: str
    stable: bool = False
    """Byte-identical in every ask of this role in the run: the provider may cache it."""


class Message(Record):
    """One turn. ``blocks`` are joined by blank lines on the wire."""

    role: Literal["user", "assistant"]
    blocks: tuple[Block, ...]
    stable: bool = False
    """The conversation so far will be sent again (a fix loop): cache up to here. At most three messages of an ask."""

    @property
    def text(self) -> str:
        """What is sent."""
        return "\n\n".join(b.text for b in self.blocks)


def said(role: Literal["user", "assistant"], text: str, name: str = "", *, stable: bool = False) -> Message:
    """A message of one block; its name is the role where none is given."""
    return Message(role=role, blocks=(Block(name=name or role, text=text),), stable=stable)


class Ask(Record):
    """Everything that is said in one ask. Raises ValidationError for an ask that no provider would take."""

    role: Role
    system: tuple[Block, ...]
    """Stable blocks first: a cache holds prefixes, so what follows a changed byte is read anew."""
    messages: Annotated[tuple[Message, ...], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] = MAX_TOKENS
    """Of one reply, thinking included; a reply that reaches it is continued."""

    @model_validator(mode="after")
    def _can_be_sent(self) -> Self:
        stable = [b.stable for b in self.system]
        if stable != sorted(stable, reverse=True):
            raise ValueError("a stable block stands after one that changes, where no cache can hold it")
        if self.messages[-1].role != "user":
            raise ValueError("the last message is not the user's")
        if any(not b.text.strip() for b in self.blocks):
            raise ValueError(f"blocks are empty: {[b.name for b in self.blocks if not b.text.strip()]}")
        if sum(m.stable for m in self.messages) > 3:
            raise ValueError("more than three messages are stable")
        return self

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks, in the order in which they are sent."""
        return (*self.system, *(b for m in self.messages for b in m.blocks))

    @cached_property
    def digest(self) -> str:
        """Of what is said to whom: role, system and messages, not the limit."""
        return digest(self.model_dump(mode="json", exclude={"max_tokens"}))

    def records(self) -> tuple[BlockRecord, ...]:
        """The blocks as the ledger keeps them, with estimated tokens."""
        from warpsmith.propose.llm.tokens import estimate

        return tuple(
            BlockRecord(name=b.name, digest=digest_bytes(b.text.encode()), tokens=estimate(b.text), stable=b.stable)
            for b in self.blocks
        )


class Reply(Record):
    """A whole answer: what was cut is joined, what failed on the way is in the record."""

    text: str
    usage: Usage
    """Of all tries, failed ones too."""
    cost: Decimal | None
    """US dollars, of all tries; None where no price is known."""
    model: str
    seconds: float
    """Wall time, waiting included."""
    truncated: bool
    """The answer is still cut after all continuations, or because the budget ended."""
    continuations: int
    request_id: str
    """Of the last try."""


class Model(Protocol):
    """Whoever answers: a provider behind retries and a purse, a transcript, or a sitting."""

    def ask(self, ask: Ask) -> Reply:
        """The answer. Raises AskError: BudgetSpent before any money is spent beyond the budget, Refused where asking
        again cannot help, Unreachable after the last try, Declined where the model will not answer.
        """


class Sitting(Protocol):
    """The asks of one step; threads may share it."""

    @property
    def asks(self) -> tuple[AskRecord, ...]:
        """The records so far: what the proposal carries."""

    def ask(self, ask: Ask) -> Reply:
        """As :meth:`Model.ask`, of the model that the settings name for ``ask.role``."""


class Asker(Protocol):
    """Opens sittings; one per campaign and process (warpsmith.propose.llm.sitting.open_asker makes it)."""

    def sitting(self, step: Propose, history: History) -> Sitting:
        """A sitting for ``step``."""

    def close(self) -> None:
        """End all asking at once: pauses now, streams at their next piece."""


class AskError(WarpsmithError):
    """An ask without an answer. ``asks`` holds the records of the sitting so far, this one's included."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.asks: tuple[AskRecord, ...] = ()


class NoKey(Missing):
    """A model that needs a key which the environment does not hold. Raised before a campaign opens."""


class BudgetSpent(AskError):
    """No further request fits into what the budget leaves: propose what there is, with ``short_of=error.limit``."""

    def __init__(self, limit: Literal["money", "tokens", "calls"], message: str) -> None:
        super().__init__(message, f"Raise it with --budget {limit}=N; the same command goes on from here.")
        self.limit = limit


class Refused(AskError):
    """The provider will not take this request: wrong key, unknown model, or a request it calls bad."""


class Unreachable(AskError):
    """Every try failed: rate limits, overload, server errors, network."""


class Declined(AskError):
    """The model answered that it will not, or has no room in its context: another prompt is needed."""


class Differs(AskError):
    """A replayed campaign asks something that its transcript does not hold."""
