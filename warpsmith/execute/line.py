"""The line before a device: one process at a time, first come, first served. Owns the tickets; knows no steps.

``flock`` alone is not fair. Linux wakes its waiters in order, but only to try again: whoever asks before they run goes
first (``flock_lock_inode_wait`` in ``fs/locks.c``), so a process that lets go and asks anew in a loop can starve
the others. A second lock as a turnstile has the same gap. So everybody draws a numbered ticket, a file that its owner
locks, and sleeps in the kernel on the ticket before its own: a release wakes one process, and nobody is overtaken.
The kernel lets go of the ticket of whatever dies, waiting or at work; the next in line clears it away.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from warpsmith.store import files

PATIENCE_S = 5.0
"""Seconds after which a waiter says whom it waits for."""
LONGEST = 100
"""Characters of a command line that are shown."""


@dataclass(frozen=True, order=True)
class Ticket:
    """A place in the line. Its file is named after it."""

    number: int
    process: int

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.number}.{self.process}"

    @property
    def who(self) -> str:
        """Its process, with its command line where it can be read."""
        try:
            words = Path(f"/proc/{self.process}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            words = []
        said = " ".join(filter(None, words))
        return f"process {self.process}" + (f" ({said[:LONGEST]})" if said else "")


Waits = Callable[[tuple[Ticket, ...]], None]
"""Is told who is before a waiter, once, after :data:`PATIENCE_S`: whoever has the device first."""


@contextmanager
def held(line: Path, waits: Waits | None = None) -> Iterator[None]:
    """Hold what the folder ``line`` stands for, after everybody who asked before. ``waits`` is called by a thread."""
    line.mkdir(mode=0o700, exist_ok=True)
    mine, descriptor = _drawn(line)
    try:
        _wait(line, mine, waits)
        yield
    finally:
        (line / mine.name).unlink(missing_ok=True)
        os.close(descriptor)


def in_line(line: Path) -> tuple[Ticket, ...]:
    """Who is there now: whoever has the device first, then those who wait, in their order. The dead are left out."""
    return tuple(ticket for ticket in _tickets(line) if _alive(line / ticket.name))


def _drawn(line: Path) -> tuple[Ticket, int]:
    """A ticket behind all others, and its locked file."""
    with files.held(line):
        mine = Ticket(max((t.number for t in _tickets(line)), default=0) + 1, os.getpid())
        descriptor = os.open(line / mine.name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return mine, descriptor


def _wait(line: Path, mine: Ticket, waits: Waits | None) -> None:
    """Until no ticket is before ``mine``."""
    impatient: threading.Timer | None = None
    try:
        while before := [t for t in _tickets(line) if t < mine]:
            if waits is not None and impatient is None:
                impatient = threading.Timer(PATIENCE_S, _tell, (line, mine, waits))
                impatient.daemon = True
                impatient.start()
            _outlive(line / before[-1].name)
    finally:
        if impatient is not None:
            impatient.cancel()


def _outlive(ticket: Path) -> None:
    """Wait until the owner of ``ticket`` is done or dead. A number is not drawn again while a higher one is out."""
    with suppress(FileNotFoundError):
        descriptor = os.open(ticket, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            ticket.unlink()
        finally:
            os.close(descriptor)


def _alive(ticket: Path) -> bool:
    try:
        descriptor = os.open(ticket, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _tell(line: Path, mine: Ticket, waits: Waits) -> None:
    if before := tuple(t for t in in_line(line) if t < mine):
        waits(before)


def _tickets(line: Path) -> list[Ticket]:
    """All tickets in their order, also those of the dead."""
    named = (p.name.partition(".") for p in line.iterdir())
    return sorted(Ticket(int(a), int(b)) for a, _, b in named if a.isdecimal() and b.isdecimal())
