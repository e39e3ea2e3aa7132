"""The journal of one application: what is about to happen is on disk before it happens.

Append-only JSON lines, each followed by fsync. A last line without its newline was being written when its writer died,
and does not count: nothing of it had begun.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from warpsmith.errors import LedgerError
from warpsmith.model.app import AppFile
from warpsmith.model.base import Record
from warpsmith.store.files import sync_folder

Phase = Literal["begun", "building", "saved", "changing", "kept", "restoring", "closed"]
"""``begun``: a work with its mark. ``building``: the application's own build, of its own sources. ``saved``: the copy
of the tree is whole. ``changing``: from here on the tree may differ. ``kept``: the change stays. ``restoring``: the
copy is being put back. ``closed``: the tree is in one of its two states, and nothing of ours runs.
"""


class Entry(Record):
    """One line."""

    phase: Phase
    work: str
    """Id of the work, which also marks its processes."""
    at: float
    what: str = ""
    files: tuple[AppFile, ...] = ()
    """``saved``: the tree as it was."""


class Journal:
    """One writer at a time: whoever holds the lock of the folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> tuple[Entry, ...]:
        """All whole lines, oldest first. Raises LedgerError for one that is whole and cannot be read."""
        try:
            lines = self.path.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return ()
        try:
            return tuple(Entry.model_validate_json(line) for line in lines)
        except ValidationError as error:
            raise LedgerError(
                f"{self.path}: not a journal of this version ({error.errors()[0]['msg']}).",
                "It was left as it is; the copy of the tree lies beside it.",
            ) from None

    def open_work(self) -> tuple[Entry, ...]:
        """The entries of the work that was not closed; none where every one was."""
        entries = self.entries()
        mine = tuple(e for e in entries if e.work == entries[-1].work) if entries else ()
        return () if not mine or mine[-1].phase == "closed" else mine

    def append(self, entry: Entry) -> None:
        """Put a line on disk; only then may begin what it says."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            content = self.path.read_bytes()
            os.ftruncate(descriptor, content.rfind(b"\n") + 1)  # a torn line of a writer that died
            os.lseek(descriptor, 0, os.SEEK_END)
            line = entry.model_dump_json().encode() + b"\n"
            if os.write(descriptor, line) != len(line):
                raise OSError(f"{self.path}: a line was not written whole; the disk may be full")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(self.path.parent)
