"""Which files of a workspace are meant, where a candidate of a harness task is handed in as files."""

from __future__ import annotations

from pathlib import Path

from warpsmith.errors import BadInput
from warpsmith.model.candidate import SourceFile
from warpsmith.model.harness import HarnessTask
from warpsmith.store.folders import workspace_files
from warpsmith.surface.workspace import Known, Workspace


def overlaid(space: Workspace, known: Known, task: HarnessTask, files: tuple[str, ...]) -> tuple[SourceFile, ...]:
    """The entry's overlay with ``files`` over it: each is ``FILE``, named as one mutable file of the workspace is, or
    ``PLACE=FILE`` with its path there. Raises BadInput.
    """
    places = _mutable(known, task)
    found = {s.path: s for s in known.entry.sources}
    for said in files:
        place, equals, name = said.rpartition("=")
        path = Path(name)
        if not path.is_file():
            raise BadInput(f"submit: {path} is no file.", "Give existing files.")
        if not equals:
            place = _place(path.name, sorted({*places, *found}), task)
        if not task.may_change(place):
            raise BadInput(
                f"submit: {place} cannot be changed.", f"Mutable are: {', '.join(task.mutable) or 'no files'}."
            )
        source = {"path": place, "content": space.blobs.put(path.read_bytes())}
        found[place] = SourceFile.model_validate(source)
    return tuple(found[p] for p in sorted(found))


def _mutable(known: Known, task: HarnessTask) -> list[str]:
    """The files of the workspace that candidates may replace."""
    if not task.workspace:
        return []
    root = known.loaded.folder / task.workspace
    return [p for f in workspace_files(root) if task.may_change(p := f.relative_to(root).as_posix())]


def _place(name: str, places: list[str], task: HarnessTask) -> str:
    named = [p for p in places if p.rpartition("/")[2] == name]
    if len(named) != 1:
        what = f"is the name of {', '.join(named)}" if named else "is the name of no mutable file of the workspace"
        raise BadInput(
            f"submit: {name} {what}.", f"Say PLACE={name}; mutable are: {', '.join(task.mutable) or 'no files'}."
        )
    return named[0]
