"""Plots of histories as PNG: the best so far of some campaigns in one figure, their metrics, and what was labelled.
Draws views only.

matplotlib comes with the extra ``plots`` and is imported here alone, without its global state.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from warpsmith.errors import Missing
from warpsmith.store.files import write_atomic
from warpsmith.surface.labelled import LabelledRun
from warpsmith.surface.metric_charts import WIDE
from warpsmith.surface.series import MetricSeries
from warpsmith.surface.view import View

BEST, METRICS, LABELLED = "best-so-far.png", "metrics.png", "labelled.png"
ACROSS = 3
"""Metrics beside each other."""
DPI = 110
LONGEST_LABEL = 28
"""Characters of the label of a labelled evaluation."""


@dataclass(frozen=True)
class Run:
    """A campaign, as it is drawn."""

    seen: View
    metrics: tuple[MetricSeries, ...]
    ledger: str
    """The hash of its ledger; the files carry it."""


def require() -> None:
    """Raise Missing where matplotlib is not there."""
    if find_spec("matplotlib") is None:
        raise Missing("plots need the package matplotlib.", "Run: pip install 'warpsmith[plots]'.")


def plot(runs: Sequence[Run], folder: Path) -> tuple[str, ...]:
    """Draw ``runs`` of one task into ``folder``; returns the paths. Raises Missing."""
    require()
    told = {"Title": runs[0].seen.task, "Source": " ".join(f"{r.seen.tag}={r.ledger}" for r in runs)}
    drawn = {BEST: _best_so_far(runs), METRICS: _metrics(runs)}
    for name, figure in drawn.items():
        write_atomic(folder / name, png(figure, told))
    return tuple(str(folder / name) for name in drawn)


def _best_so_far(runs: Sequence[Run]) -> Any:
    """Speed-up over the baseline by measurements, and by time spent in steps."""
    figure = canvas(11, 4.2)
    left, right = figure.subplots(1, 2, sharey=True)
    for number, run in enumerate(runs):
        curve, colour = run.seen.curve, f"C{number}"
        up = [p.speedup for p in curve]
        label = f"{run.seen.tag}: {up[-1]:.3f}x ({run.seen.proposer})"
        for axes, across in ((left, [p.measurements for p in curve]), (right, [p.seconds for p in curve])):
            axes.step(across, up, where="post", color=colour, label=plain(label))
            axes.plot(across[:-1], up[:-1], "o", color=colour, markersize=4)
        timed = [(r.measurements, r.speedup) for r in run.seen.rows if r.measurements and r.speedup is not None]
        left.plot(*zip(*timed, strict=True), ".", color=colour, alpha=0.35, markersize=5)
    for axes, name in ((left, "measurements"), (right, "seconds in steps")):
        axes.axhline(1.0, color="0.5", linewidth=1, linestyle=":")
        axes.set_xlabel(name)
        axes.grid(alpha=0.3)
    left.set_ylabel("over the baseline")
    left.legend(loc="lower right", fontsize="small")
    figure.suptitle(plain(f"{runs[0].seen.task}: best so far"))
    return figure


def _metrics(runs: Sequence[Run]) -> Any:
    """One panel per metric, with the guardrails that held."""
    names = list(dict.fromkeys(s.name for run in runs for s in run.metrics))
    rows = max(1, math.ceil(len(names) / ACROSS))
    figure = canvas(5.2 * min(ACROSS, max(1, len(names))), 3.4 * rows)
    grid = figure.subplots(rows, min(ACROSS, max(1, len(names))), squeeze=False)
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(grid.flat, names, strict=False):
        for number, run in enumerate(runs):
            for series in run.metrics:
                if series.name == name:
                    _panel(axes, series, run, number)
        low, high = axes.dataLim.intervaly
        if high / low > WIDE:
            axes.set_yscale("log")
        axes.grid(alpha=0.3)
        axes.set_xlabel("measurements")
    if names and len(runs) > 1:
        grid.flat[0].legend(fontsize="small")
    figure.suptitle(plain(f"{runs[0].seen.task}: metrics"))
    return figure


def _panel(axes: Any, series: MetricSeries, run: Run, number: int) -> None:
    colour = f"C{number}"
    role = f"{series.part}, {series.direction}"
    if series.allowed is not None:
        role = f"guardrail, {series.direction}, at most {series.allowed:.1%} worse"
    axes.set_title(plain(f"{series.name}\n{role}"), fontsize="medium")
    axes.set_ylabel(plain(series.unit))
    for broken, shape, paint in ((False, ".", colour), (True, "x", "crimson")):
        at = [(p.measurements, p.value) for p in series.points if p.broken is broken]
        if at:
            axes.plot(*zip(*at, strict=True), shape, color=paint, alpha=1.0 if broken else 0.4)
    if series.labelled:
        by_hand = [(p.measurements, p.value) for p in series.labelled]
        axes.plot(
            *zip(*by_hand, strict=True), "D", color=colour, markerfacecolor="none", markersize=6, label="_labelled"
        )
    limits = [(p.measurements, p.limit) for p in series.points if p.limit is not None]
    if limits:
        axes.plot(*zip(*limits, strict=True), "_", color="crimson", markersize=8, label="_limit")
    steps = [*series.best, (run.seen.measured, series.best[-1][1])] if series.best else []
    if steps:
        axes.step(*zip(*steps, strict=True), where="post", color=colour, label=plain(run.seen.tag))
    if series.baseline is not None:
        axes.axhline(series.baseline, color=colour, linewidth=1, linestyle=":")


def plot_labelled(runs: Sequence[LabelledRun], task: str, folder: Path) -> tuple[str, ...]:
    """Draw the metrics of labelled runs one after another; the path, or nothing where none has any."""
    names = list(dict.fromkeys(m.name for run in runs for m in run.metrics))
    if not names:
        return ()
    across = min(ACROSS, len(names))
    down = math.ceil(len(names) / across)
    figure = canvas(5.2 * across, 3.4 * down)
    grid = figure.subplots(down, across, squeeze=False).flat
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(grid, names, strict=False):
        _labelled_panel(axes, runs, name)
    figure.suptitle(plain(f"{task}: labelled runs"))
    write_atomic(folder / LABELLED, png(figure, {"Title": task}))
    return (str(folder / LABELLED),)


def _labelled_panel(axes: Any, runs: Sequence[LabelledRun], name: str) -> None:
    found = [(at, m) for at, run in enumerate(runs) for m in run.metrics if m.name == name]
    axes.plot([at for at, _ in found], [m.candidate for _, m in found], "o-", color="C0")
    axes.plot([at for at, _ in found], [m.rival for _, m in found], "_", color="0.5", markersize=12)
    labels = [run.label if len(run.label) <= LONGEST_LABEL else f"{run.label[: LONGEST_LABEL - 1]}…" for run in runs]
    axes.set_xticks(range(len(runs)), [plain(text) for text in labels], rotation=20, ha="right", fontsize="small")
    axes.set_title(plain(name), fontsize="medium")
    axes.set_ylabel(plain(found[0][1].unit))
    axes.grid(alpha=0.3)


def canvas(width: float, height: float) -> Any:
    """An empty figure of so many inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain(text: str) -> str:
    """``text`` with nothing in it that matplotlib takes for a formula."""
    return text.replace("$", r"\$")


def png(figure: Any, told: dict[str, str]) -> bytes:
    """The figure as a file that says ``told`` of itself."""
    made = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(made, format="png", metadata={**told, "Software": None})
    return made.getvalue()
