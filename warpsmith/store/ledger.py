"""The ledger: append-only JSON lines, one writer, every line on disk before it counts.

A line is complete when it ends in a newline. A last line without one is torn (the writer died while writing it):
readers pass over it, the next writer moves it to ``<ledger>.torn`` and goes on. Damage anywhere else is never repaired
by guessing: reading stops with the file and the line.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter, ValidationError

from warpsmith.errors import LedgerError
from warpsmith.model.campaign import Event
from warpsmith.store.files import sync_folder

_EVENT: TypeAdapter[Event] = TypeAdapter(Event)
TRIES = 10
"""Attempts at the lock of a ledger, 10 ms apart."""


class LedgerBusy(LedgerError):
    """Another process is writing this ledger."""


def read_events(path: Path) -> list[Event]:
    """All complete events, oldest first; an absent file is an empty ledger. Raises :class:`LedgerError`."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    lines = content.split(b"\n")[:-1]
    events: list[Event] = []
    for number, line in enumerate(lines, 1):
        try:
            events.append(_EVENT.validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            raise LedgerError(
                f"{path}:{number}: not an event of this version ({first['msg']}).",
                "The file was left as it is: restore it, or move it away to start anew.",
            ) from None
    return events


def writer(path: Path) -> int | None:
    """The process that is writing the ledger now, or None."""
    try:
        lock = os.open(path.with_suffix(".lock"), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.pread(lock, 32, 0) or 0) or None
    else:
        return None
    finally:
        os.close(lock)


class Ledger:
    """The one writer of a ledger. Use as a context manager; raises :class:`LedgerBusy` while another one writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if not self._locked():
            os.close(self._lock)
            raise LedgerBusy(
                f"{path}: another warpsmith process is working on this campaign.",
                "Wait for it, stop it with 'warpsmith stop TASK', or choose another --tag.",
            )
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        sync_folder(path.parent)
        self._drop_torn_line()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)
        os.close(self._lock)

    def _locked(self) -> bool:
        """Take the lock. Tried for a moment, since :func:`writer` holds it for some microseconds when it asks."""
        for _ in range(TRIES):
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.01)
            else:
                return True
        return False

    def _drop_torn_line(self) -> None:
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with self.path.with_suffix(".torn").open("ab") as torn:
                torn.write(content[whole:] + b"\n")
            os.ftruncate(self._file, whole)
            os.fsync(self._file)

    def events(self) -> list[Event]:
        """All events so far."""
        return read_events(self.path)

    def append(self, event: Event) -> Event:
        """Put ``event`` on disk, then return it. Raises OSError where the disk refuses; nothing half-written counts."""
        line = event.model_dump_json().encode() + b"\n"
        before = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, line)
            if written != len(line):
                raise OSError(f"{self.path}: {written} of {len(line)} bytes were written; the disk may be full")
        except OSError:
            os.ftruncate(self._file, before)
            raise
        os.fsync(self._file)
        return event
