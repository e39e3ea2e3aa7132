"""One run of a command of a harness: in the sandbox as far as a harness can bear it, ended whole, its output bounded.

A harness needs the caller's files and tools, and may speak to itself over loopback; so it sees this machine's files,
read-only, and the network. What it may write is its own copy of the workspace and a /tmp that goes with the run.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from warpsmith.judge.failures import OUTPUT_LIMIT, CandidateFailed, death
from warpsmith.model.evaluation import Status
from warpsmith.sandbox import layers
from warpsmith.sandbox.cell import Cell, Mechanism
from warpsmith.sandbox.process import Process, start

OPEN = frozenset({"network", "syscalls", "uid"})
"""Layers that a harness does without: it may listen on loopback, pin itself to cores, and read its owner's files."""
OWN = frozenset({Path("/proc"), Path("/sys"), Path("/dev"), Path("/tmp"), Path("/run"), Path("/var/tmp")})
"""Folders that are not shown: the sandbox has its own, or they hold sockets of the machine's services."""
_HIDDEN = (("tmp",), ("run",), ("var",))
"""First parts of what may be hidden though it is no device and no process."""
PROCESSES = 4096
TMP_BYTES = 4 << 30
FILE_BYTES = 16 << 30
EXCERPT = 400
"""Characters of what was printed that a message quotes."""


@dataclass(frozen=True)
class Ran:
    """How a run ended, and what it printed."""

    status: int | None
    """Exit status, negative for a signal; None where it was ended."""
    out: bytes
    err: bytes
    seconds: float
    ended: tuple[Status, str] | None = None
    """What it was ended for by the judge or, for want of memory, by the kernel; and in words."""

    @property
    def said(self) -> str:
        """How both streams end, for a message."""
        parts = [f"{name} ends {_excerpt(text)}" for name, text in (("stdout", self.out), ("stderr", self.err)) if text]
        return "; ".join(parts) or "it printed nothing"


@dataclass(frozen=True)
class Place:
    """Where and with what commands run."""

    folder: Path
    """The working directory, the only folder of this machine that they may write."""
    environment: dict[str, str]
    timeout_s: float
    cuda: bool = False


def run(argv: Sequence[str], place: Place) -> Ran:
    """Run a command to its end, or end it, with all that it started. Raises SandboxFailed.

    A shell of the system's inside the sandbox only replaces itself by the command: where that cannot be, it says why
    and ends with status 126 or 127. The variables are set inside too, for some of them would change whoever sees them.
    """
    variables = [f"{name}={value}" for name, value in sorted(place.environment.items())]
    gpu = {k: v for k, v in place.environment.items() if k == "CUDA_VISIBLE_DEVICES"}
    cell = Cell(
        argv=("/usr/bin/env", "-i", *variables, "/bin/sh", "-c", 'exec "$@"', "sh", *argv),
        environment={"PATH": "/usr/bin:/bin", "LC_ALL": "C", **gpu},
        cwd=str(place.folder),
        writes=((place.folder, place.folder),),
        folders=shown((*argv, *place.environment.values())),
        limits={"RLIMIT_FSIZE": FILE_BYTES},
        tmp_bytes=TMP_BYTES,
        memory_bytes=1 << 50,
        processes=PROCESSES,
        cuda=place.cuda,
    )
    began = time.monotonic()
    ends = [os.pipe() for _ in range(2)]
    try:
        child = start(cell, mechanism(), stdout=ends[0][1], stderr=ends[1][1])
    finally:
        for _, end in ends:
            os.close(end)
    try:
        streams, ended = _collect(child, [end for end, _ in ends], began + place.timeout_s)
        if ended is Status.timed_out:
            why = f"it did not end within {place.timeout_s:g} s"
        elif ended is not None:
            why = f"it printed more than {OUTPUT_LIMIT >> 20} MiB"
        elif child.ran_out:
            ended, why = Status.crashed, f"it wanted more than {child.ran_out >> 20} MiB of memory"
        status = child.returncode if ended is None else None
    finally:
        child.end()
        for end, _ in ends:
            os.close(end)
    return Ran(status, *streams, time.monotonic() - began, (ended, why) if ended else None)


