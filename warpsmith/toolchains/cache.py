"""The build cache, keyed by (candidate, target, flags): the same build is never made twice on one machine."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from warpsmith.model.base import digest, digest_bytes
from warpsmith.model.candidate import SPECIALISES, Candidate
from warpsmith.model.evaluation import Build
from warpsmith.model.target import Target
from warpsmith.model.task import Argument, KernelTask
from warpsmith.sandbox.scratch import scratch
from warpsmith.toolchains import Configuration, Job, toolchain


@dataclass(frozen=True)
class Built:
    """A binary on disk with its report."""

    binary: Path
    build: Build


def build(
    candidate: Candidate,
    sources: Path,
    target: Target,
    configuration: Configuration,
    cache: Path,
    task: KernelTask | None = None,
) -> Built:
    """Build, or take from ``cache``. Raises BuildFailed, Missing, BadInput.

    ``task`` counts only where kernels take their types from its arguments: such a build belongs to that interface.
    """
    tool = toolchain(candidate.toolchain)
    arguments: tuple[Argument, ...] = ()
    alignment = 1
    if task is not None and candidate.launch and candidate.toolchain in SPECIALISES:
        arguments, alignment = task.arguments, task.alignment
    interface = [[[a.name, a.role, a.element] for a in arguments], alignment]
    key = digest([candidate.id, target.architecture, target.facts, configuration, tool.version(), interface])
    folder = cache / key[:2] / key
    if (found := _cached(folder)) is not None:
        return found
    cache.mkdir(parents=True, exist_ok=True)
    with scratch("building-", cache) as made:
        output = made / "binary"
        report = tool.build(Job(candidate, sources, target, configuration, output, arguments, alignment))
        (made / "build.json").write_text(report.model_dump_json())
        folder.parent.mkdir(exist_ok=True)
        try:
            os.rename(made, folder)
        except OSError:  # another process was quicker, or an entry there is damaged
            if (found := _cached(folder)) is not None:
                return found
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(made, folder)
    return Built(folder / "binary", report)


def _cached(folder: Path) -> Built | None:
    """The entry, unless it is absent or damaged."""
    try:
        report = Build.model_validate_json((folder / "build.json").read_bytes())
        binary = folder / "binary"
        if digest_bytes(binary.read_bytes()) != report.binary:
            return None
    except (OSError, ValidationError):
        return None
    return Built(binary, report.model_copy(update={"cached": True}))
