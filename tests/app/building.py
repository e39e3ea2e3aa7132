"""The programs of these tests, built once per test session by real compilers."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import pytest

from warpsmith.app.library import SOURCES

PROGRAMS = Path(__file__).parent / "programs"
EXAMPLES = Path(__file__).parents[2] / "examples" / "apps"


_MADE: list[tempfile.TemporaryDirectory[str]] = []


def _folder() -> Path:
    """Removed when this process ends."""
    if not _MADE:
        _MADE.append(tempfile.TemporaryDirectory(prefix="warpsmith-test-programs-"))
        atexit.register(_MADE[0].cleanup)
    return Path(_MADE[0].name)


def shared(name: str) -> Path:
    """A folder for all tests of this process."""
    (_folder() / name).mkdir(exist_ok=True)
    return _folder() / name


@lru_cache(maxsize=16)
def built(source: str) -> Path:
    """A program of C or C++ from ``programs``."""
    compiler = "g++" if source.endswith("pp") else "gcc"
    made = _folder() / Path(source).stem
    subprocess.run(
        (compiler, "-O1", "-Wall", "-Werror", f"-I{SOURCES}", "-o", str(made), str(PROGRAMS / source), "-lpthread"),
        check=True,
    )
    return made


def needs(*programs: str) -> None:
    """Skip the test where one of them is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not here")


@lru_cache(maxsize=16)
def compiled(source: Path, *flags: str) -> Path:
    """A program, or a cubin with ``-cubin``, of CUDA C++."""
    needs("nvcc")
    made = _folder() / (f"{source.stem}.cubin" if "-cubin" in flags else source.stem)
    subprocess.run(("nvcc", "-O2", "-std=c++17", "-arch=sm_90", *flags, "-o", str(made), str(source)), check=True)
    return made
