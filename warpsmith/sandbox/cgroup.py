"""Control groups (version 2): each tree of processes in one of its own, with a limit of memory and of processes.

Owns where they can be made. A group that its tree left behind is removed with the tree; what a killed judge left is
removed by the next one.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from functools import lru_cache
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PREFIX = "warpsmith-"
WANTED = frozenset({"memory", "pids"})
MOST_SHARE = 0.75
"""Of this machine's memory, at most, whatever a cell asks for."""
LOOKS = 20
_numbers = itertools.count()


class Group:
    """One group. Made by :func:`make`."""

    def __init__(self, path: Path, limit: int) -> None:
        self.path = path
        self.limit = limit

    @property
    def ran_out(self) -> bool:
        """Whether the kernel ended something in it for want of memory within its limit."""
        with contextlib.suppress(OSError, ValueError):
            said = dict(line.split() for line in (self.path / "memory.events").read_text().splitlines())
            return int(said.get("oom_kill", 0)) > 0
        return False

    def remove(self) -> None:
        """Give it back. One that something is still in after a moment stays for the next sweep."""
        for _ in range(LOOKS):
            try:
                self.path.rmdir()
            except OSError:
                time.sleep(0.001)
            else:
                break


def make(memory_bytes: int, processes: int) -> Group:
    """A group beside those of this process. Raises OSError; RuntimeError where :func:`lacking` says why."""
    if why := lacking():
        raise RuntimeError(why)
    parent = _home()
    assert parent is not None
    limit = min(memory_bytes, int(MOST_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")))
    path = parent / f"{PREFIX}{os.getpid()}-{next(_numbers)}"
    path.mkdir()
    try:
        (path / "memory.max").write_text(f"{limit}\n")
        (path / "pids.max").write_text(f"{processes}\n")
        with contextlib.suppress(OSError):  # a kernel without swap
            (path / "memory.swap.max").write_text("0\n")
    except OSError:
        path.rmdir()
        raise
    return Group(path, limit)


@lru_cache(maxsize=1)
def lacking() -> str:
    """Why no group can be made here; empty where they can."""
    try:
        parent = _home()
    except OSError as error:
        return f"no control group of version 2 is to be found: {error}"
    if parent is None:
        return "no control group of version 2 around this process hands memory and pids on"
    _sweep(parent)
    probe = parent / f"{PREFIX}{os.getpid()}-probe"
    try:
        probe.mkdir()
    except OSError as error:
        return f"no control group can be made in {parent.relative_to(ROOT) or '/'}: {error.strerror}"
    try:
        for name in ("memory.max", "pids.max", "cgroup.procs"):
            os.close(os.open(probe / name, os.O_WRONLY | os.O_CLOEXEC))
    except OSError as error:
        return f"{name} of a control group cannot be written: {error.strerror}"
    finally:
        probe.rmdir()
    return ""


def _home() -> Path | None:
    """The nearest group around this process's own that hands memory and pids on to its children. Raises OSError."""
    said = Path("/proc/self/cgroup").read_text().splitlines()
    path = ROOT / next((line for line in said if line.startswith("0::")), "0::").removeprefix("0::").lstrip("/")
    for folder in (path, *path.parents):
        with contextlib.suppress(OSError):
            handed_on = (folder / "cgroup.subtree_control").read_text().split()
            if set(handed_on) >= WANTED and os.access(folder, os.W_OK):
                return folder
        if folder == ROOT:
            return None
    return None


def _sweep(parent: Path) -> None:
    """Remove the groups of judges that are gone; one that something is in cannot be removed, and stays."""
    for left in parent.glob(f"{PREFIX}*-*"):
        owner = left.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            with contextlib.suppress(OSError):
                left.rmdir()
