"""What asking cost: per ask, per candidate, per accepted gain. A fold over the history; pure."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from warpsmith.analyse.standing import Standing
from warpsmith.model.asks import AskRecord, Usage
from warpsmith.model.base import Record
from warpsmith.store.history import History


class Spending(Record):
    """What some asks cost together."""

    asks: int = 0
    calls: int = 0
    """Requests, failed ones and continuations too."""
    usage: Usage = Usage()
    money: Decimal = Decimal()
    """US dollars, exact; without the asks whose price is not known."""
    unpriced: int = 0
    """Asks whose price is not known."""
    unanswered: int = 0

    @property
    def cached(self) -> float:
        """Share of the tokens read that came from the provider's cache."""
        return self.usage.cache_read / self.usage.prompt if self.usage.prompt else 0.0

    def over(self, count: int) -> Decimal | None:
        """Money per one of ``count``; None where there is none."""
        return self.money / count if count else None


class Gain(Record):
    """What an accepted gain cost: everything that was asked since the one before it."""

    candidate: str
    spent: Spending


class Costs(Record):
    """What a campaign's asking cost."""

    total: Spending
    roles: dict[str, Spending]
    models: dict[str, Spending]
    candidates: dict[str, Spending]
    """The asks of the rounds that brought each one, whole; see ``share`` for the money of one among several."""
    share: dict[str, Decimal]
    """Candidate to its even share of its round's money."""
    gains: tuple[Gain, ...]
    """The leaders that asking brought, in the order in which they became the best."""
    after: Spending
    """What was asked since the last gain, in vain so far."""
    replayed: int = 0
    """Asks that a transcript answered: their money was spent when it was recorded."""


def spending(records: Iterable[AskRecord]) -> Spending:
    """The sum of some asks."""
    asked = list(records)
    return Spending(
        asks=len(asked),
        calls=sum(len(r.tries) for r in asked),
        usage=sum((r.usage for r in asked), Usage()),
        money=sum((r.cost for r in asked if r.cost is not None), Decimal()),
        unpriced=sum(r.cost is None for r in asked),
        unanswered=sum(bool(r.error) for r in asked),
    )


def costs(h: History, s: Standing) -> Costs:
    """What asking cost in the campaign of ``h``. A mended candidate is in the round that mended it."""
    everything = [a.record for a in h.asked]
    by_round = {r.number: [a.record for a in h.asked if a.round == r.number] for r in h.rounds}
    candidates: dict[str, Spending] = {}
    share: dict[str, Decimal] = {}
    for answered in h.rounds:
        spent = spending(by_round[answered.number])
        new = [c for c in answered.candidates if c not in candidates]
        if spent.asks:
            candidates |= dict.fromkeys(new, spent)
            share |= dict.fromkeys(new, spent.money / max(1, len(answered.candidates)))
    gains, rest = _gains(h, s)
    return Costs(
        total=spending(everything),
        roles={
            role: spending(r for r in everything if r.role == role) for role in _distinct(r.role for r in everything)
        },
        models={m: spending(r for r in everything if r.model == m) for m in _distinct(r.model for r in everything)},
        candidates=candidates,
        share=share,
        gains=gains,
        after=rest,
        replayed=sum(r.replayed for r in everything),
    )


def _gains(h: History, s: Standing) -> tuple[tuple[Gain, ...], Spending]:
    """Each gain with the asks up to the round that brought it, and the asks after the last one."""
    ends = {a.round: i + 1 for i, a in enumerate(h.asked)}
    brought = {c: ends[r.number] for r in reversed(h.rounds) for c in r.candidates if r.number in ends}
    gains: list[Gain] = []
    begun = 0
    for leader in s.leaders:
        if leader in brought:
            end = max(begun, brought[leader])
            gains.append(Gain(candidate=leader, spent=spending(a.record for a in h.asked[begun:end])))
            begun = end
    return tuple(gains), spending(a.record for a in h.asked[begun:])


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
