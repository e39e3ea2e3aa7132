"""Starting a program in the sandbox, and the life of its tree: which pid it has, that it stands still, that it ends."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol

from warpsmith.errors import WarpsmithError
from warpsmith.sandbox.cell import UID, Cell, Mechanism, make_plan
from warpsmith.sandbox.cgroup import Group, make
from warpsmith.sandbox.view import PACKAGE

FAILED = 125
"""Exit status of the outer process where the sandbox could not be made."""
START_S = 30.0
"""Longest time for the sandbox itself to be made."""
STOP_S = 10.0
"""Longest time for its processes to stand still."""
LOOKS = 100
"""Looks at whether the program is stopped before the first process is asked to see to it."""
_THREADS = 17
"""Field of /proc/PID/stat after the name: the number of threads."""


class SandboxFailed(WarpsmithError):
    """The sandbox could not be made, or is out of order: a fault, never a verdict."""


class Child(Protocol):
    """The outer process as its parent sees it; ``subprocess.Popen`` is one."""

    pid: int
    returncode: int | None

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""

    def send_signal(self, number: int) -> None:
        """A signal, unless it ended."""


Spawn = Callable[[Cell, dict[str, Any], int], Child]
"""Makes the outer process from a cell, its plan, and where both streams of output go."""


class Process:
    """A tree of processes in the sandbox. Its exit status is that of the program inside, signals included."""

    def __init__(
        self,
        cell: Cell,
        how: Mechanism,
        stdin: int | IO[bytes],
        stdout: int | IO[bytes],
        stderr: int | IO[bytes],
        spawn: Spawn | None = None,
    ) -> None:
        self._report, report = os.pipe()
        control, self._control = os.pipe()
        self._said = b""
        self._worker = 0
        self._grouped = "syscalls" in how.layers
        self._watched: tuple[int, ...] = ()
        said = make_plan(cell, how, report, control)
        self.group: Group | None = None
        try:
            if "memory" in how.layers:
                self.group = make(cell.memory_bytes, cell.processes)
                said["group"] = str(self.group.path / "cgroup.procs")
            self.popen = spawn(cell, said, _number(stdout)) if spawn else _popen(cell, said, stdin, stdout, stderr)
        except BaseException as error:
            os.close(self._report)
            os.close(self._control)
            if self.group is not None:
                self.group.remove()
            if isinstance(error, OSError | RuntimeError):
                raise SandboxFailed(f"the sandbox could not be made: {error}.") from None
            raise
        finally:
            for descriptor in (report, control):
                os.close(descriptor)
        self.pid = self.popen.pid

    @property
    def returncode(self) -> int | None:
        """As of the last look."""
        return self.popen.returncode

    def poll(self) -> int | None:
        """The exit status, None while it runs. Raises SandboxFailed."""
        return self._checked(self.popen.poll())

    def wait(self, timeout_s: float) -> int | None:
        """The exit status once everything inside has ended, None where it has not in time. Raises SandboxFailed."""
        if self.popen.returncode is None:
            descriptor = os.pidfd_open(self.pid)
            try:
                select.select([descriptor], [], [], timeout_s)
            finally:
                os.close(descriptor)
        return self.poll()

    @property
    def worker(self) -> int:
        """The pid of the program (and of its group) as it is known out here. Raises SandboxFailed."""
        if not self._worker:
            line = self._line(START_S)
            if line is None or not line.startswith("pid "):
                self.end()
                raise SandboxFailed(f"the sandbox could not be made: {(line or 'no answer').removeprefix('error ')}.")
            self._worker = int(line[4:])
        return self._worker

    @property
    def ran_out(self) -> int:
        """Bytes of memory that all inside could take, where the kernel ended something for wanting more; else 0."""
        return self.group.limit if self.group is not None and self.group.ran_out else 0

    def signal(self, number: int) -> None:
        """A signal to the program and its group. Raises ProcessLookupError."""
        os.killpg(self.worker, number)

    def stop(self) -> bool | None:
        """Stop everything inside, and wait until it stands still: True. None where the program ended, False where
        something still runs after five seconds.
        """
        worker = self.worker
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker, signal.SIGSTOP)
        if self._grouped and self._alone():
            return True
        try:
            os.write(self._control, b"F")
        except BrokenPipeError:
            return None
        line = self._line(STOP_S)
        return None if line is None else line == "S"

    def _alone(self) -> bool:
        """Whether the program is stopped and there is nothing beside it, seen from outside; False where in doubt.

        The filter lets no process leave the program's group, so nothing forks once that got its SIGSTOP. The program's
        children are looked at before those that were left to the first process: that is the way they go.
        """
        try:
            if not self._watched:
                below = (self._worker, _parent(self._worker))
                names = (f"{self._worker}/stat", *(f"{p}/task/{p}/children" for p in below))
                self._watched = tuple(os.open(f"/proc/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in names)
            state, own, left = self._watched
            for _ in range(LOOKS):
                said = os.pread(state, 1024, 0).rpartition(b")")[2].split()
                if said[0] == b"T":
                    alone = said[_THREADS] == b"1" and not os.pread(own, 64, 0)
                    return alone and len(os.pread(left, 64, 0).split()) == 1
                os.sched_yield()
        except (OSError, IndexError):
            return False
        return False

    def kill(self) -> None:
        """End the tree without waiting for it."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)

    def end(self, timeout_s: float = 10.0) -> bool:
        """End the tree, wait until nothing of it is left, and give everything back. Whether it went in time."""
        self.kill()
        with contextlib.suppress(SandboxFailed):
            self.wait(timeout_s)
        if (gone := self.popen.returncode is not None) is False:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        for descriptor in self._watched:
            os.close(descriptor)
        self._watched = ()
        if self.group is not None:
            self.group.remove()
        for name in ("_report", "_control"):
            if (descriptor := getattr(self, name)) >= 0:
                os.close(descriptor)
                setattr(self, name, -1)
        return gone

    def _checked(self, status: int | None) -> int | None:
        if status == FAILED and self._report >= 0:
            while (line := self._line(0.0)) is not None:
                if line.startswith("error "):
                    raise SandboxFailed(f"the sandbox could not be made: {line.removeprefix('error ')}.")
        return status

    def _line(self, timeout_s: float) -> str | None:
        """The next line of the report; None at its end, or after silence."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._said:
            ready, _, _ = select.select([self._report], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(self._report, 4096) if ready else b""
            if not piece:
                return None
            self._said += piece
        line, _, self._said = self._said.partition(b"\n")
        return line.decode(errors="replace")


def start(
    cell: Cell,
    how: Mechanism,
    *,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
    spawn: Spawn | None = None,
) -> Process:
    """Start a program under these layers. A sandbox that cannot be made is found out by the first question.

    ``spawn`` makes the outer process in another way than as a program; ``stdout`` is then for both streams of output.
    """
    return Process(cell, how, stdin, stdout, stderr, spawn)


def _popen(
    cell: Cell,
    plan: dict[str, Any],
    stdin: int | IO[bytes],
    stdout: int | IO[bytes],
    stderr: int | IO[bytes],
) -> Child:
    """The outer process as a program of its own."""
    descriptor = os.memfd_create("sandbox-plan", os.MFD_CLOEXEC)
    os.write(descriptor, json.dumps(plan).encode())
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(PACKAGE / "entry.py"), str(descriptor)],
            cwd="/",
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=cell.environment,
            pass_fds=(*cell.keep, descriptor, plan["report"], plan["control"]),
            start_new_session=True,
        )
    finally:
        os.close(descriptor)


def _number(stream: int | IO[bytes]) -> int:
    return stream if isinstance(stream, int) else stream.fileno()


def _parent(process: int) -> int:
    """Its parent. Raises OSError."""
    with open(f"/proc/{process}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[1])


def prepare(folder: Path, how: Mechanism) -> None:
    """Make a folder that is to be written inside belong to the user inside."""
    if "uid" in how.layers and not how.user_first:
        os.chown(folder, UID, UID)


def adopt(made: Path, to: Path, most: int) -> bool:
    """Copy a file that was made inside to ``to``, where it belongs to this user; False where there is none.

    A link is not followed, and a file of more than ``most`` bytes raises SandboxFailed.
    """
    try:
        descriptor = os.open(made, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    said = os.fstat(descriptor)
    if not stat.S_ISREG(said.st_mode):
        os.close(descriptor)
        return False
    with open(descriptor, "rb") as read:
        if said.st_size > most:
            raise SandboxFailed(f"{to.name} has more than {most >> 20} MiB.")
        to.write_bytes(read.read(most))
    return True
