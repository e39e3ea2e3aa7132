"""Running a compiler: bounded in time and output, killed as a whole, with only flags that tune code."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from warpsmith.errors import BuildFailed, Missing, WarpsmithError
from warpsmith.sandbox import layers
from warpsmith.sandbox.cell import Cell
from warpsmith.sandbox.process import adopt, prepare, start
from warpsmith.sandbox.scratch import scratch
from warpsmith.sandbox.view import HOMES, tool

TIMEOUT_S = 120.0
KILLED = "Killed signal terminated program"
"""What the gcc driver prints when one of its own children was killed: nobody's fault, so no verdict."""
_DRIVER_SAYS_KILLED = re.compile(rf"^[\w.+\-/]+: fatal error: {KILLED}", re.MULTILINE)
PROBES = 5
LOG_LIMIT = 20_000
"""Characters of a compiler's log that are kept."""
LIMITS = {"RLIMIT_FSIZE": 1 << 30, "RLIMIT_NOFILE": 1024, "RLIMIT_AS": 16 << 30}
"""Of every process of a compiler."""
TMP_BYTES = 2 << 30
"""For a compiler's own temporary files, at most."""
_PASSED = ("LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH")
_TUNING_FLAG = re.compile(
    r"-(O[0-3sg]|Ofast|std=[a-z0-9+]+|m[a-z0-9\-]+(=[a-z0-9.\-]+)?|f(?!plugin)[a-z0-9\-]+(=[a-z0-9\-]+)?"
    r"|D[A-Za-z_]\w*(=[\w.]+)?|W(?![lap],)[a-z0-9\-]+(=\w+)?)"
)


def check_flags(flags: Sequence[str]) -> None:
    """Raise BuildFailed for a flag that does more than tune code (reads files, runs plug-ins, links)."""
    for flag in flags:
        if not _TUNING_FLAG.fullmatch(flag):
            raise BuildFailed(
                f"the flag {flag!r} is not allowed: only flags that tune code are (-O, -m, -f, -D, -std, -W)"
            )


def run(
    argv: Sequence[str],
    folder: Path | None,
    output: Path | None = None,
    *,
    reads: Sequence[Path] = (),
    folders: Sequence[Path] = (),
) -> str:
    """Run a compiler in the sandbox, in ``folder``, which it may read; returns what it printed.

    It may write ``output``, and nothing else that stays; ``reads`` and ``folders`` (large ones) are more that it sees.
    Raises BuildFailed (also on time-out) or Missing. A compiler that was killed from outside raises a plain
    WarpsmithError: that is a fault of the step, not a verdict.
    """
    path = shutil.which(argv[0])
    if path is None:
        raise Missing(f"{argv[0]} was not found.", "Install it, or put it on PATH.")
    name = Path(argv[0]).name
    apart = "files" in layers().how.layers
    cell = Cell(
        argv=(path, *argv[1:]),
        environment=environment("/tmp" if apart else tempfile.gettempdir()),
        cwd=str((folder or Path("/")).absolute()),
        reads=(*((folder,) if folder else ()), *reads),
        folders=(*tool(path), *toolkits(), *folders),
        limits=LIMITS,
        tmp_bytes=TMP_BYTES,
        memory_bytes=LIMITS["RLIMIT_AS"],
    )
    status, log = _run(cell, output if apart else None)
    if status and _DRIVER_SAYS_KILLED.search(log):  # or a source says so: then it says so again
        status, log = _run(cell, output if apart else None)
    return concluded(name, status, log, output)


def concluded(name: str, status: int | None, log: str, output: Path | None) -> str:
    """What a compiler printed that ended with ``status`` (None after a time-out). Raises as :func:`run` does."""
    if status is None:
        raise BuildFailed(f"{name} took longer than {TIMEOUT_S:g} s", log)
    if status == -signal.SIGKILL:
        raise WarpsmithError(f"{name} was killed from outside.", "The step is tried again.")
    if status != 0:
        raise BuildFailed(f"{name} ended with status {status}: {_first_error(log)}", log)
    if output is not None and not output.is_file():
        raise BuildFailed(f"{name} left no {output.name}", log)
    return log


def _run(cell: Cell, output: Path | None) -> tuple[int | None, str]:
    """The exit status (None after a time-out) and what was printed. ``output`` is made in a folder apart and copied."""
    how = layers().how
    with scratch("warpsmith-compile-") as made, tempfile.TemporaryFile() as printed:
        prepare(made, how)
        if output is not None:
            cell = replace(cell, writes=((made, output.parent),))
        process = start(cell, how, stdout=printed, stderr=subprocess.STDOUT)
        try:
            status = process.wait(TIMEOUT_S)
            if ran_out := process.ran_out:
                raise BuildFailed(f"the compiler took more than {ran_out >> 20} MiB of memory", _read(printed.fileno()))
        finally:
            process.end()
        if output is not None and status == 0:
            adopt(made / output.name, output, LIMITS["RLIMIT_FSIZE"])
        return status, _read(printed.fileno())


def toolkits() -> tuple[Path, ...]:
    """The folders that the variables name that a compiler is given."""
    named = [p for n in _PASSED for p in os.environ.get(n, "").split(os.pathsep) if os.path.isabs(p)]
    return tuple(p for p in map(Path, named) if p.is_dir() and p.resolve() not in HOMES)


def environment(temporary: str) -> dict[str, str]:
    """What a compiler needs to find its own parts, and nothing else of ours."""
    passed = {n: os.environ[n] for n in _PASSED if n in os.environ}
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TMPDIR": temporary, **passed}


def said_by(argv: Sequence[str]) -> str:
    """What a probing call of a tool prints; empty where it fails of its own.

    One that was killed from outside is asked again: the answer is part of the target, and half an answer would be
    another target. Raises WarpsmithError where it is killed every time.
    """
    for _ in range(PROBES):
        done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode >= 0 and KILLED not in done.stderr:
            return done.stdout if done.returncode == 0 else ""
    raise WarpsmithError(f"{argv[0]} was killed {PROBES} times when asked what it is.", "Run the command again.")


def _read(descriptor: int) -> str:
    return os.pread(descriptor, LOG_LIMIT, 0).decode(errors="replace")


def first_errors(log: str) -> str:
    """At most 1500 characters of a compiler's log, from its first error on; its end where it names none."""
    at = re.search(r"^.*\berror\b", log, re.MULTILINE | re.IGNORECASE)
    return log[at.start() :][:1500] if at else log[-1500:]


def _first_error(log: str) -> str:
    errors = [line for line in log.splitlines() if "error" in line.lower()]
    return (errors or log.splitlines() or ["no message"])[0].strip()[:300]
