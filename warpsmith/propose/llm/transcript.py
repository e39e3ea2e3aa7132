"""Transcripts: every ask with its answer, one JSON file each, named by the hash of what was asked.

Two folders use the form. The asks of a step under way lie beside the ledger until its outcome is in there, so that a
process that is killed pays for nothing twice. ``--transcript`` keeps all of them for good, for replays and for reading.
Both hold prompts, so they hold the task's source; neither holds a key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from warpsmith.errors import BadInput
from warpsmith.model.asks import AskRecord
from warpsmith.model.base import Digest, Record
from warpsmith.propose.llm.asking import Ask, AskError, BudgetSpent, Declined, Differs, Refused, Reply, Unreachable
from warpsmith.store.files import write_atomic

Kind = Literal["Refused", "Unreachable", "Declined", "Differs", "BudgetSpent"]
_ERRORS: dict[Kind, type[AskError]] = {
    "Refused": Refused,
    "Unreachable": Unreachable,
    "Declined": Declined,
    "Differs": Differs,
}


class Failure(Record):
    """Why there is no answer."""

    kind: Kind
    message: str
    remedy: str
    limit: Literal["money", "tokens", "calls"] | None = None
    """Of a spent budget."""

    def error(self) -> AskError:
        """The error as it was raised."""
        if self.limit is not None:
            return BudgetSpent(self.limit, self.message)
        return _ERRORS[self.kind](self.message, self.remedy)


class Entry(Record):
    """One ask with what came of it."""

    step: Digest
    """The key of the step that it was asked for."""
    round: int
    attempt: int
    """Of the step; faults before it, not processes."""
    number: int
    """Of the ask within its step, from 0."""
    ask: Ask
    text: str | None
    """The answer; None where there is none."""
    failure: Failure | None
    record: AskRecord

    @property
    def name(self) -> str:
        """Its file's name: in the order in which it was asked, then by content."""
        return f"{self.round:04}-{self.attempt}-{self.number:03}-{self.ask.digest[:16]}.json"

    def error(self) -> AskError:
        """The error that was raised where there is no answer."""
        assert self.failure is not None
        return self.failure.error()

    def reply(self) -> Reply:
        """The reply. Raises the error that was raised then where there is none."""
        if self.text is None:
            raise self.error()
        return reply_of(self.text, self.record)


def reply_of(text: str, record: AskRecord) -> Reply:
    """A reply made from its parts."""
    return Reply(
        text=text,
        usage=record.usage,
        cost=record.cost,
        model=record.model,
        seconds=record.seconds,
        truncated=record.truncated,
        continuations=record.continuations,
        request_id=record.tries[-1].request_id if record.tries else "",
    )


def failure_of(error: AskError) -> Failure:
    """What is kept of an error."""
    limit = error.limit if isinstance(error, BudgetSpent) else None
    return Failure.model_validate(
        {"kind": type(error).__name__, "message": error.message, "remedy": error.remedy, "limit": limit}
    )


def write(folder: Path, entry: Entry) -> None:
    """Keep ``entry`` whole or not at all."""
    write_atomic(folder / entry.name, entry.model_dump_json(indent=1) + "\n")


def read(folder: Path) -> list[Entry]:
    """All entries in the order in which they were asked. Raises BadInput for a file that is none or was changed."""
    entries = []
    for path in sorted(folder.glob("*.json")):
        try:
            entry = Entry.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            raise BadInput(f"{path}: not an entry of a transcript ({first['msg']}).", "Record it anew.") from None
        if entry.name != path.name or entry.record.prompt != entry.ask.digest:
            raise BadInput(f"{path}: what was asked is not what its name says.", "Restore it, or record it anew.")
        entries.append(entry)
    return entries


def remove(folder: Path, entry: Entry) -> None:
    """Remove ``entry``, if it is there."""
    (folder / entry.name).unlink(missing_ok=True)


def move(folder: Path, entry: Entry, other: Entry) -> None:
    """Keep ``other`` in the place of ``entry``; a kill in between leaves the old one, or both."""
    write(folder, other)
    if other.name != entry.name:
        remove(folder, entry)
