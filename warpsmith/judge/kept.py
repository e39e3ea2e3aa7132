"""What a worker's libraries compiled, kept for the workers that follow it: a compiler's cache survives fresh processes.

The worker stands still, but its files are a stranger's: no link is followed, only plain files of a bounded number and
size are taken, and what follows is of the same candidate. It can tell its successors nothing that helps: every call
gets inputs that no process has seen.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

MOST_FILES = 2000
MOST_BYTES = 64 << 20
DEEPEST = 3
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class _TooMuch(Exception):
    """More than is kept."""


class Keeper:
    """Copies the folder ``inside`` of a process's view of the files to ``to``, which must not exist."""

    def __init__(self, process: int, inside: str, to: Path) -> None:
        self.process, self.inside, self.to = process, inside, to
        self._files = self._bytes = 0

    def keep(self) -> bool:
        """Whether there was anything, and all of it was kept."""
        try:
            folder = os.open(f"/proc/{self.process}/root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            for name in self.inside.strip("/").split("/"):
                above = folder
                try:
                    folder = os.open(name, _FOLDER, dir_fd=above)
                finally:
                    os.close(above)
            self._copy(folder, self.to, 0)
        except (OSError, _TooMuch):
            return False
        return self._files > 0

    def _copy(self, folder: int, to: Path, depth: int) -> None:
        """The contents of an open folder, which is closed."""
        with contextlib.ExitStack() as closing:
            closing.callback(os.close, folder)
            if depth > DEEPEST:
                raise _TooMuch
            to.mkdir()
            for name in os.listdir(folder):
                said = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISDIR(said.st_mode):
                    self._copy(os.open(name, _FOLDER, dir_fd=folder), to / name, depth + 1)
                elif stat.S_ISREG(said.st_mode):
                    self._copy_file(os.open(name, _FILE, dir_fd=folder), to / name)

    def _copy_file(self, descriptor: int, to: Path) -> None:
        with open(descriptor, "rb") as file:
            content = file.read(MOST_BYTES + 1)
        self._files += 1
        self._bytes += len(content)
        if self._files > MOST_FILES or self._bytes > MOST_BYTES:
            raise _TooMuch
        to.write_bytes(content)
