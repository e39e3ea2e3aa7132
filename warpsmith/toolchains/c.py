"""C through gcc or clang, tuned for the machine that builds it, to a shared object."""

from __future__ import annotations

import os
import platform
import shutil
import time
from functools import lru_cache

from warpsmith.errors import Missing
from warpsmith.model.evaluation import Build
from warpsmith.toolchains import Job
from warpsmith.toolchains.compiler import check_flags, run, said_by

BASE = ("-shared", "-fPIC", "-march=native", "-std=gnu17")
FLAGS = {
    "release": ("-O3",),
    "debug": ("-O1", "-g", "-fno-omit-frame-pointer", "-fstack-protector-strong", "-Wall", "-Wextra"),
    "sanitized": ("-O1", "-g", "-fno-omit-frame-pointer"),
    "profiled": ("-O3", "-g", *(("-mno-avx512f",) if platform.machine() == "x86_64" else ())),  # valgrind knows none
}
SANITIZERS = ("-fsanitize=address,undefined", "-fsanitize-recover=undefined")
"""Behind the candidate's own flags, which could turn them off."""


class C:
    """The ``c`` toolchain. ``WARPSMITH_CC`` names the compiler; gcc, then clang, then cc otherwise."""

    name = "c"

    def version(self) -> str:
        """``gcc (Debian 12.2.0-14) 12.2.0``."""
        return _version(compiler())

    def build(self, job: Job) -> Build:
        """One shared object from all ``.c`` files; headers are found beside them."""
        check_flags(job.candidate.flags)
        sources = [f for f in job.files if f.endswith(".c")]
        last = SANITIZERS if job.configuration == "sanitized" else ()
        command = (
            *(compiler(), *BASE, *FLAGS[job.configuration]),
            *(*job.defines, *job.candidate.flags, *last, "-o", str(job.output), *sources, "-lm"),
        )
        began = time.monotonic()
        log = run(command, job.sources, job.output)
        return job.built(self.name, command, began, log=log)


def compiler() -> str:
    """The C compiler to use. Raises Missing where there is none."""
    forced = os.environ.get("WARPSMITH_CC")
    for name in (forced,) if forced else ("gcc", "clang", "cc"):
        if shutil.which(name):
            return name
    if forced:
        raise Missing(
            f"WARPSMITH_CC={forced} names no program that can be run.", "Set it to a C compiler, or unset it."
        )
    raise Missing("no C compiler was found (gcc, clang, cc).", "Install gcc, or set WARPSMITH_CC.")


@lru_cache(maxsize=4)
def _version(name: str) -> str:
    printed = said_by((name, "--version"))
    return printed.splitlines()[0].strip() if printed else name
