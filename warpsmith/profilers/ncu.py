"""Nsight Compute: its command line by effort, and what its complaints mean. Starts nothing.

Clocks are left alone (``--clock-control none``) and caches are flushed before every pass where the judge's timed calls
are cold. Its durations are never used as times.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from warpsmith.errors import BadReport, ProfilerFailed, WarpsmithError
from warpsmith.model.metrics import HOPPER, METRICS, wanted
from warpsmith.model.profile import ProfileEffort
from warpsmith.profilers.tools import Tool

MOST_LAUNCHES = 8
"""Launches of one call that are profiled, at most."""
FULL = ("--set", "full", "--import-source", "yes")
SOURCE = ("--section", "SourceCounters")
"""Samples by line: two passes and half a second more."""
TIMES = ("duration", "grid_size", "block_size", "registers", "shared_bytes", "waves_per_sm", "sm_count")
"""Metrics that one pass gives, so that nothing has to be saved and put back."""
PERMISSION = (
    "Let every user read the counters: as root, put 'options nvidia NVreg_RestrictProfilingToAdminUsers=0' into"
    " /etc/modprobe.d/nvidia.conf and reload the driver (in a container: run it with --cap-add=SYS_ADMIN). Or be root."
)
_UNKNOWN = re.compile(r"Failed to find metric (?:regex:\^?)?([\w.:]+)")


@dataclass(frozen=True)
class Ask:
    """What is to be collected."""

    kernels: tuple[str, ...] = ()
    """All where none is given."""
    base: Literal["mangled", "function"] = "mangled"
    """What ``kernels`` are: symbols, or names of functions without their parameters."""
    skip: int = 0
    """Launches of theirs that pass by first."""
    count: int | None = None
    """Launches that are profiled then."""
    effort: ProfileEffort = ProfileEffort.quick
    cold: bool = True
    architecture: int = HOPPER
    without: tuple[str, ...] = ()
    """Metrics that this ncu does not know."""
    only: tuple[str, ...] = ()
    """Keys of the metrics to collect, and nothing else; what the effort says where there is none."""
    rerun: bool = False
    """Whether every pass is a run of the program: nothing has to be saved and put back then."""


class OutOfMemory(WarpsmithError):
    """ncu could not save what the kernel writes: it has to be put back before every further pass."""


class UnknownMetrics(WarpsmithError):
    """Metrics that this ncu does not know."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"ncu does not know the metrics {', '.join(names)}.")
        self.names = tuple(names)


def command(tool: Tool, ask: Ask, report: Path, log: Path | None = None) -> tuple[str, ...]:
    """What stands before the program. ``report`` is without suffix; ncu's own words go to ``log``."""
    said = [tool.path, "--target-processes", "all", "--clock-control", "none"]
    said += ["--cache-control", "all" if ask.cold else "none"]
    if ask.kernels:
        names = "|".join(re.escape(k) for k in ask.kernels)
        said += ["--kernel-name-base", ask.base, "--kernel-name", f"regex:^({names})$"]
    if ask.skip:
        said += ["--launch-skip", str(ask.skip)]
    if ask.count is not None:
        said += ["--launch-count", str(ask.count)]
    if log is not None:
        said += ["--log-file", str(log)]
    if ask.rerun:
        said += ["--replay-mode", "application"]
    if not ask.only:
        said += [*SOURCE, *(FULL if ask.effort is ProfileEffort.full else ())]
    return (*said, "--metrics", ",".join(metrics(ask)), "--force-overwrite", "--export", str(report))


def metrics(ask: Ask) -> tuple[str, ...]:
    """The names that are asked for beside the sections."""
    names = wanted(ask.architecture, quick=ask.effort is ProfileEffort.quick)
    if ask.only:
        sources = [s for key in ask.only if (s := METRICS[key].source(ask.architecture)) is not None]
        names = tuple(dict.fromkeys(name for source in sources for name in source.names))
    return tuple(name for name in names if name not in ask.without)


def complaint(printed: str, ask: Ask) -> WarpsmithError | None:
    """What ncu's own words mean; None where they name no failure."""
    if "ERR_NVGPUCTRPERM" in printed:
        return ProfilerFailed("ncu may not read the device's counters (ERR_NVGPUCTRPERM).", PERMISSION)
    if unknown := _UNKNOWN.findall(printed):
        return UnknownMetrics([name for name in metrics(ask) if any(name.startswith(u.rstrip(".\\")) for u in unknown)])
    lowered = printed.lower()
    if "out of memory" in lowered or "failed to save" in lowered or "unable to save" in lowered:
        return OutOfMemory("ncu could not save the memory that the kernel writes.")
    if "not supported on device" in lowered or "unsupported gpu" in lowered or "not compatible with the gpu" in lowered:
        return ProfilerFailed("this ncu does not know this device's architecture.", "Install a newer Nsight Compute.")
    if "driver resource was unavailable" in lowered or "could not be acquired" in lowered:
        return ProfilerFailed(
            "another profiler holds the device's counters.",
            "End it (DCGM: 'dcgmi profiling --pause'), or wait for it, then profile again.",
        )
    if "no kernels were profiled" in lowered:
        asked = f"the kernel {', '.join(ask.kernels)}" if ask.kernels else "a kernel"
        return BadReport(f"ncu saw no launch of {asked}.", "See whether the program launches it at all.")
    if "==error==" in lowered:
        lines = [line for line in printed.splitlines() if "==ERROR==" in line]
        return ProfilerFailed(f"ncu failed: {' '.join(lines)[:600]}", "Run ncu by hand to see more.")
    return None


def without(ask: Ask, unknown: UnknownMetrics) -> Ask | None:
    """The same without metrics that this ncu does not know; None where nothing would change."""
    left = tuple(dict.fromkeys((*ask.without, *unknown.names)))
    return replace(ask, without=left) if unknown.names and left != ask.without else None
