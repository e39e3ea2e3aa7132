"""Steps on this machine: a warm session in a process group of its own, one line per device, kill as a whole.

A session is a child that reads step folders from its standard input, a line each, and answers each with ``done`` once
``result.json`` is there; lines before it say what is going on. Whatever else happens (it dies, it is killed, it takes
too long) is a fault of the step, and the next step gets a new session. The judge stays warm because importing a GPU
framework takes seconds; a candidate never shares its process.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from warpsmith.execute.line import Ticket, held
from warpsmith.model.base import digest
from warpsmith.model.step import DONE, KEPT, Fault, Result

LOG_TAIL = 2000
"""Characters of the session's log that a fault carries."""


class Session:
    """One child process that carries steps out, started on first use."""

    def __init__(
        self,
        argv: Sequence[str],
        log: Path,
        environment: dict[str, str] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """``tell`` is told what the child says of a step that is under way."""
        self.argv = tuple(argv)
        self.log = log
        self.environment = environment
        self.tell = tell
        self._child: subprocess.Popen[bytes] | None = None

    def run(self, folder: Path, timeout_s: float) -> Result | Fault:
        """Carry out the step in ``folder``; a fault where the session did not leave a result in time."""
        try:
            child = self._start()
        except OSError as error:
            self.close()
            return Fault(what="the judge could not be started", detail=str(error))
        assert child.stdin is not None
        with suppress(BrokenPipeError):  # it died meanwhile: the answer below says so
            child.stdin.write(f"{folder}\n".encode())
        answer = self._answer(child, time.monotonic() + timeout_s)
        result = read_result(folder)
        if result is not None:
            return result
        status = child.poll()
        self.close()
        if answer is None:
            return Fault(what=f"the step took longer than {timeout_s:g} s", detail=self._tail())
        if answer:
            return Fault(what="the judge left no result that can be read", detail=self._tail())
        return Fault(what="the judge died" if status is None else f"the judge died ({status})", detail=self._tail())

    def close(self) -> None:
        """End the child and all of its group. Safe to call at any time."""
        child, self._child = self._child, None
        if child is None:
            return
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self.close()
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as log:
                self._child = subprocess.Popen(
                    self.argv,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env={**(self.environment or os.environ), "PARENT_PID": str(os.getpid())},
                    start_new_session=True,
                    bufsize=0,
                )
        return self._child

    def _answer(self, child: subprocess.Popen[bytes], deadline: float) -> bool | None:
        """True once it is done, False for the end of the stream, None where neither came until ``deadline``."""
        assert child.stdout is not None
        line = b""
        while (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([child.stdout], [], [], left)
            if ready:
                piece = os.read(child.stdout.fileno(), 4096)
                if not piece:
                    return False
                *whole, line = (line + piece).split(b"\n")
                for said in whole:
                    if said == DONE.encode():
                        return True
                    if self.tell is not None:
                        self.tell(said.decode(errors="replace"))
        return None

    def _tail(self) -> str:
        try:
            return self.log.read_bytes()[-LOG_TAIL:].decode(errors="replace").strip()
        except OSError:
            return ""


def read_result(folder: Path) -> Result | None:
    """The result in a step's folder; None where there is none that can be read (it is written whole or not at all)."""
    try:
        return Result.model_validate_json((folder / "result.json").read_bytes())
    except (OSError, ValidationError):
        return None


class LocalExecutor:
    """Runs steps one after another on one local device. ``tell`` is told, by a thread, whom a step waits for."""

    def __init__(
        self, steps: Path, session: Session, device: str, timeout_s: float, tell: Callable[[str], None] | None = None
    ) -> None:
        self.steps = steps
        self.session = session
        self.line = device_line(device)
        self.timeout_s = timeout_s
        self.tell = tell
        self._waited_for = 0
        """The process that was told of last: one that takes turns with this one is told of once."""

    def run(
        self, key: str, attempt: int, prepare: Callable[[Path], None], timeout_s: float | None = None
    ) -> Result | Fault:
        """The result of step ``key``. One that an earlier attempt left behind is taken as it is, never
        measured again. ``timeout_s`` goes over the executor's own.
        """
        for folder in sorted(self.steps.glob(f"{key[:32]}-*")):
            found = read_result(folder)
            if found is not None and not isinstance(found.outcome, Fault):
                return found
        folder = self.steps / f"{key[:32]}-{attempt}"
        folder.mkdir(parents=True, exist_ok=True)
        prepare(folder)
        with held(self.line, self._waits):
            return self.session.run(folder, timeout_s or self.timeout_s)

    def kept(self, key: str) -> list[Path]:
        """The files that belong to the result of a step, such as a profiler's reports."""
        return sorted(p for p in self.steps.glob(f"{key[:32]}-*/{KEPT}/*") if p.is_file() and not p.is_symlink())

    def forget(self, key: str) -> None:
        """Remove the folders of a step whose result is in the ledger."""
        for folder in self.steps.glob(f"{key[:32]}-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """End the session."""
        self.session.close()

    def _waits(self, before: tuple[Ticket, ...]) -> None:
        first, *others = before
        if self.tell is None or first.process == self._waited_for:
            return
        self._waited_for = first.process
        more = f", and {len(others)} more are before this one" if others else ""
        self.tell(f"waiting for the device: {first.who} has it{more}")


def device_line(device: str) -> Path:
    """The folder of the line before a device, shared by every campaign of this user on this machine."""
    folder = Path(tempfile.gettempdir()) / f"warpsmith-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"device-{digest(device)[:16]}"
