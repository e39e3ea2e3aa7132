"""PTX to a cubin for one architecture, through ptxas."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from warpsmith.errors import BuildFailed, Missing
from warpsmith.model.evaluation import Build
from warpsmith.toolchains import Job
from warpsmith.toolchains.compiler import run
from warpsmith.toolchains.cuda import check_launches, entries, kernel_facts

_FLAG = re.compile(r"-O[0-3]|--?(fmad|maxrregcount)=\w+")
"""What tunes code and reads no other file."""


class Ptx:
    """The ``ptx`` toolchain: the first ``.ptx`` of a candidate. Without preprocessor, tunables reach the plan only."""

    name = "ptx"

    def version(self) -> str:
        """``ptxas 13.0.88``. Raises Missing with the remedy."""
        return _version(_ptxas())

    def build(self, job: Job) -> Build:
        """One cubin for the target's architecture. Raises BuildFailed, also where a launch names no kernel of it."""
        for flag in job.candidate.flags:
            if not _FLAG.fullmatch(flag):
                raise BuildFailed(f"the flag {flag!r} is not allowed: ptxas takes -O0..3, -fmad=, -maxrregcount=")
        main = next((f for f in job.files if f.endswith(".ptx")), None)
        if main is None:
            raise BuildFailed(f"there is no .ptx file among {', '.join(job.files)}")
        began = time.monotonic()
        debug = () if job.configuration == "release" else ("-lineinfo",)
        flags = (f"-{flag.lstrip('-')}" for flag in job.candidate.flags)
        options = (f"-arch={job.target.architecture}", "-v", *debug, *flags)
        log = run((_ptxas(), *options, "-o", str(job.output), main), job.sources, job.output)
        kernels = entries(job.output.read_bytes())
        check_launches(job, kernels, log, "a kernel is declared .visible .entry")
        command = ("ptxas", *options, "-o", str(job.output), main)
        return job.built(self.name, command, began, kernel_facts(kernels, log), log)


def _ptxas() -> str:
    """The assembler: on PATH, of the toolkit, or of a package that carries one. Raises Missing."""
    for path in _candidates():
        if os.access(path, os.X_OK):
            return path
    raise Missing(
        "ptxas was not found.",
        "Install the CUDA toolkit, and put ptxas on PATH, or install the package nvidia-cuda-nvcc.",
    )


def _candidates() -> Iterator[str]:
    if found := shutil.which("ptxas"):
        yield found
    roots = [Path(os.environ[n]) for n in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(n)]
    roots.append(Path("/usr/local/cuda"))
    packages = ("nvidia/cu13", "nvidia/cuda_nvcc", "triton/backends/nvidia")
    roots += [Path(p) / part for p in sys.path for part in packages]
    yield from (str(root / "bin" / "ptxas") for root in roots)


@lru_cache(maxsize=4)
def _version(path: str) -> str:
    try:
        printed = run((path, "--version"), None)
    except BuildFailed as failed:
        raise Missing(f"{path} cannot be used: {failed.message}.", "Mend the CUDA toolkit.") from None
    found = re.search(r"\bV(\d+\.\d+\.\d+)", printed)
    return f"ptxas {found.group(1) if found else printed.strip()[-60:]}"