def failure(ran: Ran, what: str) -> Exception | None:
    """What a run that did not end well means; None where its exit status is 0."""
    if ran.ended is not None or ran.status is None:
        status, why = ran.ended or (Status.crashed, "it ended without a status")
        return CandidateFailed(status, f"{what}: {why}; {ran.said}")
    if ran.status == 0:
        return None
    if ran.status > 0:
        return CandidateFailed(Status.crashed, f"{what} ended with exit status {ran.status}; {ran.said}")
    if ran.status == -signal.SIGXFSZ:
        return CandidateFailed(Status.crashed, f"{what} wrote a file of more than {FILE_BYTES >> 30} GiB; {ran.said}")
    return death(ran.status, f"during {what}; {ran.said}")


@lru_cache(maxsize=1)
def mechanism() -> Mechanism:
    """The layers that harnesses run under."""
    how = layers().how
    open_ = OPEN if how.user_first else OPEN | {"user"}
    return Mechanism(how.layers - open_, how.bubblewrap)


def protection() -> str:
    """For evidence: what is shut to a harness here, and what is not."""
    how, found = mechanism(), layers()
    lacking = [name for name in found.lacking if name not in OPEN]
    shut = ", ".join(sorted(how.layers)) or "nothing"
    files = "read-only but for its own copy of the workspace" if "files" in how.layers else "as the caller's own"
    lacks = f"; LACKING: {', '.join(lacking)}" if lacking else ""
    return f"harness in a sandbox of {shut}{lacks}; open to it: the network, and the machine's files, {files}"


def shown(words: tuple[str, ...]) -> tuple[Path, ...]:
    """The folders of this machine that a run sees read-only: all but OWN, and what one of the ``words`` of a command or
    of its variables names by an absolute path below one of those.
    """
    top = [p for p in _listed(Path("/")) if p != Path("/var")] + _listed(Path("/var"))
    named = {Path(part) for word in words for part in word.split(os.pathsep) if part.startswith("/")}
    below = {p for p in named if p.parts[1:2] in _HIDDEN and p.exists()} - OWN
    return (*top, *sorted(p if p.is_dir() or p.parent in OWN else p.parent for p in below))


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p not in OWN and not p.is_symlink() and p.is_dir())
    except OSError:
        return []


def _collect(child: Process, ends: list[int], deadline: float) -> tuple[tuple[bytes, bytes], Status | None]:
    """Both streams, until everything has ended; or what it has to be ended for."""
    said = {end: bytearray() for end in ends}
    ended: Status | None = None
    with selectors.DefaultSelector() as waiting:
        for end in ends:
            waiting.register(end, selectors.EVENT_READ)
        while waiting.get_map() and ended is None:
            for key, _ in waiting.select(max(0.0, deadline - time.monotonic())):
                piece = os.read(key.fd, 1 << 16)
                said[key.fd] += piece
                if not piece:
                    waiting.unregister(key.fd)
                elif len(said[key.fd]) > OUTPUT_LIMIT:
                    ended = Status.crashed
            if time.monotonic() > deadline:
                ended = ended or Status.timed_out
    if ended is None and child.wait(max(0.0, deadline - time.monotonic())) is None:
        ended = Status.timed_out
    return (bytes(said[ends[0]]), bytes(said[ends[1]])), ended


def _excerpt(text: bytes) -> str:
    """The end of what was printed, on one line, without control characters."""
    tail = text[-4 * EXCERPT :].decode(errors="replace").strip()
    cut = "..." if len(tail) > EXCERPT or len(text) > 4 * EXCERPT else ""
    return repr(cut + tail[-EXCERPT:])
