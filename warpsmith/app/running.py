"""Running somebody's application as it is: its own streams, folder and environment, and a limit where one is given.

Owns the process group of the application, and ends all of it when its time is up.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import IO

from warpsmith.errors import BadInput
from warpsmith.model.observed import BinaryFile

LARGEST_BINARY = 256 << 20
"""Files of a command line beyond this are data, and not hashed."""
GRACE_S = 5.0
"""Between asking an application to end and ending it."""


@dataclass(frozen=True)
class App:
    """An application: what to run, and where."""

    argv: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]

    @property
    def program(self) -> Path:
        """The program itself."""
        return Path(self.argv[0])


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    status: int | None
    """Exit status, negative for a signal; None where its time was up."""
    seconds: float


def app(argv: Sequence[str], folder: Path | None = None, environment: Mapping[str, str] | None = None) -> App:
    """An application that can be run. Raises BadInput for a program that is not there."""
    where = (folder or Path.cwd()).absolute()
    given = dict(os.environ if environment is None else environment)
    if not argv:
        raise BadInput("no program is named.", "Say it behind --: 'observe -- APP ARGS...'.")
    named = argv[0] if os.sep not in argv[0] else str(where / argv[0])
    program = shutil.which(named, path=given.get("PATH"))
    if program is None:
        raise BadInput(f"{argv[0]} is no program that can be run here.", "Give its path, or put it on PATH.")
    return App((program, *argv[1:]), where, given)


def run(
    said: App,
    environment: Mapping[str, str],
    *,
    limit_s: float | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
) -> Ended:
    """Run it to its end, or until ``limit_s`` is over; streams are this process's own where none are given.

    Standard input is passed on unless it is a terminal. When the time is up the whole group is asked to end, and after
    :data:`GRACE_S` it is ended.
    """
    stdin = None if _usable(sys.stdin) else subprocess.DEVNULL
    began = time.monotonic()
    process = subprocess.Popen(
        said.argv, cwd=said.folder, env=dict(environment), stdin=stdin, stdout=stdout, stderr=stderr, process_group=0
    )
    try:
        status: int | None = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        status = None
    finally:
        if process.poll() is None:
            _end(process)
    return Ended(status, time.monotonic() - began)


def binaries(said: App, more: Sequence[str]) -> tuple[BinaryFile, ...]:
    """The program, the files that its command line names, and ``more``: those that are there and are no data."""
    named = [str(said.program), *(str(said.folder / a) for a in said.argv[1:] if a and not a.startswith("-")), *more]
    found = []
    for path in dict.fromkeys(str(Path(n).resolve()) for n in named):
        try:
            if Path(path).is_file() and Path(path).stat().st_size <= LARGEST_BINARY:
                with open(path, "rb") as file:
                    found.append(BinaryFile(path=path, sha256=file_digest(file, "sha256").hexdigest()))
        except OSError:
            continue
    return tuple(found)


def _usable(stream: IO[str] | None) -> bool:
    """Whether an application in the background may read it."""
    try:
        return stream is not None and not stream.isatty() and stream.fileno() >= 0
    except (OSError, ValueError):
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    for number, wait_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            continue
        with suppress(ProcessLookupError):  # what it started may outlast it
            os.killpg(process.pid, signal.SIGKILL)
        break
    process.wait()
