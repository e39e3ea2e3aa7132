"""``history --plots``: which campaigns are drawn. What is drawn is :mod:`warpsmith.surface.plots`'s."""

from __future__ import annotations

from pathlib import Path

from warpsmith.errors import BadInput
from warpsmith.surface.history_export import folded
from warpsmith.surface.plots import Run, plot, plot_labelled, require
from warpsmith.surface.series import metric_series
from warpsmith.surface.view import view
from warpsmith.surface.workspace import Known, Workspace

ALL = "all"


def plot_tags(space: Workspace, known: Known, tags: str, folder: Path) -> tuple[str, ...]:
    """Draw the campaigns ``tags`` (names with commas between, or ``all``) into ``folder``; returns the paths.

    Raises Missing without matplotlib, BadInput for a campaign that is not there, or a folder that is none.
    """
    require()
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"--output: {folder} is not a folder.", "Name a folder.")
    name = known.loaded.head.name
    there = space.tags(name)
    wanted = there if tags == ALL and ALL not in there else [t for t in map(str.strip, tags.split(",")) if t]
    if not wanted:
        raise BadInput(f"--tags: {tags!r} names no campaign of {name}.", f"There are: {', '.join(there) or 'none'}.")
    runs = [_run(space, known, tag) for tag in dict.fromkeys(wanted)]
    by_hand = [one for run in runs for one in run.seen.labelled]
    return (*plot(runs, folder), *plot_labelled(by_hand, name, folder))


def _run(space: Workspace, known: Known, tag: str) -> Run:
    name = known.loaded.head.name
    h, digest = folded(lambda: space.history(name, tag), space.ledger(name, tag))
    seen = view(h, known.loaded.kernel)
    return Run(seen, metric_series(h, seen.curve), digest)
