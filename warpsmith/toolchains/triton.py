"""Triton: kernels that state their launch to cubins, ahead of time; wrappers of the host contract as they are."""

from __future__ import annotations

import platform

from warpsmith.model.evaluation import Build
from warpsmith.toolchains import Job
from warpsmith.toolchains.python import copy_source
from warpsmith.toolchains.specialised import specialise, version

_PACKAGES = ("triton",)


class Triton:
    """The ``triton`` toolchain. With launches, each names a ``@triton.jit`` function of the first source."""

    name = "triton"

    def version(self) -> str:
        """``triton 3.6.0, python 3.12.3``. Raises Missing with the remedy."""
        return f"{version(self.name, _PACKAGES, 'Install the package triton.')}, python {platform.python_version()}"

    def build(self, job: Job) -> Build:
        """Cubins for the target's architecture. Raises BuildFailed."""
        if not job.candidate.launch:
            return copy_source(job, self.name)
        return specialise(job, self.name, _PACKAGES)
