"""Finding a profiler, asking for its version, and running it: bounded in time, ended as a whole tree.

What it prints goes to a file whose end an error carries. Every failure is a ProfilerFailed or Missing with its remedy.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

from warpsmith.errors import Missing, ProfilerFailed
from warpsmith.sandbox.cell import Cell, Mechanism
from warpsmith.sandbox.process import SandboxFailed, start
from warpsmith.sandbox.view import tool as seen_by

VERSION_S = 20.0
"""Longest time for a tool to say its version."""
TAIL = 1500
"""Characters of what a tool printed that an error carries."""
BARE = Mechanism(frozenset())
"""No layer of the sandbox: counters need the driver's own files and privileges."""


@dataclass(frozen=True)
class Known:
    """What is known of a tool before it is looked for."""

    least: tuple[int, ...]
    """The oldest version that gives what is asked of it."""
    remedy: str


TOOLS = {
    "ncu": Known((2022, 3), "Install Nsight Compute (it comes with the CUDA toolkit), and put ncu on PATH."),
    "nsys": Known((2023, 1), "Install Nsight Systems, and put nsys on PATH; one also comes with Nsight Compute."),
    "valgrind": Known((3, 15), "Install valgrind."),
    "perf": Known((4, 0), "Install perf (linux-perf)."),
}
_INSTALLED = (Path("/opt/nvidia"),)
_INSIDE_NCU = ("host/target-linux-x64/nsys", "target/linux-desktop-glibc_2_11_3-x64/nsys")
"""Where Nsight Compute keeps the nsys that its own window uses."""


@dataclass(frozen=True)
class Tool:
    """A profiler that was found and is new enough."""

    name: str
    path: str
    version: tuple[int, ...]

    @property
    def said(self) -> str:
        """Such as ``ncu 2025.3.1``."""
        return f"{self.name} {'.'.join(map(str, self.version[:3]))}"

    @property
    def folders(self) -> tuple[Path, ...]:
        """What it needs to see of the machine: programs on PATH may stand for others elsewhere."""
        return (*seen_by(self.path), *(p for p in _INSTALLED if p.is_dir()))


@dataclass(frozen=True)
class Ran:
    """How a program ended."""

    status: int | None
    """Exit status, negative for a signal; None where the time was up and the tree was ended."""
    printed: str
    """The end of both streams."""
    seconds: float

    @property
    def tail(self) -> str:
        """For an error message."""
        said = self.printed.strip()[-TAIL:]
        return f" It printed: {said}" if said else ""


def find(name: str) -> Tool:
    """The tool of that name. Raises Missing where there is none, ProfilerFailed where it is too old or silent."""
    return _find(name, os.environ.get("PATH", ""))


def available(name: str) -> bool:
    """Whether the tool is here and new enough; says nothing of permissions."""
    try:
        find(name)
    except Missing:
        return False
    return True


@lru_cache(maxsize=16)
def _find(name: str, path: str) -> Tool:
    """``path`` makes a changed PATH count."""
    known = TOOLS[name]
    found = shutil.which(name, path=path) or (_nsys_of_ncu(path) if name == "nsys" else None)
    if found is None:
        raise Missing(f"{name} was not found on PATH.", known.remedy)
    ran = run((found, "--version"), timeout_s=VERSION_S)
    if ran.status is None:
        raise ProfilerFailed(
            f"{found} did not say its version within {VERSION_S:g} s.", "See whether it starts by hand."
        )
    version = re.search(r"(?:version |Version |-)(\d+(?:\.\d+)+)", ran.printed)
    if ran.status != 0 or version is None:
        remedy = f"See whether '{found} --version' works; {known.remedy[0].lower()}{known.remedy[1:]}"
        raise ProfilerFailed(f"{found} --version ended with status {ran.status}.{ran.tail}", remedy)
    numbers = tuple(int(n) for n in version.group(1).split("."))
    if numbers < known.least:
        least = ".".join(map(str, known.least))
        raise ProfilerFailed(
            f"{found} is version {version.group(1)}, and {least} is the oldest that will do.", known.remedy
        )
    return Tool(name, found, numbers)


def _nsys_of_ncu(path: str) -> str | None:
    """The nsys inside an installation of Nsight Compute."""
    ncu = shutil.which("ncu", path=path)
    places = [Path(ncu).resolve().parent] if ncu else []
    for root in (Path("/opt/nvidia/nsight-compute"), *Path("/usr/local").glob("cuda*")):
        places += sorted((p.parent for p in root.glob("**/sections")), reverse=True) if root.is_dir() else []
    for place in places:
        for inside in _INSIDE_NCU:
            if os.access(place / inside, os.X_OK):
                return str(place / inside)
    return None


def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    cwd: str = "/",
    output: int | None = None,
) -> Ran:
    """Run a program to its end, or until ``timeout_s`` is over: then all that it started is ended.

    Both streams go to the descriptor ``output``, or are kept. The environment is this process's own where none is
    given. Raises ProfilerFailed where it cannot be started.
    """
    began = time.monotonic()
    cell = Cell(argv=tuple(argv), environment=dict(os.environ if environment is None else environment), cwd=cwd)
    with tempfile.TemporaryFile() as printed:
        into = printed if output is None else output
        process = start(cell, BARE, stdout=into, stderr=into)
        try:
            status = process.wait(timeout_s)
        except SandboxFailed as error:
            raise ProfilerFailed(
                f"{argv[0]} could not be started: {error}", "See whether it starts by hand."
            ) from error
        finally:
            process.end()
        return Ran(status, tail_of(printed), time.monotonic() - began)


def tail_of(printed: IO[bytes]) -> str:
    """The end of a file of output."""
    size = os.fstat(printed.fileno()).st_size
    return os.pread(printed.fileno(), 8 * TAIL, max(0, size - 8 * TAIL)).decode(errors="replace")


def python_folders(*parts: str) -> list[str]:
    """The folders of ``sys.path`` that hold one of these packages: ``-I`` forgets PYTHONPATH."""
    return [p for p in sys.path if os.path.isabs(p) and any((Path(p) / part).exists() for part in parts)]
