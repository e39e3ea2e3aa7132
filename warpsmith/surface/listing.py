"""The verbs ``releases`` and ``handoff``: views of the shelf."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from warpsmith.errors import BadInput
from warpsmith.ship.handoff import Consumer, Hook, hand_off
from warpsmith.ship.index import head
from warpsmith.store.files import write_atomic
from warpsmith.surface.answers import NO, YES
from warpsmith.surface.answers_ship import HandOffAnswer, ReleaseRow, ReleasesAnswer
from warpsmith.surface.shelves import shelf, stale
from warpsmith.surface.workspace import Workspace


def list_releases(space: Workspace, task: str) -> ReleasesAnswer:
    """Every release, or those of one task, oldest first. Raises BadInput for a broken index."""
    there = shelf(space)
    there.tidy()
    entries = there.entries()
    rows = []
    for entry in entries:
        if task not in ("", entry.name):
            continue
        path = str(there.place(entry.name, entry.version))
        try:
            rows.append(ReleaseRow(entry=entry, path=path, stale=stale(space, there.manifest(entry))))
        except BadInput as broken:
            rows.append(ReleaseRow(entry=entry, path=path, stale=(), problem=broken.message))
    status = NO if any(r.problem for r in rows) else YES
    return ReleasesAnswer(exit_status=status, folder=str(there.folder), head=head(entries), releases=tuple(rows))


def hand_over(space: Workspace, release: str, consumer: Consumer, output: Path, hooks: Sequence[Hook]) -> HandOffAnswer:
    """Write the hand-off, then tell the hooks. Raises BadInput."""
    space.outside_releases(output)
    there = shelf(space)
    entry = there.find(release)
    manifest = there.manifest(entry)
    handed = hand_off(consumer, manifest, entry, head(there.entries()), stale(space, manifest))
    path = output / entry.name / entry.version / f"{consumer}.json"
    write_atomic(path, handed.model_dump_json(indent=1) + "\n")
    for hook in hooks:
        hook(handed)
    return HandOffAnswer(handed=handed, written=str(path))
