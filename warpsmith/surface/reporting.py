"""The verbs that say what ledgers hold: ``history``, ``show``, ``diff`` and ``report``, and the writing of a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warpsmith.surface import answers
    from warpsmith.surface.workspace import Known, Workspace


def history(
    task: str,
    *,
    tag: str = "main",
    csv: bool = False,
    jsonl: bool = False,
    plots: bool = False,
    tags: str = "",
    output: Path = Path(),
    folder: Path | None = None,
) -> answers.HistoryAnswer:
    """What was tried, and why it was kept or rejected.

    Exit status 4 for --plots without matplotlib.

    Args:
        task: The task, by path or group/name.
        tag: The campaign.
        csv: Write benchmark.csv.
        jsonl: Write solutions.jsonl.
        plots: Draw best-so-far.png and metrics.png.
        tags: Campaigns in one figure: names with commas between, or all. Of --plots only; --tag where none is given.
        output: Folder of the exports and plots.
        folder: Write a report and every iteration here: sources, replies, memo, profile, difference from the best.
    """
    from warpsmith.store.ledger import read_events
    from warpsmith.surface.answers import HistoryAnswer
    from warpsmith.surface.explanations import explanations
    from warpsmith.surface.history_export import export, folded
    from warpsmith.surface.plotting import plot_tags
    from warpsmith.surface.run_folder import write_run
    from warpsmith.surface.view import view
    from warpsmith.surface.workspace import Workspace

    space = Workspace()
    known = space.task(task)
    name = known.loaded.head.name
    path = space.ledger(name, tag)
    past, digest = folded(lambda: space.history(name, tag), path)
    seen = view(past, known.loaded.kernel)
    exported = export(past, seen, space.blobs, digest, space.outside_releases(output), csv=csv, jsonl=jsonl)
    if plots or tags:
        exported += plot_tags(space, known, tags or tag, space.outside_releases(output))
    if folder is not None:
        there = space.outside_releases(folder)
        exported += write_run(read_events(path), seen, space.blobs, there, explanations(space, known))
    return HistoryAnswer(
        task=name,
        tags=tuple(space.tags(name)),
        tag=tag,
        ledger=str(path),
        ledger_sha256=digest,
        rows=seen.rows,
        costs=seen.costs,
        labelled=seen.labelled,
        rhythm=seen.rhythm,
        exported=exported,
    )


def show(candidate: str, *, task: str | None = None) -> answers.ShowAnswer:
    """One candidate, whole: sources, parameters, build, every evaluation.

    Args:
        candidate: An id or its beginning.
        task: Look in this task's campaigns only.
    """
    from warpsmith.surface.candidates import show_candidate
    from warpsmith.surface.workspace import Workspace

    return show_candidate(Workspace(), candidate, task)


def diff(a: str, b: str, *, task: str | None = None) -> answers.DiffAnswer:
    """What differs between two candidates, and what that did to the time.

    Args:
        a: An id or its beginning.
        b: Another.
        task: Look in this task's campaigns only.
    """
    from warpsmith.surface.candidates import diff_candidates
    from warpsmith.surface.workspace import Workspace

    return diff_candidates(Workspace(), a, b, task)


def report(task: str, *, tag: str = "main") -> answers.ReportAnswer:
    """Write one self-contained HTML file, and the same as Markdown.

    Args:
        task: The task, by path or group/name.
        tag: The campaign.
    """
    from warpsmith.surface.answers import ReportAnswer
    from warpsmith.surface.workspace import Workspace

    space = Workspace()
    known = space.task(task)
    html, markdown = write_report(space, known, tag)
    return ReportAnswer(task=known.loaded.head.name, html=html, markdown=markdown)


def write_report(space: Workspace, known: Known, tag: str) -> tuple[str, str]:
    """Write the report of a campaign into its folder, as HTML and as Markdown; the two paths."""
    from warpsmith import __version__
    from warpsmith.knowledge.library import Library
    from warpsmith.store.files import write_atomic
    from warpsmith.surface.calibrating import measured_ceilings
    from warpsmith.surface.report import render_html, render_markdown
    from warpsmith.surface.series import report_series
    from warpsmith.surface.view import view

    name = known.loaded.head.name
    past = space.history(name, tag)
    assert past.campaign is not None
    target = past.campaign.target
    trust = Library(space.home, space.root, space.blobs).trust(target.device)
    seen = view(past, known.loaded.kernel, measured_ceilings(space, target), trust)
    sources = space.blobs.texts(past.candidates[seen.best])
    folder = space.campaign_folder(name, tag)
    html, markdown = folder / "report.html", folder / "report.md"
    write_atomic(html, render_html(seen, sources, __version__, report_series(past, seen.curve)))
    write_atomic(markdown, render_markdown(seen, __version__))
    return str(html), str(markdown)
