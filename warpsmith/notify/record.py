"""What was told, and what became of it: notices, and the append-only file of their records."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from warpsmith.model.base import Record

Kind = Literal["new_best", "finished", "failed", "promoted", "rejected", "handed_off", "measured", "test"]
OFTEN: frozenset[Kind] = frozenset({"new_best", "measured"})
"""Kinds that can come in quick succession: no more than one per ``notify_every_s`` and campaign goes out."""
Status = Literal[
    "not_configured", "disabled_by_flag", "missing", "sent", "partly_sent", "failed", "timed_out", "given_up",
    "superseded", "held_back",
]  # fmt: skip
TAIL = 1 << 18
"""Bytes at the end of the file that are looked through for what went out before."""


class Notice(Record):
    """Something worth telling."""

    kind: Kind
    line: str
    """What happened, in one line."""
    task: str = ""
    tag: str = ""
    candidate: str = ""
    facts: dict[str, str] = {}
    """Key ratios and the like: name to text."""
    report: str = ""
    """Path of the report."""
    at: float

    @property
    def title(self) -> str:
        """The subject."""
        return " ".join(["warpsmith:", self.kind.replace("_", " "), self.task]).rstrip()

    @property
    def body(self) -> str:
        """The message: the line, then the facts."""
        said = {"task": self.task, "tag": self.tag, "candidate": self.candidate, **self.facts, "report": self.report}
        return "\n".join([self.line, *(f"{name}: {text}" for name, text in said.items() if text)])


class Sent(Record):
    """What one address made of it."""

    channel: str
    """The address without its secrets."""
    sent: bool
    detail: str = ""
    """What went wrong, without secrets."""


class Notification(Record):
    """The record of one notice."""

    notice: Notice
    webhook_enabled_by_config: bool
    """Whether the settings name an address."""
    webhook_disabled_by_flag: bool
    """Whether ``--no-webhook`` was given."""
    webhook_expected: bool
    """Whether it was to be sent: enabled and not disabled."""
    webhook_attempted: bool
    """Whether anything was asked of the network."""
    webhook_sent: bool
    """Whether every address took it."""
    webhook_status: Status
    detail: str = ""
    channels: tuple[Sent, ...] = ()
    seconds: float = 0.0


class Book:
    """The file of all notifications of a project, one JSON line each. Writing never raises: nobody's run depends on
    it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: Notification) -> None:
        """Put ``record`` at the end, in one write."""
        line = record.model_dump_json().encode() + b"\n"
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(file, line)
            finally:
                os.close(file)

    def latest(self) -> list[Notification]:
        """The latest records, oldest first; a line that cannot be read is passed over."""
        try:
            with self.path.open("rb") as file:
                start = max(0, file.seek(0, os.SEEK_END) - TAIL)
                file.seek(start)
                lines = file.read().split(b"\n")[1 if start else 0 :]
        except OSError:
            return []
        found = []
        for line in lines:
            with suppress(ValidationError, json.JSONDecodeError):
                found.append(Notification.model_validate_json(line))
        return found

    def last_out(self, notice: Notice) -> float:
        """When a notice of this kind last went out for the same task and tag; 0 where none did."""
        same = (notice.kind, notice.task, notice.tag)
        out = [n for n in self.latest() if n.webhook_attempted]
        return max((n.notice.at for n in out if (n.notice.kind, n.notice.task, n.notice.tag) == same), default=0.0)
