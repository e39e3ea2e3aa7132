"""Things for the tests of exports: releases whose measurements are made up and whose artefacts are real.

A release for a GPU is made on any machine with a CUDA compiler: the cubin is what the toolchain gives for the named
architecture. What a promotion would have measured is copied from a scripted one on the processor.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.projects import calibrate
from tests.ship.things import Scripted, promote, scripted
from warpsmith.model.base import digest_bytes
from warpsmith.model.release import Gain, Manifest, ReleasedFile, Variant
from warpsmith.model.target import Target
from warpsmith.model.task import KernelTask
from warpsmith.ship import provenance
from warpsmith.ship.shelf import Shelf
from warpsmith.store.folders import load_candidate, load_task
from warpsmith.surface.answers_export import ExportAnswer
from warpsmith.surface.exporting import make_export
from warpsmith.surface.shelves import shelf
from warpsmith.toolchains.cache import build

ROOT = Path(__file__).parents[2]
EXPORTS = Path("exports")


def project_with_release(root: Path) -> Scripted:
    """A project with the release my/axpy@1.0.0 for this machine's processor."""
    space = scripted(root)
    assert promote(space, "1.0.0").released
    return space


def release(
    space: Scripted, name: str, version: str = "1.0.0", *, source: Path | None = None,
    edit: dict[str, str] | None = None, candidate_edit: dict[str, str] | None = None, architecture: str = "",
    speedup: float = 1.5,
) -> Manifest:  # fmt: skip
    """Put a release on the shelf: of the task in ``source``, built for ``architecture``, with its texts edited."""
    there = shelf(space)
    first = there.manifest(there.find("my/axpy@1.0.0"))
    folder = space.root / "made" / name / version
    shutil.copytree(source or space.root / "tasks" / "my" / "axpy", folder)
    page = folder / "task.toml"
    text = page.read_text().replace('name = "my/axpy"', f'name = "{name}"').replace('"cuda/rmsnorm"', f'"{name}"')
    for before, after in (edit or {}).items():
        assert before in text, before
        text = text.replace(before, after)
    page.write_text(text)
    for path, before, after in ((f"src/{p}", *c.split(" -> ")) for p, c in (candidate_edit or {}).items()):
        assert before in (folder / path).read_text(), before
        (folder / path).write_text((folder / path).read_text().replace(before, after))
    loaded = load_task(folder)
    task = loaded.kernel
    assert task is not None
    candidate = load_candidate(folder / task.entry, space.blobs, task)
    rival = load_candidate(folder / task.baseline, space.blobs, task)
    target = _target(first, task, architecture)
    made = build(candidate, folder / task.entry, target, "release", space.home / "cache" / "build", task)
    suffix = ".so" if task.hardware == "cpu" else ".cubin"
    artefact = f"artefact/{candidate.entry}{suffix}"
    place = there.place(first.name, first.version)
    contents = {f.path: (place / f.path).read_bytes() for f in first.files if f.role in ("benchmark", "report")}
    contents[artefact] = made.binary.read_bytes()
    contents.update({f"candidate/{s.path}": (folder / task.entry / s.path).read_bytes() for s in candidate.sources})
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        if path.is_file() and inside.parts[0] in ("task.toml", task.reference, task.baseline, task.entry, *task.peers):
            contents[f"task/{inside}"] = path.read_bytes()
    manifest = _manifest(first, task, loaded.digest, candidate, rival, target, contents, artefact, made.build)
    workloads = [
        first.workloads[0].model_copy(update={"name": w.name, "axes": w.axes, "scalars": w.scalars, "weight": w.weight})
        for w in task.workloads
    ]
    gain = Gain(speedup=speedup, low=speedup - 0.1, high=speedup + 0.1, pairs=20)
    manifest = manifest.model_copy(
        update={"name": name, "version": version, "workloads": tuple(workloads), "gain": gain}
    )
    _, published = there.publish(manifest, contents, lambda m, raw: provenance.envelope(m, raw, None))
    return published


def _target(first: Manifest, task: KernelTask, architecture: str) -> Target:
    if task.hardware == "cpu":
        return first.target
    return Target(
        hardware="cuda", device=f"a device of {architecture}", architecture=architecture, facts={"SM_COUNT": 132}
    )


def _manifest(
    first: Manifest, task: KernelTask, digest: str, candidate: Any, rival: Any, target: Target,
    contents: dict[str, bytes], artefact: str, built: Any,
) -> Manifest:  # fmt: skip
    roles: dict[str, Any] = {"artefact": "artefact", "candidate": "source", "task": "task", "profiles": "report"}
    files = tuple(
        ReleasedFile(path=path, role=roles.get(path.split("/")[0], "benchmark"), sha256=digest_bytes(c), bytes=len(c))
        for path, c in sorted(contents.items())
    )
    low_high = {
        axis: (min(w.axes[axis] for w in task.workloads), max(w.axes[axis] for w in task.workloads))
        for axis in task.workloads[0].axes
    }
    guard = first.variants[0].guard.model_copy(
        update={
            "hardware": task.hardware, "architecture": target.architecture, "axes": low_high,
            "alignment": task.alignment, "dtypes": {a.name: str(a.dtype) for a in task.arguments if a.is_tensor},
        }
    )  # fmt: skip
    variant = Variant(candidate=candidate.id, artefact=artefact, binary=built.binary, guard=guard, proof="measured")
    return first.model_copy(
        update={
            "task": digest, "title": task.title, "hardware": task.hardware, "candidate": candidate,
            "candidate_id": candidate.id, "baseline": rival, "baseline_id": rival.id, "target": target,
            "build": built.model_copy(update={"cached": False}), "variants": (variant,), "files": files,
        }
    )  # fmt: skip


def rmsnorm(space: Scripted, version: str, architecture: str, **options: Any) -> Manifest:
    """A release of cuda/rmsnorm for an architecture, from the task that comes with the project."""
    return release(
        space, options.pop("name", "cuda/rmsnorm"), version, source=ROOT / "tasks" / "cuda" / "rmsnorm",
        architecture=architecture, **options,
    )  # fmt: skip


def exported(space: Scripted, *specs: str, kind: Any = "python", name: str = "", **options: Any) -> ExportAnswer:
    """Export, as the verb does."""
    also, replace, look = options.get("also", ()), options.get("replace", False), options.get("look")
    return make_export(space, specs, kind, name, also, replace=replace, definition="", output=EXPORTS, look=look)


def imported(answer: ExportAnswer, folder: Path) -> ModuleType:
    """The exported package under a name of its own, so that tests do not meet each other's."""
    fresh = f"{answer.name}_{abs(hash(str(folder))) % 10**9}_{len(sys.modules)}"
    shutil.copytree(answer.path, folder / "site" / fresh)
    sys.path.insert(0, str(folder / "site"))
    try:
        return importlib.import_module(fresh)
    finally:
        sys.path.remove(str(folder / "site"))


def shelf_of(space: Scripted) -> Shelf:
    return shelf(space)


__all__ = ["calibrate", "exported", "imported", "project_with_release", "release", "rmsnorm", "shelf_of"]
