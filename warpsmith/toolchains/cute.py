"""CuTe DSL: kernels that state their launch to cubins, ahead of time; wrappers of the host contract as they are.

A kernel takes pointers and scalars: tensors are made of them inside, since a descriptor that host code would make
(a TMA atom, a dynamic layout) has no place in a declarative plan.
"""

from __future__ import annotations

import platform

from warpsmith.model.evaluation import Build
from warpsmith.toolchains import Job
from warpsmith.toolchains.python import copy_source
from warpsmith.toolchains.specialised import specialise, version

_PACKAGES = ("nvidia_cutlass_dsl", "cuda", "numpy", "google")


class Cute:
    """The ``cute`` toolchain. With launches, each names a ``@cute.kernel`` function of the first source."""

    name = "cute"

    def version(self) -> str:
        """``cute 4.8.1, python 3.12.3``. Raises Missing with the remedy."""
        found = version(self.name, _PACKAGES, "Install the package nvidia-cutlass-dsl.")
        return f"{found}, python {platform.python_version()}"

    def build(self, job: Job) -> Build:
        """Cubins for the target's architecture. Raises BuildFailed."""
        if not job.candidate.launch:
            return copy_source(job, self.name)
        return specialise(job, self.name, _PACKAGES)
