"""One ask, carried through: tries with pauses, continuations, money. Knows wires, nothing of campaigns."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from queue import Empty, Queue
from threading import Event, Thread

from warpsmith.model.asks import AskRecord, Try, Usage
from warpsmith.propose.llm.asking import Ask, AskError, BudgetSpent, Declined, Refused, Unreachable
from warpsmith.propose.llm.names import ModelName, rub_out
from warpsmith.propose.llm.prices import Price
from warpsmith.propose.llm.purse import Grant, Purse
from warpsmith.propose.llm.seam import join
from warpsmith.propose.llm.tokens import at_most
from warpsmith.propose.llm.wire import Answer, TryFailed, Wire, continuation

LARGEST_REPLY = 128_000
"""Tokens that the current models of both providers write at most in one reply."""


GLANCE = 0.1
"""Seconds between looks at whether a waiting ask is to stop."""


@dataclass(frozen=True)
class Pace:
    """How often a request is tried, and how long one waits in between."""

    tries: int = 6
    first: float = 1.0
    """Seconds before the second try; each further pause is twice as long."""
    longest: float = 60.0
    """Seconds; a server may ask for longer with ``retry-after``, up to ``patience``."""
    patience: float = 300.0
    continuations: int = 8
    """How often a cut answer is continued."""
    wait: Callable[[Event, float], object] = Event.wait
    """Waits that many seconds, or until the event is set."""

    def pause(self, failed: int, asked: float | None) -> float:
        """Seconds to wait after the ``failed``-th failure in a row, from 1, where the server ``asked`` for some.

        Half of it is random, so that clients that failed together do not come back together.
        """
        if asked is not None:
            return min(asked, self.patience)
        pause = min(self.longest, self.first * 2.0 ** (failed - 1))
        return pause * (0.5 + 0.5 * random.random())


@dataclass(frozen=True)
class Caller:
    """One model behind its wire."""

    name: ModelName
    wire: Wire
    price: Price | None
    pace: Pace
    key: str = field(default="", repr=False)
    long_cache: bool = False
    """Whether cache writes are for the longer time."""

    def call(self, ask: Ask, purse: Purse, stop: Event) -> tuple[str, AskRecord]:
        """The whole answer and its record. Raises AskError, with the record in ``asks``."""
        under_way = _Call(self, ask, purse, stop)
        try:
            return under_way.run(), under_way.record()
        except AskError as error:
            error.asks = (under_way.record(error.message),)
            raise


class _Call:
    """The state of one ask."""

    def __init__(self, caller: Caller, ask: Ask, purse: Purse, stop: Event) -> None:
        self.caller = caller
        self.ask = ask
        self.purse = purse
        self.stop = stop
        self.began = time.monotonic()
        self.tries: list[Try] = []
        self.text = ""
        self.continuations = 0
        self.truncated = False

    def run(self) -> str:
        """The text, continued until it is whole, or as far as budget and patience go."""
        wanted = self.ask.max_tokens
        while True:
            try:
                answer = self._answer(wanted)
            except BudgetSpent:
                if not self.text:
                    raise
                self.truncated = True
                return self._clean(self.text)
            if answer.ending == "declined":
                raise Declined(
                    f"{self.caller.name} would not answer: {self._clean(answer.text)[:300] or 'it gave no reason'}.",
                    "Shorten or reword what is asked, or name another model.",
                )
            prefilled = self.caller.wire.prefills  # then nothing is repeated but the last white space
            self.text = self.text.rstrip() + answer.text if prefilled else join(self.text, answer.text)
            if answer.ending == "answered":
                return self._clean(self.text)
            if self.continuations == self.caller.pace.continuations:
                self.truncated = True
                return self._clean(self.text)
            self.continuations += 1
            if not self.text.strip():  # all of it went into thinking: there is nothing to go on from
                self.text, wanted = "", min(2 * wanted, LARGEST_REPLY)

    def _answer(self, wanted: int) -> Answer:
        """One answered request. Raises BudgetSpent, Refused, Unreachable."""
        for failed in range(1, self.caller.pace.tries + 1):
            grant = self.purse.grant(self._prompt(), wanted, self.caller.price, long_cache=self.caller.long_cache)
            began = time.monotonic()
            try:
                answer = self._send(grant.max_tokens)
            except TryFailed as failure:
                self._failed(failure, failed, grant, began)
                continue
            cost = self._settle(grant, answer.usage)
            self.tries.append(
                Try(
                    ending=answer.ending,
                    status=200,
                    usage=answer.usage,
                    estimated=answer.estimated,
                    cost=cost,
                    seconds=time.monotonic() - began,
                    request_id=answer.request_id,
                )
            )
            return answer
        last = self.tries[-1]
        raise Unreachable(
            f"{self.caller.name} did not answer in {self.caller.pace.tries} tries; the last: {_told(last)}.",
            "Try again later, or name another model under [models] in warpsmith.toml.",
        )

    def _send(self, max_tokens: int) -> Answer:
        """One request, on a thread of its own: a silent connection cannot be interrupted, only left behind."""
        ended: Queue[Answer | Exception] = Queue()

        def send() -> None:
            try:
                ended.put(self.caller.wire.send(self.ask, self.text, max_tokens, self.stop.is_set))
            except Exception as error:  # noqa: BLE001 (raised again below, on the thread that asks)
                ended.put(error)

        Thread(target=send, name="request", daemon=True).start()
        while True:
            try:
                found = ended.get(timeout=GLANCE)
            except Empty:
                if self.stop.is_set():
                    raise TryFailed("stream_cut", "stopped") from None
                continue
            if isinstance(found, Exception):
                raise found
            return found

    def _failed(self, failure: TryFailed, failed: int, grant: Grant, began: float) -> None:
        """Record a failed try, then wait. Raises Refused where waiting cannot help, Unreachable when stopped."""
        usage = failure.usage or Usage()
        cost = self._settle(grant, usage)
        seconds = time.monotonic() - began
        again = failure.ending != "refused" and failed < self.caller.pace.tries and not self.stop.is_set()
        pause = self.caller.pace.pause(failed, failure.retry_after) if again else 0.0
        done = Try(
            ending=failure.ending,
            status=failure.status,
            usage=usage,
            estimated=failure.usage is not None,
            cost=cost,
            seconds=seconds,
            waited=pause,
            request_id=failure.request_id,
            detail=self._detail(failure),
        )
        self.tries.append(done)
        if failure.ending == "refused":
            raise Refused(f"{self.caller.name} refused: {_told(done)}.", _remedy(failure.status, self.caller.name))
        if pause:
            self.caller.pace.wait(self.stop, pause)
        if self.stop.is_set():
            raise Unreachable(f"{self.caller.name} was not asked to the end: the campaign was stopped.")

    def _settle(self, grant: Grant, usage: Usage) -> Decimal | None:
        price = self.caller.price
        cost = price.of(usage, long_cache=self.caller.long_cache) if price else None
        self.purse.settle(grant, usage, cost)
        return cost

    def _prompt(self) -> int:
        """Tokens of the request at most: the ask, and what a continuation repeats."""
        again = at_most(self.text) + at_most(continuation(self.text)) if self.text else 0
        return sum(at_most(b.text) for b in self.ask.blocks) + again

    def _detail(self, failure: TryFailed) -> str:
        """What the server said. Of a key that it will not take it says parts of the key: those words are ours."""
        if failure.status in (401, 403):
            return f"it does not take the key in {self.caller.name.variable or 'no variable'}"
        return self._clean(failure.detail)[:500]

    def _clean(self, text: str) -> str:
        return rub_out(text, (self.caller.key,))

    def record(self, error: str = "") -> AskRecord:
        """What the ledger keeps of it."""
        return AskRecord(
            role=self.ask.role,
            model=str(self.caller.name),
            prompt=self.ask.digest,
            blocks=self.ask.records(),
            tries=tuple(self.tries),
            usage=sum((t.usage for t in self.tries), Usage()),
            cost=sum((t.cost or Decimal() for t in self.tries), Decimal()) if self.caller.price else None,
            seconds=time.monotonic() - self.began,
            continuations=self.continuations,
            truncated=self.truncated,
            error=error,
        )


def _told(done: Try) -> str:
    status = f"{done.status} " if done.status else ""
    return f"{status}{done.ending.replace('_', ' ')}{': ' if done.detail else ''}{done.detail.rstrip('.')}"


def _remedy(status: int | None, name: ModelName) -> str:
    if status in (401, 403):
        where = f"in {name.variable}" if name.variable else "(name its variable with #VARIABLE behind the model)"
        return f"Put a key that is valid for this server {where}, or use '--proposer sweep', which needs none."
    if status == 404:
        return "Check the model's name and the URL."
    return "Name another model, or look the message up with the provider."
