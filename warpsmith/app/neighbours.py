"""Who else computes on the GPUs: what an earlier work of ours left is ended, anybody else is named and stops us."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from warpsmith.app.commands import MARK, end_leftovers
from warpsmith.errors import BadInput
from warpsmith.judge.nvml import gpus
from warpsmith.judge.pin import visible


@dataclass(frozen=True)
class Neighbour:
    """A process with a context on a GPU."""

    pid: int
    name: str
    device: str

    @property
    def mark(self) -> str:
        """The work of ours that it belongs to; empty where it is none of ours, or not to be looked into."""
        wanted = f"{MARK}=".encode()
        with suppress(OSError):
            for one in Path(f"/proc/{self.pid}/environ").read_bytes().split(b"\0"):
                if one.startswith(wanted):
                    return one.removeprefix(wanted).decode(errors="replace")
        return ""


Look = Callable[[], Iterable[Neighbour]]


def clear(mark: str, look: Look | None = None) -> tuple[str, ...]:
    """End what works of ours left on the GPUs, and say so. ``mark`` is the work under way: what is its own may stay.

    Raises BadInput naming every process that is not ours.
    """
    found = [n for n in (look or neighbours)() if n.pid != os.getpid()]
    marks = {n: n.mark for n in found}
    foreign = [n for n in found if not marks[n]]
    ours = sorted({m for m in marks.values() if m not in ("", mark)})
    said = tuple(f"{len(end_leftovers(m))} processes of the work {m} were ended" for m in ours)
    if foreign:
        named = ", ".join(f"{n.name} (pid {n.pid}) on {n.device}" for n in foreign)
        raise BadInput(
            f"another program computes on the GPU: {named}.", "Wait for it or end it: beside it no time means anything."
        )
    return said


def neighbours() -> tuple[Neighbour, ...]:
    """Processes with a context on a GPU that is visible to us; none where there is no driver that could tell."""
    try:
        found = visible(gpus(), os.environ)
    except OSError:
        return ()
    return tuple(
        Neighbour(p.pid, p.name, f"{g.name} {g.index}") for g in found if not g.unusable for p in g.processes or ()
    )
