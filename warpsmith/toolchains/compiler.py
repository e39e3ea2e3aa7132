"""Running a compiler: bounded in time and output, killed as a whole, with only flags that tune code."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from warpsmith.errors import BuildFailed, Missing, WarpsmithError

TIMEOUT_S = 120.0
KILLED = "Killed signal terminated program"
"""What the gcc driver prints when one of its own children was killed: nobody's fault, so no verdict."""
PROBES = 5
LOG_LIMIT = 20_000
"""Characters of a compiler's log that are kept."""
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


def run(argv: Sequence[str], folder: Path) -> str:
    """Run a compiler in ``folder``; returns what it printed. Raises BuildFailed (also on time-out) or Missing.

    A compiler that was killed from outside raises a plain WarpsmithError: that is a fault of the step, not a verdict.
    """
    with tempfile.TemporaryFile() as printed:
        try:
            child = subprocess.Popen(
                argv,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=_environment(),
            )
        except FileNotFoundError:
            raise Missing(f"{argv[0]} was not found.", "Install it, or put it on PATH.") from None
        status = ended(child, TIMEOUT_S)
        if status is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise BuildFailed(
                f"{Path(argv[0]).name} took longer than {TIMEOUT_S:g} s", _read(printed.fileno())
            ) from None
        log = _read(printed.fileno())
    if status == -signal.SIGKILL or KILLED in log:
        raise WarpsmithError(f"{Path(argv[0]).name} was killed from outside.", "The step is tried again.")
    if status != 0:
        raise BuildFailed(f"{Path(argv[0]).name} ended with status {status}: {_first_error(log)}", log)
    return log


def _environment() -> dict[str, str]:
    """What a compiler needs to find its own parts, and nothing else of ours."""
    passed = {n: os.environ[n] for n in ("LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH") if n in os.environ}
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TMPDIR": tempfile.gettempdir(), **passed}


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


def ended(child: subprocess.Popen[bytes], timeout_s: float) -> int | None:
    """The exit status of ``child`` once it ended, None where it did not; Popen.wait would look every 50 ms only."""
    if child.returncode is None:
        descriptor = os.pidfd_open(child.pid)
        try:
            select.select([descriptor], [], [], timeout_s)
        finally:
            os.close(descriptor)
    return child.poll()


def _read(descriptor: int) -> str:
    return os.pread(descriptor, LOG_LIMIT, 0).decode(errors="replace")


def _first_error(log: str) -> str:
    errors = [line for line in log.splitlines() if "error" in line.lower()]
    return (errors or log.splitlines() or ["no message"])[0].strip()[:300]
