"""The hard budget: what may still be spent on asking. Nothing is sent whose worst case would not fit.

Before each request its worst case is reserved: the prompt (estimated high, at the dearest rate) and the longest reply,
which is shortened to what is left. Afterwards what it really cost takes the reservation's place. So a budget holds
between retries, between continuations, and for asks side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from threading import Lock

from warpsmith.errors import BadInput
from warpsmith.model.asks import Usage
from warpsmith.model.campaign import Budget
from warpsmith.propose.llm.asking import BudgetSpent
from warpsmith.propose.llm.prices import Price, cents

LEAST = 1024
"""Tokens of a reply below which asking is no use; an ask that wants fewer gets what it wants or nothing."""


@dataclass(frozen=True)
class Spent:
    """What was spent, or is reserved."""

    money: Decimal = Decimal()
    tokens: int = 0
    calls: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.money + other.money, self.tokens + other.tokens, self.calls + other.calls)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.money - other.money, self.tokens - other.tokens, self.calls - other.calls)


@dataclass(frozen=True)
class Grant:
    """Leave for one request."""

    max_tokens: int
    reserved: Spent


class Purse:
    """A budget and what was spent of it. Threads may share one."""

    def __init__(self, budget: Budget, spent: Spent) -> None:
        self.budget = budget
        self.spent = spent
        self._lock = Lock()

    def grant(self, prompt: int, wanted: int, price: Price | None, *, long_cache: bool = False) -> Grant:
        """Leave to send ``prompt`` tokens at most and to get up to ``wanted`` back.

        Raises BudgetSpent, and BadInput for a budget of money where no price is known.
        """
        least = min(LEAST, wanted)
        with self._lock:
            if self.budget.calls is not None and self.spent.calls >= self.budget.calls:
                raise BudgetSpent("calls", f"{self.budget.calls} calls were made, as many as the budget allows.")
            room = wanted
            if self.budget.tokens is not None:
                left = self.budget.tokens - self.spent.tokens
                room = min(room, left - prompt)
                if room < least:
                    raise BudgetSpent(
                        "tokens", f"{left} tokens are left of the budget, too few for a prompt of up to {prompt}."
                    )
            if self.budget.money is not None:
                room = min(room, self._affordable(prompt, price, least, long_cache))
            worst = Usage(cache_write=prompt, output=room)
            plain = Usage(input=prompt, output=room)
            money = max(price.of(u, long_cache=long_cache) for u in (worst, plain)) if price else Decimal()
            reserved = Spent(money, prompt + room, 1)
            self.spent += reserved
        return Grant(room, reserved)

    def settle(self, grant: Grant, usage: Usage, cost: Decimal | None) -> None:
        """Put what the request cost in the place of what was reserved. The call counts whatever became of it."""
        with self._lock:
            self.spent = self.spent - grant.reserved + Spent(cost or Decimal(), usage.total, 1)

    def _affordable(self, prompt: int, price: Price | None, least: int, long_cache: bool) -> int:
        assert self.budget.money is not None
        if price is None:
            raise unpriced()
        left = self.budget.money - self.spent.money
        room = price.affordable(left, prompt, long_cache=long_cache)
        if room < least:
            raise BudgetSpent(
                "money",
                f"{cents(max(left, Decimal()))} are left of ${self.budget.money}, too little for another request.",
            )
        return room


def unpriced(model: str = "the model") -> BadInput:
    """The complaint about a budget of money for a model without a price."""
    return BadInput(
        f"--budget money: no price is known for {model}.",
        "Add it to a TOML file that the setting 'prices' names, or limit tokens or calls instead.",
    )
