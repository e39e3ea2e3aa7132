"""Machines with GPUs, as their driver would tell of them, through a management library of our own; and whether this one
has none.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from warpsmith.errors import Missing
from warpsmith.judge import nvml
from warpsmith.judge.machine import detect

SOURCE = Path(__file__).with_name("nvml.c")
UUIDS = tuple(f"GPU-{digit * 8}-0000-4f00-8000-0123456789ab" for digit in "1234")
SLICES = tuple(f"MIG-{digit * 8}-1111-5f00-9000-0123456789ab" for digit in "ab")
MIB = 1 << 20
H200 = "NVIDIA H200"


def no_gpu() -> bool:
    """Whether nothing can be measured on a GPU here."""
    try:
        detect("cuda")
    except Missing:
        return True
    return False


def gpu(uuid: str, free_mib: int = 143158, pids: str = "", name: str = H200, mode: str = "0") -> str:
    """A line of :file:`nvml.c`: an H200, free where nothing else is said."""
    return f"gpu|{uuid}|{name}|{143771 * MIB}|{free_mib * MIB}|{mode}|{pids}\n"


def piece(uuid: str, pids: str = "") -> str:
    """A slice of the GPU on the line before."""
    return f"slice|{uuid}|{H200} MIG 1g.18gb|{16384 * MIB}|{16300 * MIB}||{pids}\n"


def driver(folder: Path) -> Path:
    """Build the library; the folder to put on LD_LIBRARY_PATH."""
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(("gcc", "-shared", "-fPIC", "-D_GNU_SOURCE", "-o", library, SOURCE), check=True)
    return folder


def posing(library: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """What makes this machine one with such GPUs, given as lines; it returns the file at ``place`` that says so."""
    monkeypatch.setattr(nvml, "LIBRARY", str(library / "libnvidia-ml.so.1"))

    def set_up(*lines: str) -> Path:
        monkeypatch.setenv("FAKE_MACHINE", str(place))
        return machine(place, *lines)

    return set_up


def machine(path: Path, *lines: str) -> Path:
    """The file that FAKE_MACHINE names."""
    path.write_text("".join(lines))
    return path
