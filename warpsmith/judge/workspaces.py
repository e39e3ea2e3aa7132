"""Where and with which variables each side of a harness task runs. Both kinds of harness use it.

A side's copy of the workspace is its own, so what it writes reaches neither the other side nor the origin. Both copies
have paths of the same length: where a program's stack begins depends on them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from warpsmith.judge.evidence import Side
from warpsmith.judge.failures import CandidateFailed
from warpsmith.judge.launching import device_environment
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Status
from warpsmith.model.harness import HarnessTask
from warpsmith.model.head import Workload
from warpsmith.model.target import Target

PASSED = ("PATH", "HOME", "LANG", "TZ")
"""Variables of the caller that every run sees, beside those that the task names."""
WORKSPACE = "workspace"
"""The workspace's files, in ``task/`` of a step's folder."""


def overlaid(step: Path, side: Side) -> Path:
    """A new copy of the workspace with the overlay of ``side`` on it, in ``step/sides``, where an older one of that
    side is removed. Raises CandidateFailed where a file of the overlay has the name of a folder, or the reverse.
    """
    copy = step / "sides" / {"candidate": "a", "rival": "b"}.get(side.folder.name, "c")
    shutil.rmtree(copy, ignore_errors=True)
    origin = step / "task" / WORKSPACE
    if origin.is_dir():
        shutil.copytree(origin, copy)
    else:
        copy.mkdir(parents=True)
    for source in side.candidate.sources:
        try:
            _replace(side.folder / source.path, copy / source.path)
        except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
            raise CandidateFailed(Status.build_failed, f"{source.path} cannot go over the workspace: {error}") from None
    return copy


def _replace(source: Path, place: Path) -> None:
    """Put a file there, with the mode of what it replaces."""
    place.parent.mkdir(parents=True, exist_ok=True)
    mode = place.stat().st_mode & 0o777 if place.is_file() else 0o644
    place.unlink(missing_ok=True)
    shutil.copyfile(source, place)
    place.chmod(mode)


def environment(
    task: HarnessTask,
    candidate: Candidate,
    target: Target,
    workload: Workload | None = None,
    caller: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """What a run of ``candidate`` sees, later ones first: the workload's axes and scalars, the candidate's tunables and
    environment, the task's, allow-listed variables of the ``caller`` (of this process by default). On a GPU, over all
    of them, the one device of ``target``.
    """
    outside = os.environ if caller is None else caller
    said = {name: outside[name] for name in (*PASSED, *task.passes) if name in outside}
    said |= task.environment | candidate.environment
    said |= {name: str(value) for name, value in candidate.parameters.items()}
    if workload is not None:
        said |= {name: f"{value:g}" for name, value in workload.scalars.items()}
        said |= {name: str(value) for name, value in workload.axes.items()}
    if target.hardware == "cuda" and target.uuid:
        said |= device_environment(target.uuid)
    return said
