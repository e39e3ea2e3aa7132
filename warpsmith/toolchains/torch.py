"""Host code in Python over torch tensors on the device, for the host contract on a GPU: checked, and taken as it is."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from warpsmith.errors import Missing
from warpsmith.model.evaluation import Build
from warpsmith.toolchains import Job
from warpsmith.toolchains.python import copy_source


class Torch:
    """The ``torch`` toolchain: a function over torch tensors that writes its outputs in place."""

    name = "torch"

    def version(self) -> str:
        """``torch 2.11.0, python 3.12.3``. Raises Missing with the remedy; torch itself is not imported."""
        try:
            return f"torch {version('torch')}, python {platform.python_version()}"
        except PackageNotFoundError:
            raise Missing("torch is not installed.", "Install warpsmith[gpu].") from None

    def build(self, job: Job) -> Build:
        """Check that the module parses and defines the entry, and copy it. Raises BuildFailed."""
        return copy_source(job, self.name)
