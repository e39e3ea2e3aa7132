"""Where releases lie in a project, and the task that a release brings with it."""

from __future__ import annotations

from pathlib import Path

from warpsmith.errors import BadInput, Missing
from warpsmith.judge import VERSION
from warpsmith.judge.machine import detect
from warpsmith.model.release import Manifest
from warpsmith.model.target import Target
from warpsmith.ship.shelf import Shelf
from warpsmith.ship.staleness import changes
from warpsmith.store.folders import load_candidate, load_task
from warpsmith.surface.gpus import settle
from warpsmith.surface.workspace import Known, Workspace


def shelf(space: Workspace) -> Shelf:
    """The project's releases."""
    settings = space.settings
    return Shelf(space.root / settings.releases, space.home / "releases-seen.json", space.root / settings.evidence)


def signing_key(space: Workspace) -> Path | None:
    """The user's own key; None where none is set."""
    said = space.settings.signing_key
    return space.root / Path(said).expanduser() if said else None


def trusted_keys(space: Workspace) -> Path | None:
    """Public keys whose signatures count; None where none are set."""
    said = space.settings.trusted_keys
    return space.root / Path(said).expanduser() if said else None


def released_task(space: Workspace, manifest: Manifest, folder: Path) -> Known:
    """The task as the release in ``folder`` brings it, its candidate's sources among the blobs. Raises BadInput."""
    loaded = load_task(folder / "task")
    if loaded.digest != manifest.task:
        raise BadInput(f"{folder / 'task'} is not the task that the manifest names.", "Restore the release.")
    head = loaded.head
    baseline = load_candidate(loaded.folder / head.baseline, space.blobs, head)
    if baseline.id != manifest.baseline_id:
        raise BadInput(f"{folder / 'task'}: the baseline is not the one that was measured.", "Restore the release.")
    for source in manifest.candidate.sources:
        if space.blobs.put((folder / "candidate" / source.path).read_bytes()) != source.content:
            raise BadInput(f"{folder / 'candidate' / source.path} was changed.", "Restore the release.")
    entry = load_candidate(loaded.folder / head.entry, space.blobs, head)
    return Known(loaded, baseline, entry, {})


def here(hardware: str) -> Target | None:
    """The target of such tasks on this machine; None where it has none."""
    try:
        return detect(hardware)
    except Missing:
        return None


def stale(space: Workspace, manifest: Manifest) -> tuple[str, ...]:
    """What changed since the release was measured, as far as this machine and project can tell."""
    if manifest.hardware == "cuda":
        settle(space.settings, needed=False)
    task = baseline = None
    try:
        known = space.task(str(space.root / "tasks" / manifest.name))
        task, baseline = known.loaded.digest, known.baseline.id
    except BadInput:
        pass
    return changes(manifest, here(manifest.hardware), task, baseline, VERSION)
