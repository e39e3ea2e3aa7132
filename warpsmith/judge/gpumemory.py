"""How much of its GPU a server under load comes to hold: by its processes where the driver tells, else by all in use.

Growth counts from the end of a scenario's warm-up to the end of its load, and adds up over the loads of one server: a
caching allocator grows with the first requests of a kind, a leak with every one. So another server beside it, which
nobody loads meanwhile, does not count either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from warpsmith.judge.nvml import Holders, Process
from warpsmith.model.harness import Server
from warpsmith.model.target import Target

IDLE_BYTES = 1 << 30
"""In use on a GPU on which nobody computes, at most: the driver's own."""


class Told(Protocol):
    """What the driver tells of one GPU: :class:`warpsmith.judge.nvml.Holders`."""

    def processes(self) -> tuple[Process, ...] | None:
        """Who computes on it now."""

    def used(self) -> int | None:
        """Bytes in use."""

    def close(self) -> None:
        """Ask no more."""


@dataclass(frozen=True)
class Held:
    """Bytes at one moment."""

    bytes: int
    who: frozenset[int] | None
    """Everybody on the GPU, where all that is in use counts; None where it is the server's own alone."""

    def since(self, before: Held) -> int | None:
        """Growth; None where the two cannot be compared: somebody came or went, or the driver tells otherwise now."""
        return self.bytes - before.bytes if self.who == before.who else None


class GpuMemory:
    """The memory of the GPU of one measurement. Made before any server of it starts, so that others are known."""

    def __init__(self, server: Server, target: Target, ask: Callable[[str], Told] = Holders) -> None:
        self.watched = target.hardware == "cuda"
        self._limit = server.gpu_growth_bytes
        self._told: Told | None = None
        self._unseen = ""
        """Why it is not watched, once that is so."""
        self._what = ""
        """What counted, once something did."""
        self._lost = 0
        """Loads whose growth could not be told."""
        self._others: tuple[Process, ...] | None = ()
        self._used: int | None = None
        if not self.watched:
            return
        if server.url:
            self._unseen = "the server is not ours"
            return
        try:
            self._told = ask(target.uuid.removeprefix("GPU-").removeprefix("MIG-").replace("-", ""))
        except OSError as error:
            self._unseen = f"the driver tells nothing of it ({error})"
            return
        self._others, self._used = self._told.processes(), self._told.used()

    @property
    def said(self) -> str:
        """How it was watched, for the conditions; empty where there is no GPU."""
        if not self.watched:
            return ""
        if self._unseen:
            return f"; that of a GPU is not watched: {self._unseen}"
        of = f" ({self._what})" if self._what else ""
        lost = f"; not watched in {self._lost} scenarios, for others came or went" if self._lost else ""
        return f", that of the GPU by {self._limit} from the end of each warm-up on{of}{lost}"

    def held(self, processes: Sequence[int]) -> Held | None:
        """What a server of those processes holds; None where that cannot be told, which the conditions then say."""
        if self._told is None or self._unseen:
            return None
        there = self._told.processes()
        own = [one for one in there or () if one.pid in processes]
        told = [one.held_bytes for one in own if one.held_bytes is not None]
        if own and len(told) == len(own):
            self._what = self._what or "what the driver tells of each process"
            return Held(sum(told), None)
        return self._of_all(there, bool(own))

    def growth(self, before: Held | None, after: Held | None) -> int:
        """Bytes that came between two moments; 0 where that cannot be told."""
        if before is None or after is None:
            return 0
        grown = after.since(before)
        self._lost += grown is None
        return grown or 0

    def _of_all(self, there: tuple[Process, ...] | None, seen: bool) -> Held | None:
        """All that is in use, which stands for the server's where nobody else computed there when all began."""
        used = self._told.used() if self._told is not None else None
        if there is None or self._others is None:
            self._unseen = "who computes on it cannot be told from here"
        elif self._others:
            named = ", ".join(f"{one.name} (pid {one.pid})" for one in self._others)
            self._unseen = f"the driver does not tell what the server's processes hold, and {named} computes on it too"
        elif used is None or self._used is None:
            self._unseen = "the driver does not tell how much is in use"
        elif self._used > IDLE_BYTES:
            self._unseen = f"the driver names no processes, and {self._used >> 20} MiB were in use before any server"
        else:
            why = "tells no memory by process" if seen else "does not name the server's processes"
            self._what = f"all that is in use on it, since the driver {why}"
            return Held(used, frozenset(one.pid for one in there))
        return None

    def close(self) -> None:
        """Ask no more; safe twice. What was found stays to be said."""
        told, self._told = self._told, None
        if told is not None:
            with suppress(OSError):
                told.close()
