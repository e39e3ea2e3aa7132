"""The build cache, keyed by (candidate, target, flags): the same build is never made twice on one machine."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from warpsmith.model.base import digest, digest_bytes
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Build
from warpsmith.model.target import Target
from warpsmith.toolchains import Configuration, Job, toolchain


@dataclass(frozen=True)
class Built:
    """A binary on disk with its report."""

    binary: Path
    build: Build


def build(candidate: Candidate, sources: Path, target: Target, configuration: Configuration, cache: Path) -> Built:
    """Build, or take from ``cache``. Raises BuildFailed, Missing, BadInput."""
    tool = toolchain(candidate.toolchain)
    key = digest([candidate.id, target.architecture, target.facts, configuration, tool.version()])
    folder = cache / key[:2] / key
    if (found := _cached(folder)) is not None:
        return found
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="building-") as scratch:
        output = Path(scratch) / "binary"
        report = tool.build(Job(candidate, sources, target, configuration, output))
        (Path(scratch) / "build.json").write_text(report.model_dump_json())
        folder.parent.mkdir(exist_ok=True)
        try:
            os.rename(scratch, folder)
            Path(scratch).mkdir()  # the context manager wants something to remove
        except OSError:  # another process was quicker, or an entry there is damaged
            if (found := _cached(folder)) is not None:
                return found
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(scratch, folder)
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
