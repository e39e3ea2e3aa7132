"""Who else computes on the GPUs: what an earlier work of ours left is ended, anybody else is named and stops us."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from warpsmith.app.commands import MARK, end_leftovers
from warpsmith.errors import BadInput


@dataclass(frozen=True)
class Neighbour:
    """A process with a context on a GPU."""

    pid: int
    name: str
    device: str

    @property
    def mark(self) -> str:
        """The work of ours that it belongs to; empty where it is none of ours, or not to be looked into."""
        wanted = f"{MARK}=".encode()
        with suppress(OSError):
            for one in Path(f"/proc/{self.pid}/environ").read_bytes().split(b"\0"):
                if one.startswith(wanted):
                    return one.removeprefix(wanted).decode(errors="replace")
        return ""


Look = Callable[[], Iterable[Neighbour]]


def clear(mark: str, look: Look | None = None) -> tuple[str, ...]:
    """End what works of ours left on the GPUs, and say so. ``mark`` is the work under way: what is its own may stay.

    Raises BadInput naming every process that is not ours.
    """
    found = [n for n in (look or neighbours)() if n.pid != os.getpid()]
    marks = {n: n.mark for n in found}
    foreign = [n for n in found if not marks[n]]
    ours = sorted({m for m in marks.values() if m not in ("", mark)})
    said = tuple(f"{len(end_leftovers(m))} processes of the work {m} were ended" for m in ours)
    if foreign:
        named = ", ".join(f"{n.name} (pid {n.pid}) on {n.device}" for n in foreign)
        raise BadInput(
            f"another program computes on the GPU: {named}.", "Wait for it or end it: beside it no time means anything."
        )
    return said


def neighbours() -> tuple[Neighbour, ...]:
    """Processes with a context on a GPU, by NVML where its Python package is here, else by nvidia-smi; none where
    neither can tell.
    """
    try:
        return _by_nvml()
    except (ImportError, OSError, RuntimeError):
        return _by_tool()


def _by_nvml() -> tuple[Neighbour, ...]:
    nvml = import_module("pynvml")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise RuntimeError(str(error)) from None
    try:
        found = []
        for index in range(nvml.nvmlDeviceGetCount()):
            device = nvml.nvmlDeviceGetHandleByIndex(index)
            named = nvml.nvmlDeviceGetName(device)
            for process in nvml.nvmlDeviceGetComputeRunningProcesses(device):
                where = named if isinstance(named, str) else named.decode()
                found.append(Neighbour(process.pid, program(process.pid), f"{where} {index}"))
        return tuple(found)
    except nvml.NVMLError as error:
        raise RuntimeError(str(error)) from None
    finally:
        nvml.nvmlShutdown()


def _by_tool() -> tuple[Neighbour, ...]:
    if (tool := shutil.which("nvidia-smi")) is None:
        return ()
    asked = (tool, "--query-compute-apps=pid,process_name,gpu_name", "--format=csv,noheader")
    try:
        said = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return read(said)


def read(said: str) -> tuple[Neighbour, ...]:
    """The rows ``pid, process_name, gpu_name`` of nvidia-smi."""
    rows = csv.reader(said.splitlines(), skipinitialspace=True)
    return tuple(Neighbour(int(r[0]), r[1], r[2]) for r in rows if len(r) == 3 and r[0].strip().isdigit())


def program(pid: int) -> str:
    """What a process runs; says so where that is not to be seen from here."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return "a process that is not to be seen from here"
