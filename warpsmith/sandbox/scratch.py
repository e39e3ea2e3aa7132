"""Temporary folders whose owner can be killed: locked while it lives, and removed by the next start once it is gone.

A lock and no process number in the name: a folder may be shared by containers that number their processes apart.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

FRESH_S = 60.0
"""A folder that is younger may not be locked yet."""


@contextlib.contextmanager
def scratch(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """An empty folder, removed at the end, here or by whoever comes next. ``parent`` is the system's own by default."""
    parent = parent or Path(tempfile.gettempdir())
    sweep(prefix, parent)
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    lock = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield made
    finally:
        os.close(lock)
        shutil.rmtree(made, ignore_errors=True)


@lru_cache(maxsize=64)
def sweep(prefix: str, parent: Path) -> int:
    """Remove the folders that nobody holds any more; how many. Once per process and place."""
    count = 0
    for left in parent.glob(f"{prefix}*"):
        try:
            lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # another user's, or gone
            continue
        try:
            if time.time() - os.fstat(lock).st_mtime > FRESH_S:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
                count += not left.exists()
        except OSError:  # its owner lives
            continue
        finally:
            os.close(lock)
    return count
