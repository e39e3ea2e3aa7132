"""The report of a campaign: one self-contained HTML file, and the same as Markdown.

Owns what is said of a view beyond its own fields; numbers.py writes figures, charts.py lays out the charts. The
words, and how it is drawn, lie in ``templates/``. Reads the view alone; from ``analyse`` it takes the margin to draw.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from warpsmith.analyse.compare import SMALLEST_MARGIN
from warpsmith.model.base import short
from warpsmith.surface.asked import sentence
from warpsmith.surface.charts import curve, forest, roofline
from warpsmith.surface.metric_charts import amount, metric_chart
from warpsmith.surface.numbers import (
    cell,
    coordinate,
    duration,
    elapsed,
    error,
    giga,
    one_line,
    parameters,
    percent,
    settings,
    si,
    significant,
    size,
    times,
)
from warpsmith.surface.ratio import Ratio
from warpsmith.surface.series import MetricSeries
from warpsmith.surface.view import CurvePoint, Row, View

SHOWN_IN_MARKDOWN = 20
"""Candidates that the Markdown report lists; the HTML report lists all."""


def render_html(view: View, sources: dict[str, str], version: str, metrics: Sequence[MetricSeries] = ()) -> str:
    """The whole report as one HTML file that needs no network.

    Args:
        view: What is shown.
        sources: File name to text of the best candidate.
        version: Of the program that writes the report.
        metrics: What is drawn beside the best so far: nothing where time alone decides.
    """
    intervals = [w.ratio for w in view.workloads] + ([view.ratio] if view.ratio else [])
    against_peers = [r for p in view.peers for r in (p.best_over_peer, *p.workloads.values()) if r]
    page = _environment(True).get_template("report.html.j2")
    return _harmless(
        page.render(
            **_said(view, version),
            sources=sources,
            curve=curve(view),
            metrics=[metric_chart(series, view.measured) for series in metrics],
            forest=forest(intervals, margin(view)),
            peer_forest=forest(against_peers, margin(view)),
            roofline=roofline(view.roof) if view.roof else None,
        )
    )


def render_markdown(view: View, version: str) -> str:
    """The report as Markdown: headline, tables, lineage, leading candidates, environment."""
    return _harmless(_environment(False).get_template("report.md.j2").render(**_said(view, version)))


def _said(view: View, version: str) -> dict[str, Any]:
    """What both templates need."""
    ordered = candidates(view)
    return {
        "view": view,
        "version": version,
        "best": next(r for r in view.rows if r.id == view.best),
        "gate": gate(view),
        "margin": margin(view),
        "total_weight": sum(w.weight for w in view.workloads) or 1.0,
        "lineage": lineage(view),
        "candidates": ordered,
        "leading": [c for c in ordered if c.row.speedup is not None][:SHOWN_IN_MARKDOWN],
        "counts": sorted(Counter(r.status for r in view.rows).items(), key=lambda item: (-item[1], item[0])),
        "repeat": (
            shlex.join(["warpsmith", "optimize", view.task, "--tag", view.tag, "--seed", str(view.seed)]),
            shlex.join(["warpsmith", "show", short(view.best)]),
        ),
    }


@cache
def _environment(escape: bool) -> Environment:
    """One environment escapes everything, the other nothing: a template that both include is right in either."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(FILTERS, asked=sentence)
    return environment


_CONTROLS = (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_INVISIBLE = {**dict.fromkeys(_CONTROLS, "\N{REPLACEMENT CHARACTER}"), 0x09: "\t", 0x0A: "\n", 0x0D: None}
"""Control characters, and those that reorder text on the screen: a candidate's words must not disguise themselves."""


def _harmless(page: str) -> str:
    return page.translate(_INVISIBLE)


# What is said of a view, beyond its own fields.


@dataclass(frozen=True)
class Numbered:
    """A candidate with its place in the order of arrival, the baseline being 0."""

    number: int
    row: Row


@dataclass(frozen=True)
class Step:
    """One leader of the lineage."""

    row: Row
    parent: str | None
    """The parent, where the history knows it."""
    changed: tuple[tuple[str, int | None, int | None], ...]
    """Name, value of the parent, own value; without a known parent, all own values."""
    reached: CurvePoint | None


def margin(view: View) -> float:
    """The least share that counts as a difference."""
    return max(view.noise_floor, SMALLEST_MARGIN)


def gate(view: View) -> str:
    """Why the best may be promoted or not, as a key of the sentences in ``words.j2``."""
    if view.promotable:
        return "open"
    if view.best == view.baseline:
        return "nothing"
    if view.ratio is None:
        return "unproved"
    if view.verdict != "faster":
        return "verdict"
    return "small" if gain(view.ratio) < view.min_gain else "screened"


def gain(ratio: Ratio) -> float:
    """Share of the rival's time that is saved."""
    return 1 - 1 / ratio.speedup


def candidates(view: View) -> list[Numbered]:
    """All candidates, the fastest first, those without a time last in the order of arrival."""
    numbered = [Numbered(i, row) for i, row in enumerate(view.rows)]
    return sorted(numbered, key=lambda n: (n.row.speedup is None, -(n.row.speedup or 0.0), n.number))


def lineage(view: View) -> list[Step]:
    """From the baseline to the best, with what changed."""
    rows = {r.id: r for r in view.rows}
    reached = {p.candidate: p for p in reversed(view.curve)}
    steps = []
    for identity in view.lineage:
        row = rows[identity]
        parent = rows.get(row.parent) if row.parent else None
        before = parent.parameters if parent else {}
        values = [(n, before.get(n), row.parameters.get(n)) for n in dict.fromkeys([*before, *row.parameters])]
        changed = tuple((n, old, new) for n, old, new in values if old != new)
        steps.append(Step(row, parent.id if parent else None, changed, reached.get(identity)))
    return steps


FILTERS: dict[str, Callable[..., Any]] = {
    "short": short, "significant": significant, "times": times, "percent": percent, "error": error, "gain": gain,
    "duration": duration, "elapsed": elapsed, "giga": giga, "si": si, "size": size, "parameters": parameters,
    "one_line": one_line, "cell": cell, "xy": coordinate, "command": shlex.join,
    "amount": amount, "settings": settings,
}  # fmt: skip
