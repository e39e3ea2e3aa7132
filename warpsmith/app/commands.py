"""Commands of an application (build, verify, run), in groups of their own and marked, so that none is left behind.

The mark is an environment variable: whatever a command starts inherits it, also what leaves its process group or
outlives us, and whoever comes next finds it by that.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from warpsmith.model.app import Command

MARK = "WARPSMITH_WORK"
TAIL = 6000
"""Characters of what a command wrote that a report keeps."""
MOST_OUTPUT = 16 << 20
"""Bytes of standard output that a metric is looked for in: the last ones."""


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    status: int | None
    """Negative for a signal; None where its time was up."""
    seconds: float
    """Wall time."""
    output: str
    """Standard output."""
    errors: str
    """Standard error."""
    said: str
    """The end of standard output and standard error."""

    @property
    def well(self) -> bool:
        """Whether it ended by itself with status 0."""
        return self.status == 0


@dataclass(frozen=True)
class Shell:
    """Where commands of one application run."""

    folder: Path
    environment: Mapping[str, str]
    mark: str

    def run(self, command: Command, limit_s: float, more: Mapping[str, str] | None = None) -> Ran:
        """Carry out a command to its end, or end all of it after ``limit_s``. Never raises for what it does."""
        argv = ("sh", "-c", command) if isinstance(command, str) else tuple(command)
        variables = {**self.environment, **(more or {}), MARK: self.mark}
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            began = time.perf_counter()
            try:
                process = subprocess.Popen(
                    argv, cwd=self.folder, env=variables, stdin=subprocess.DEVNULL, stdout=out, stderr=errors,
                    process_group=0,
                )  # fmt: skip
            except OSError as error:
                return Ran(127, 0.0, "", "", f"{argv[0]}: {error.strerror}")
            ended = False
            try:
                ended = _wait(process.pid, limit_s)
            finally:
                seconds = time.perf_counter() - began
                with suppress(ProcessLookupError):  # what it started may outlast it
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if not ended:  # also what left the group
                    end_leftovers(self.mark)
            status = process.returncode if ended else None
            text, more_text = _text(out), _text(errors)
        said = "\n".join(t[-TAIL:].strip() for t in (text, more_text) if t.strip())
        return Ran(
            status, seconds, text, more_text, said if status is not None else f"{said}\nended after {limit_s:g} s"
        )


def leftovers(mark: str) -> tuple[int, ...]:
    """Processes that carry the mark ``mark``, except this one."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with suppress(OSError):
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
    return tuple(found)


def end_leftovers(mark: str) -> tuple[int, ...]:
    """End every process that carries the mark, and what they start meanwhile; returns those that were ended."""
    ended: list[int] = []
    deadline = time.monotonic() + 10
    while (found := leftovers(mark)) and time.monotonic() < deadline:
        for process in found:
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)
        ended += [p for p in found if p not in ended]
        time.sleep(0.01)
    return tuple(ended)


def _wait(process: int, limit_s: float) -> bool:
    """Whether it ended in time. Sees the end at once, where a wait with a limit would look every so often."""
    descriptor = os.pidfd_open(process)
    try:
        return bool(select.select([descriptor], [], [], limit_s)[0])
    finally:
        os.close(descriptor)


def _text(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - MOST_OUTPUT))
    return file.read().decode(errors="replace")
