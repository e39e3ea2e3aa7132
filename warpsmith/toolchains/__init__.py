"""Source to something loadable: one file per toolchain, one protocol, one cache.

A toolchain turns the sources of a candidate into one binary and says what the compiler said of it. It raises
:class:`~warpsmith.errors.BuildFailed` for the candidate's fault and :class:`~warpsmith.errors.Missing` where the
machine lacks it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol

from warpsmith.errors import BadInput
from warpsmith.model.base import digest_bytes
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Build, KernelBuild
from warpsmith.model.target import Target
from warpsmith.model.task import Argument

Asked = Literal["release", "debug"]
"""What a measurement can be asked for."""
Configuration = Asked | Literal["sanitized", "profiled"]
"""``profiled`` is ``release`` with the places of its lines. ``sanitized`` is for runs under sanitizers: the same, and
host code has their checks compiled in.
"""


@dataclass(frozen=True)
class Job:
    """What is to be built: ``candidate`` with its sources under ``sources``, into ``output``."""

    candidate: Candidate
    sources: Path
    target: Target
    configuration: Configuration
    output: Path
    arguments: tuple[Argument, ...] = ()
    """Those of the task, where kernels take their types from them (model.candidate.SPECIALISES); none otherwise."""
    alignment: int = 1
    """What every buffer of the task is aligned to, in bytes; where there are arguments."""

    @property
    def defines(self) -> tuple[str, ...]:
        """The parameters as compiler flags; ``WARPSMITH_DEBUG`` says that checks are on."""
        said = [f"-D{name}={value}" for name, value in sorted(self.candidate.parameters.items())]
        return (*said, "-DWARPSMITH_DEBUG=1") if self.configuration == "debug" else tuple(said)

    @property
    def files(self) -> tuple[str, ...]:
        """The files of the candidate, as paths below ``sources``."""
        return tuple(s.path for s in self.candidate.sources)

    def built(
        self,
        toolchain: str,
        command: tuple[str, ...],
        began: float,
        kernels: tuple[KernelBuild, ...] = (),
        log: str = "",
    ) -> Build:
        """What building gave, now that ``output`` is written; ``began`` is of time.monotonic.

        In ``command`` the path of the output, which is another each time, is said as OUTPUT.
        """
        content = self.output.read_bytes()
        return Build(
            toolchain=toolchain,
            configuration=self.configuration,
            command=tuple("OUTPUT" if part == str(self.output) else part for part in command),
            seconds=time.monotonic() - began,
            binary=digest_bytes(content),
            binary_bytes=len(content),
            kernels=kernels,
            log=log,
        )


class Toolchain(Protocol):
    """The one protocol of this layer."""

    name: str

    def version(self) -> str:
        """What would build, such as ``gcc 12.2.0``: part of the cache key. Raises Missing with the remedy."""

    def build(self, job: Job) -> Build:
        """Write ``job.output`` and report. Raises BuildFailed with the compiler's log."""


TOOLCHAINS = {
    "c": "warpsmith.toolchains.c:C",
    "cubin": "warpsmith.toolchains.cubin:Cubin",
    "cuda": "warpsmith.toolchains.cuda:Cuda",
    "cute": "warpsmith.toolchains.cute:Cute",
    "ptx": "warpsmith.toolchains.ptx:Ptx",
    "python": "warpsmith.toolchains.python:Python",
    "torch": "warpsmith.toolchains.torch:Torch",
    "triton": "warpsmith.toolchains.triton:Triton",
    "tvm-ffi": "warpsmith.toolchains.tvmffi:TvmFfi",
}
"""Name in ``candidate.toml`` to ``module:class``, imported when needed."""


def toolchain(name: str) -> Toolchain:
    """The toolchain of that name. Raises BadInput for an unknown one."""
    if name not in TOOLCHAINS:
        raise BadInput(f"toolchain: {name!r} is not known.", f"Choose one of: {', '.join(sorted(TOOLCHAINS))}.")
    module, _, attribute = TOOLCHAINS[name].partition(":")
    made: Toolchain = getattr(import_module(module), attribute)()
    return made
