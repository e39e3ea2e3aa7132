"""What is to run in the sandbox and with which layers, as data, and the plan that the sandbox's processes get."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from warpsmith.sandbox.filter import program
from warpsmith.sandbox.view import bubblewrap, view

UID = 65534
"""The user inside (nobody): it owns nothing."""
PROCESSES = 256
"""As many as a cell may have where it does not say."""


@dataclass(frozen=True)
class Cell:
    """A program and what it is given. Nothing else of this machine's files is seen inside, but the system's folders."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    cwd: str = "/tmp"
    reads: tuple[Path, ...] = ()
    """Files and folders that are copied in, to where they lie outside."""
    writes: tuple[tuple[Path, Path], ...] = ()
    """Folders outside that may be written, and where they appear inside."""
    folders: tuple[Path, ...] = ()
    """Large folders that are shown read-only as they are, such as a toolkit."""
    limits: dict[str, int] = field(default_factory=dict)
    """By the names of the module ``resource``; number of processes and core files are limited in any case."""
    keep: tuple[int, ...] = ()
    """Descriptors that the program inherits, beside the standard ones."""
    core: int | None = None
    """The processor core that it runs on."""
    tmp_bytes: int = 64 << 20
    memory_bytes: int = 32 << 30
    """For all processes inside together, where control groups can be had."""
    processes: int = PROCESSES
    """Processes and threads inside, at most, where they are counted by sandbox."""
    cuda: bool = False
    """Whether it needs the devices of the CUDA driver: that of the GPU which the environment makes visible by its UUID,
    otherwise all.
    """


@dataclass(frozen=True)
class Mechanism:
    """How to make a sandbox, and with which layers."""

    layers: frozenset[str]
    bubblewrap: str = ""
    """The program bwrap where that is to be used; warpsmith's own unshare otherwise."""

    @property
    def user_first(self) -> bool:
        """Whether all namespaces belong to a user namespace: without CAP_SYS_ADMIN there is no other way."""
        return bool(self.bubblewrap) or not _may_mount()


def make_plan(cell: Cell, how: Mechanism, report: int, control: int) -> dict[str, Any]:
    """What the sandbox's processes are told, ready for JSON. ``report`` and ``control``: descriptors of their ends."""
    proc = "shared" if "processes" not in how.layers else "own" if "proc" in how.layers else "none"
    mounts = view(
        reads=cell.reads,
        writes=cell.writes,
        folders=cell.folders,
        tmp_bytes=cell.tmp_bytes,
        proc=proc,
        cuda=cell.cuda,
        visible=cell.environment.get("CUDA_VISIBLE_DEVICES", ""),
    )
    limits = {}
    if "limits" in how.layers:
        counted = {"user", "uid"} <= how.layers
        limits = {"RLIMIT_CORE": 0, **({"RLIMIT_NPROC": cell.processes} if counted else {}), **cell.limits}
    with_files = "files" in how.layers
    mechanism = bubblewrap(how.bubblewrap, mounts, how.layers, UID, cell.cwd) if how.bubblewrap else []
    return {
        "parent": os.getpid(),
        "argv": cell.argv,
        "cwd": cell.cwd if with_files or os.path.isdir(cell.cwd) else "/",
        "keep": cell.keep,
        "core": cell.core,
        "limits": limits,
        "layers": sorted(how.layers),
        "mechanism": "bubblewrap" if how.bubblewrap else "own",
        "bwrap": mechanism,
        "user_first": how.user_first,
        "group": "",
        "uid": UID,
        "mounts": mounts,
        "filter": program().hex(),
        "report": report,
        "control": control,
    }


def _may_mount() -> bool:
    """Whether this process has CAP_SYS_ADMIN (21)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> 21 & 1) and os.geteuid() == 0
    return False
