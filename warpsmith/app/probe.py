"""Whether launches can be watched, and kernels swapped, on this machine: tried on a program of the package.

The program needs a driver and a device, but no compiler: it brings its kernels as PTX.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from warpsmith.app.injection import Ask, SwapRule, environment
from warpsmith.app.library import library
from warpsmith.app.log import Log, read_logs
from warpsmith.errors import WarpsmithError

PROGRAM = Path(__file__).with_name("probe_program.py")
TIMEOUT_S = 60.0
NO_DEVICE = 4
"""Exit status of the program where there is no driver, or no device."""
GRID, BLOCK = (3, 2, 1), (32, 2, 1)
OTHER_GRID, OTHER_BLOCK = (5, 1, 1), (64, 1, 1)


@dataclass(frozen=True)
class Probed:
    """What works here, with the reason where it does not."""

    watch: bool
    watch_said: str
    swap: bool
    swap_said: str


def probe(cache: Path, given: Mapping[str, str] | None = None) -> Probed:
    """Try both, once per process and environment. Never raises."""
    variables = os.environ if given is None else given
    return _probe(cache.absolute(), tuple(sorted(variables.items())))


@lru_cache(maxsize=4)
def _probe(cache: Path, variables: tuple[tuple[str, str], ...]) -> Probed:
    given = dict(variables)
    try:
        plain = _run(given)
        if plain.returncode == NO_DEVICE:
            return _neither(plain.stdout.strip())
        with tempfile.TemporaryDirectory(prefix="warpsmith-probe-") as folder:
            return _tried(library(cache), given, Path(folder), plain)
    except WarpsmithError as error:
        return _neither(error.message)
    except (OSError, subprocess.SubprocessError) as error:
        return _neither(repr(error))


def _neither(why: str) -> Probed:
    return Probed(False, why, False, why)


def _tried(built: Path, given: Mapping[str, str], folder: Path, plain: subprocess.CompletedProcess[str]) -> Probed:
    watched, logs = _injected(built, given, folder / "watch")
    why = _watched(watched, logs, plain)
    if why:
        return _neither(why)
    image = folder / "other.ptx"
    image.write_text(subprocess.run(_argv("--other"), capture_output=True, text=True, check=True).stdout)
    rule = SwapRule("probed", image, "other", GRID, BLOCK, OTHER_GRID, OTHER_BLOCK, 0)
    swapped, logs = _injected(built, given, folder / "swap", (rule,))
    expected = dict.fromkeys(("direct", "extended", "graph"), "2 5 64")
    got = dict(line.split(" ", 1) for line in swapped.stdout.splitlines())
    wrong = [name for name, answer in expected.items() if got.get(name) != answer]
    if swapped.returncode != 0 or wrong or not logs:
        said = f"the replacement did not run in place of the original: {', '.join(wrong) or swapped.stderr[-300:]}"
        return Probed(True, _how(logs), False, said)
    return Probed(True, _how(logs), True, "in place of a launch, of one with attributes, and in a graph")


def _how(logs: list[Log]) -> str:
    if not logs:
        return "launches are seen"
    version = logs[0].driver
    return f"every launch and its device time; driver of CUDA {version // 1000}.{version % 1000 // 10}"


def _watched(ran: subprocess.CompletedProcess[str], logs: list[Log], plain: subprocess.CompletedProcess[str]) -> str:
    """Empty, or what does not work."""
    if (ran.returncode, ran.stdout) != (plain.returncode, plain.stdout):
        return f"the program ends otherwise when it is watched: {ran.returncode}, {ran.stderr[-300:]}"
    if not logs:
        return "the driver did not load the injection library"
    if logs[0].troubles:
        return logs[0].troubles[0]
    seen = [launch for launch in logs[0].launches if launch.function.symbol == "probed"]
    if len(seen) != 3 or any((launch.grid, launch.block) != (GRID, BLOCK) for launch in seen):
        return f"{len(seen)} launches were seen, and 3 made"
    if any(len(launch.values) != 2 or launch.buffer(0) is None for launch in seen):
        return "the driver does not say what the parameters are"
    if sum(time.symbol == "probed" for time in logs[0].times) != 3:
        return f"{len(logs[0].times)} device times were given, and 3 kernels ran"
    return ""


def _injected(
    built: Path, given: Mapping[str, str], folder: Path, swaps: tuple[SwapRule, ...] = ()
) -> tuple[subprocess.CompletedProcess[str], list[Log]]:
    folder.mkdir()
    ran = _run(environment(built, Ask(folder, swaps=swaps), given))
    return ran, read_logs(folder)


def _run(variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_argv(), env=dict(variables), capture_output=True, text=True, check=False, timeout=TIMEOUT_S)


def _argv(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-I", str(PROGRAM), *arguments)
