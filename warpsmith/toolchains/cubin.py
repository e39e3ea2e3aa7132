"""A cubin that is there already: the original of a captured kernel. Nothing is compiled."""

from __future__ import annotations

import time

from warpsmith.errors import BuildFailed
from warpsmith.model.evaluation import Build
from warpsmith.toolchains import Job
from warpsmith.toolchains.cuda import check_launches, entries, kernel_facts


class Cubin:
    """The ``cubin`` toolchain: the first ``.cubin`` of a candidate, as it is."""

    name = "cubin"

    def version(self) -> str:
        """Always there."""
        return "as it is"

    def build(self, job: Job) -> Build:
        """Copy it. Raises BuildFailed for another file, and where a launch names no kernel of it."""
        main = next((f for f in job.files if f.endswith(".cubin")), None)
        if main is None:
            raise BuildFailed(f"there is no .cubin file among {', '.join(job.files)}")
        if job.candidate.parameters:
            raise BuildFailed("a cubin has no tunables: they would change nothing")
        began = time.monotonic()
        content = (job.sources / main).read_bytes()
        kernels = entries(content)
        check_launches(job, kernels, "", "it is as the application loaded it")
        job.output.write_bytes(content)
        return job.built(self.name, ("as it is", main), began, kernel_facts(kernels, ""))
