"""Python host code: nothing to compile. The binary is the entry's module, the first of the sources."""

from __future__ import annotations

import platform
import sys
import time
from pathlib import Path

from warpsmith.errors import BuildFailed
from warpsmith.model.evaluation import Build
from warpsmith.toolchains import Job
from warpsmith.toolchains.compiler import run

PARSE = Path(__file__).with_name("parse.py")


class Python:
    """The ``python`` toolchain: a function over numpy arrays that writes its outputs in place."""

    name = "python"

    def version(self) -> str:
        """The interpreter's version."""
        return f"python {platform.python_version()}"

    def build(self, job: Job) -> Build:
        """Check that the module parses and defines the entry, and copy it."""
        return copy_source(job, self.name)


def check_source(job: Job) -> None:
    """Raise BuildFailed unless the first source parses as Python and defines the entry as a function.

    It is parsed in the sandbox, by the interpreter that would run it; nothing of it is run.
    """
    main = job.files[0]
    try:
        run((sys.executable, "-I", "-S", str(PARSE), main, job.candidate.entry), job.sources, reads=(PARSE,))
    except BuildFailed as failed:
        said = failed.log.strip().splitlines()
        raise BuildFailed(said[-1] if said else f"{main} cannot be parsed: {failed.message}", failed.log) from None


def copy_source(job: Job, toolchain: str) -> Build:
    """The build of Python host code: its first source as it is, once checked. Raises BuildFailed."""
    began = time.monotonic()
    check_source(job)
    job.output.write_bytes((job.sources / job.files[0]).read_bytes())
    return job.built(toolchain, ("python", job.files[0]), began)
