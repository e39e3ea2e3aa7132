"""Asking within a campaign: a sitting per Propose step, and the asker that opens them. The only door to models.

What a step asks is kept beside the ledger until the step's outcome is in the ledger. What a killed process left there
is taken over by the first sitting of the next one: it is paid for, so it is in that sitting's account, and whoever
asks the same again gets the answer. So nothing is paid twice, and the ledger counts everything once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from threading import Event, Lock

from warpsmith.model.asks import AskRecord, Role
from warpsmith.model.campaign import Budget
from warpsmith.model.step import Propose, step_key
from warpsmith.propose.llm import transcript
from warpsmith.propose.llm.asking import Ask, AskError, Reply
from warpsmith.propose.llm.caller import Caller, Pace
from warpsmith.propose.llm.connecting import connect
from warpsmith.propose.llm.names import parse
from warpsmith.propose.llm.prices import Prices
from warpsmith.propose.llm.purse import Purse, Spent, unpriced
from warpsmith.propose.llm.replay import Replay
from warpsmith.propose.llm.transcript import Entry, failure_of, reply_of
from warpsmith.propose.llm.wire import Timeouts
from warpsmith.settings import Settings
from warpsmith.store.history import History


@dataclass(frozen=True)
class Keeping:
    """Where asks and answers go."""

    pending: Path
    """Folder beside the ledger for the asks of steps under way."""
    transcript: Path | None = None
    """Folder for all of them, for good."""


class CampaignAsker:
    """Opens the sittings of one campaign in one process. ``callers`` are empty where a transcript is replayed."""

    def __init__(self, callers: Mapping[Role, Caller], keeping: Keeping, replay: Replay | None = None) -> None:
        self.callers = callers
        self.keeping = keeping
        self.replay = replay
        self.stop = Event()
        self._lock = Lock()
        self._purse: Purse | None = None
        self._answered: dict[str, list[Entry]] = {}
        """What an earlier process left, by the digest of the ask."""

    def sitting(self, step: Propose, history: History) -> StepSitting:
        """A sitting for ``step``; the first one takes over what an earlier process left."""
        with self._lock:
            waiting = transcript.read(self.keeping.pending)
            for entry in waiting:
                if _in_ledger(entry, history):
                    transcript.remove(self.keeping.pending, entry)
            if self._purse is not None:
                return StepSitting(self, step, history, self._purse, [])
            left = [e for e in waiting if not _in_ledger(e, history)]
            assert history.campaign is not None
            spent = Spent(history.money, history.tokens, history.calls)
            self._purse = Purse(history.campaign.budget, sum((_spent(e.record) for e in left), spent))
            for entry in left:
                self._answered.setdefault(entry.ask.digest, []).append(entry)
            return StepSitting(self, step, history, self._purse, left)

    def answered(self, ask: Ask) -> Entry | None:
        """What an earlier process was answered to the same ask; each answer is given out once."""
        with self._lock:
            found = self._answered.get(ask.digest)
            return found.pop(0) if found else None

    def close(self) -> None:
        """End waiting at once, running streams at their next piece, and close the connections."""
        self.stop.set()
        for caller in self.callers.values():
            caller.wire.close()


class StepSitting:
    """The asks of one step. Threads may share one."""

    def __init__(self, asker: CampaignAsker, step: Propose, history: History, purse: Purse, left: list[Entry]) -> None:
        self.asker = asker
        self.step = step
        self.key = step_key(step)
        self.faults = len(history.faults.get(self.key, ()))
        self.purse = purse
        self._lock = Lock()
        self._records: dict[int, AskRecord] = {}
        self._next = len(left)
        for number, entry in enumerate(left):
            self._records[number] = entry.record
            mine = {"step": self.key, "round": step.round, "attempt": self.faults, "number": number}
            transcript.move(asker.keeping.pending, entry, entry.model_copy(update=mine))

    @property
    def asks(self) -> tuple[AskRecord, ...]:
        """The records so far, in the order in which they were asked: for the proposal."""
        with self._lock:
            return tuple(self._records[n] for n in sorted(self._records))

    def ask(self, ask: Ask) -> Reply:
        """The answer of the role's model. Raises AskError, whose ``asks`` are all records of this sitting."""
        try:
            earlier = self.asker.answered(ask)
            return earlier.reply() if earlier else self._ask(ask)
        except AskError as error:
            error.asks = self.asks
            raise

    def _ask(self, ask: Ask) -> Reply:
        with self._lock:
            number = self._next
            self._next += 1
        try:
            replay = self.asker.replay
            text, record = replay.answer(ask) if replay else self._called(ask)
        except AskError as error:
            if error.asks and error.asks[0].tries:
                self._keep(ask, number, None, error.asks[0], error)
            raise
        self._keep(ask, number, text, record, None)
        return reply_of(text, record)

    def _called(self, ask: Ask) -> tuple[str, AskRecord]:
        return self.asker.callers[ask.role].call(ask, self.purse, self.asker.stop)

    def _keep(self, ask: Ask, number: int, text: str | None, record: AskRecord, error: AskError | None) -> None:
        entry = Entry(
            step=self.key,
            round=self.step.round,
            attempt=self.faults,
            number=number,
            ask=ask,
            text=text,
            failure=failure_of(error) if error else None,
            record=record,
        )
        transcript.write(self.asker.keeping.pending, entry)
        if self.asker.keeping.transcript is not None:
            transcript.write(self.asker.keeping.transcript, entry)
        with self._lock:
            self._records[number] = record


def _in_ledger(entry: Entry, history: History) -> bool:
    """Whether the outcome that carries the entry's record is in the ledger."""
    answered = any(r.number == entry.round for r in history.rounds)
    return answered or len(history.faults.get(entry.step, ())) > entry.attempt


def _spent(record: AskRecord) -> Spent:
    return Spent(record.cost or Decimal(), record.usage.total, len(record.tries))


def open_asker(
    settings: Settings,
    budget: Budget,
    keeping: Keeping,
    environment: Mapping[str, str],
    *,
    roles: tuple[Role, ...] = ("propose", "fix", "compact"),
    replay: Path | None = None,
    pace: Pace | None = None,
    timeouts: Timeouts | None = None,
) -> CampaignAsker:
    """The models of ``roles`` that ``settings`` name, or the transcript in ``replay``.

    Complains before any campaign opens: NoKey, Missing (no SDK), BadInput (a name, a price table, no price for a budget
    of money).
    """
    if replay is not None:
        return CampaignAsker({}, keeping, Replay(replay))
    prices = Prices(Path(settings.prices) if settings.prices else None)
    callers: dict[Role, Caller] = {}
    for role in roles:
        name = parse(getattr(settings, f"models_{role}"), f"models.{role}")
        key = name.key(environment)
        price = prices.of(str(name))
        if budget.money is not None and price is None:
            raise unpriced(str(name))
        wire = connect(name, key, timeouts or Timeouts(), settings.models_cache)
        callers[role] = Caller(name, wire, price, pace or Pace(), key, settings.models_cache == "1h")
    return CampaignAsker(callers, keeping)
