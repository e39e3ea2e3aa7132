"""Python host code: nothing to compile. The binary is the entry's module, the first of the sources."""

from __future__ import annotations

import ast
import platform

from warpsmith.errors import BuildFailed
from warpsmith.model.base import digest_bytes
from warpsmith.model.evaluation import Build
from warpsmith.toolchains import Job


class Python:
    """The ``python`` toolchain: a function over numpy arrays that writes its outputs in place."""

    name = "python"

    def version(self) -> str:
        """The interpreter's version."""
        return f"python {platform.python_version()}"

    def build(self, job: Job) -> Build:
        """Check that the module parses and defines the entry, and copy it."""
        content = (job.sources / job.files[0]).read_bytes()
        try:
            tree = ast.parse(content)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise BuildFailed(f"{job.files[0]} does not parse: {error}", str(error)) from None
        defined = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
        if job.candidate.entry not in defined:
            raise BuildFailed(f"{job.files[0]} defines no function {job.candidate.entry!r}")
        job.output.write_bytes(content)
        return Build(
            toolchain=self.name,
            configuration=job.configuration,
            command=("python", job.files[0]),
            seconds=0.0,
            binary=digest_bytes(content),
            binary_bytes=len(content),
        )
