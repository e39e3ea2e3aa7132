"""The report of a campaign: one self-contained HTML file, and the same as Markdown.

Owns how numbers are written and the geometry of the charts (scales, ticks, paths: pure functions of a view). What is
said, and how it is drawn, lies in ``templates/``. Reads the view alone; from ``analyse`` it takes the margin to draw.
"""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from warpsmith.analyse.compare import SMALLEST_MARGIN
from warpsmith.analyse.roofline import Roof, RoofPoint
from warpsmith.model.base import short
from warpsmith.surface.view import CurvePoint, Ratio, Row, View

SHOWN_IN_MARKDOWN = 20
"""Candidates that the Markdown report lists; the HTML report lists all."""


def render_html(view: View, sources: dict[str, str], version: str) -> str:
    """The whole report as one HTML file that needs no network.

    Args:
        view: What is shown.
        sources: File name to text of the best candidate.
        version: Of the program that writes the report.
    """
    intervals = [w.ratio for w in view.workloads] + ([view.ratio] if view.ratio else [])
    against_peers = [r for p in view.peers for r in (p.best_over_peer, *p.workloads.values()) if r]
    page = _environment(True).get_template("report.html.j2")
    return _harmless(
        page.render(
            **_said(view, version),
            sources=sources,
            curve=curve(view),
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
    environment.filters.update(FILTERS)
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


# How numbers are written.


def significant(value: float, digits: int = 3) -> str:
    """A plain decimal with so many significant digits; scientific only where it would be unreadable."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if not -5 < exponent < 7:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{max(0, digits - 1 - exponent)}f}"


def times(value: float) -> str:
    """A speed-up: three decimals below ten, four significant digits above."""
    return f"{value:.3f}" if value < 10 else significant(value, 4)


def percent(share: float, digits: int = 2) -> str:
    """A share in per cent, with so many significant digits but never fewer than the units."""
    value = 100 * share
    return f"{value:.0f} %" if 10**digits <= abs(value) < 1e6 else f"{significant(value, digits)} %"


def error(value: float) -> str:
    """A relative error."""
    return f"{value:.1e}" if value else "0"


_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def duration(seconds: float, beside: float | None = None) -> str:
    """The time of a call with four significant digits, in the unit that suits it and the one shown beside it."""
    smallest = min(seconds, beside) if beside else seconds
    factor, unit = next((u for u in _UNITS if smallest >= u[0]), _UNITS[-1])
    return f"{significant(seconds / factor, 4)} {unit}"


def elapsed(seconds: float) -> str:
    """A longer time as people say it."""
    if seconds < 120:
        return f"{significant(seconds, 3)} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def giga(per_second: float) -> str:
    """A rate in units of 10^9 per second."""
    return significant(per_second / 1e9, 4) if per_second < 1e12 else f"{per_second / 1e9:.0f}"


_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def si(value: float) -> str:
    """A number with its SI prefix, for axes and roofs."""
    factor, prefix = next((p for p in _PREFIXES if value >= p[0] * 0.9999), (1.0, ""))
    return f"{value / factor:.3g} {prefix}".rstrip()


def size(count: int) -> str:
    """Bytes in binary units."""
    for factor, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= factor:
            return f"{significant(count / factor)} {unit}"
    return f"{count} B"


def parameters(values: dict[str, int]) -> str:
    """Parameters in one line."""
    return " ".join(f"{name}={value}" for name, value in values.items())


def one_line(text: str, most: int = 0) -> str:
    """White space collapsed; cut to ``most`` characters where that is given."""
    line = " ".join(text.split())
    return f"{line[: most - 1].rstrip()}…" if 0 < most < len(line) else line


def cell(text: str) -> str:
    """Text for one cell of a Markdown table: one line, nothing in it active."""
    return re.sub(r"([\\`*_{}\[\]<>|#~&!])", r"\\\1", one_line(text, 160))


def coordinate(value: float) -> str:
    """A coordinate to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


FILTERS: dict[str, Callable[..., Any]] = {
    "short": short, "significant": significant, "times": times, "percent": percent, "error": error, "gain": gain,
    "duration": duration, "elapsed": elapsed, "giga": giga, "si": si, "size": size, "parameters": parameters,
    "one_line": one_line, "cell": cell, "xy": coordinate, "command": shlex.join,
}  # fmt: skip


# The geometry of the charts, in the units of their view boxes.


@dataclass(frozen=True)
class Tick:
    """A place on an axis."""

    at: float
    value: float


@dataclass(frozen=True)
class Scale:
    """From values between ``low`` and ``high`` to places between ``start`` and ``end``; what lies beyond is clamped."""

    low: float
    high: float
    start: float
    end: float
    log: bool = True

    def __call__(self, value: float) -> float:
        """The place of ``value``."""
        inside = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(inside / self.low) / math.log(self.high / self.low)
        else:
            share = (inside - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def holds(self, value: float) -> bool:
        """Whether ``value`` lies within the scale."""
        return self.low <= value <= self.high

    def ticks(self, values: Iterable[float]) -> tuple[Tick, ...]:
        """Those values that lie within the scale."""
        return tuple(Tick(self(v), v) for v in values if self.holds(v))


@dataclass(frozen=True)
class Frame:
    """A view box with the plot's edges in it."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float


def even(low: float, high: float, count: int) -> list[float]:
    """About ``count`` round values with even steps of 1, 2 or 5 times a power of ten, within the range."""
    raw = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(m for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def decades(low: float, high: float) -> list[float]:
    """Round values for a logarithmic axis: powers of ten, with 2 and 5 between them over a short range."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    between = (1, 2, 5) if high / low < 300 else (1,)
    apart = 1 if len(exponents) <= 10 else math.ceil(len(exponents) / 8)
    return [m * 10.0**e for e in exponents if e % apart == 0 for m in between]


def ratio_ticks(low: float, high: float, count: int) -> list[float]:
    """Round speed-ups for a logarithmic axis, whatever its range."""
    return decades(low, high) if high / low > 6 else even(low, high, count)


def padded(low: float, high: float, share: float) -> tuple[float, float]:
    """A range of ratios with some room at both ends; a point becomes a range."""
    if high / low < 1.02:
        low, high = low / 1.01, high * 1.01
    room = (high / low) ** share
    return low / room, high * room


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places for labels, moved apart to at least ``gap`` where there is room between ``low`` and ``high``."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    gap = min(gap, (high - low) / max(1, len(places)))
    moved = list(places)
    least = low
    for i in order:
        moved[i] = max(moved[i], least)
        least = moved[i] + gap
    most = high
    for i in reversed(order):
        moved[i] = min(moved[i], most)
        most = moved[i] - gap
    return moved


@dataclass(frozen=True)
class Dot:
    """A candidate on the best-so-far chart."""

    x: float
    y: float
    row: Row
    below: bool = False
    """Whether it is slower than the chart reaches, and stands at its edge."""


@dataclass(frozen=True)
class PeerLine:
    """A peer's chained speed-up across the chart."""

    y: float
    label_y: float
    row: Row


@dataclass(frozen=True)
class Reached:
    """A step of the curve."""

    x: float
    y: float
    point: CurvePoint


@dataclass(frozen=True)
class Curve:
    """The best-so-far chart."""

    frame: Frame
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    one: float
    """Where the baseline's speed-up of 1 lies."""
    path: str
    steps: tuple[Reached, ...]
    last: Reached
    dots: tuple[Dot, ...]
    failed: tuple[Dot, ...]
    peers: tuple[PeerLine, ...]


CURVE = Frame(width=1060, height=330, left=74, right=960, top=16, bottom=268)


def curve(view: View) -> Curve:
    """The best so far over measurements, with all candidates. Very slow ones stand at the lower edge."""
    f = CURVE
    timed = [r.speedup for r in view.rows if r.speedup is not None]
    high = max([*timed, *(p.speedup for p in view.curve), 1.0])
    low = max(min([*timed, 1.0]), min(0.5, 1 / high))
    y = Scale(*padded(low, high, 0.06), f.bottom, f.top)
    x = Scale(0, max(view.measured, 1), f.left, f.right, log=False)
    steps = tuple(Reached(x(p.measurements), y(p.speedup), p) for p in view.curve)
    path = f"M{coordinate(steps[0].x)} {coordinate(steps[0].y)}"
    path += "".join(f"H{coordinate(s.x)}V{coordinate(s.y)}" for s in steps[1:])
    peers = [r for r in view.rows if r.origin.startswith("peer ")]
    dots = [Dot(at, y(r.speedup or 1.0), r, (r.speedup or 1.0) < y.low) for r, at in _arrivals(view, x)]
    lines = [r for r in peers if r.speedup is not None]
    labels = spread([y(r.speedup or 1.0) + 4 for r in lines], 13, f.top + 4, f.bottom)
    return Curve(
        frame=f,
        x_ticks=x.ticks(v for v in even(0, x.high, 10) if v == int(v)),
        y_ticks=y.ticks(ratio_ticks(y.low, y.high, 6)),
        one=y(1.0),
        path=path,
        steps=steps[:-1] if len(steps) > 1 else steps,
        last=steps[-1],
        dots=tuple(d for d in dots if d.row.speedup is not None and d.row not in peers),
        failed=tuple(d for d in dots if d.row.speedup is None and d.row.status not in ("passed", "untried")),
        peers=tuple(PeerLine(y(r.speedup or 1.0), at, r) for r, at in zip(lines, labels, strict=True)),
    )


def _arrivals(view: View, x: Scale) -> list[tuple[Row, float]]:
    """Where each candidate stands: leaders at their proof, the others evenly in the order of arrival."""
    proved = {p.candidate: p.measurements for p in reversed(view.curve)}
    last = max(1, len(view.rows) - 1)
    return [(r, x(proved.get(r.id, view.measured * i / last))) for i, r in enumerate(view.rows)]


@dataclass(frozen=True)
class Bar:
    """An interval on a forest plot; an open end reaches beyond the plot, or is not known."""

    left: float
    middle: float
    right: float
    open_left: bool
    open_right: bool
    known: bool


@dataclass(frozen=True)
class Forest:
    """The scale that the interval bars of one table share."""

    width: float
    height: float
    scale: Scale
    ticks: tuple[Tick, ...]
    one: float
    band: tuple[float, float]
    """The margin around 1: differences within it do not count."""

    def bar(self, ratio: Ratio) -> Bar:
        """The bar of one ratio."""
        s = self.scale
        known = ratio.low is not None and ratio.high is not None
        low = ratio.low if ratio.low is not None else 0.0
        high = ratio.high if ratio.high is not None else math.inf
        return Bar(s(low), s(ratio.speedup), s(high), not s.holds(low), not s.holds(high), known)


def forest(ratios: Sequence[Ratio], least: float) -> Forest:
    """A scale for some ratios: it holds 1 with its margin, every ratio, and intervals up to twice beyond those."""
    middles = [1 / (1 + least), 1 + least, *(r.speedup for r in ratios)]
    ends = [e for r in ratios for e in (r.low, r.high) if e is not None and e > 0 and math.isfinite(e)]
    low = max(min([*middles, *ends]), min(middles) / 2)
    high = min(max([*middles, *ends]), max(middles) * 2)
    width, height = 160.0, 20.0
    scale = Scale(*padded(low, high, 0.06), 8, width - 8)
    return Forest(
        width=width,
        height=height,
        scale=scale,
        ticks=scale.ticks(ratio_ticks(scale.low, scale.high, 3)),
        one=scale(1.0),
        band=(scale(1 / (1 + least)), scale(1 + least)),
    )


@dataclass(frozen=True)
class RoofMark:
    """One workload under the roof, with the place of its label."""

    x: float
    y: float
    label_x: float
    label_y: float
    left: bool
    """Whether the label stands to the left of the point."""
    point: RoofPoint


@dataclass(frozen=True)
class Roofline:
    """The roofline chart."""

    frame: Frame
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    memory: tuple[float, float, float, float]
    """The memory roof: from x, y to x, y."""
    angle: float
    """Of the memory roof, in degrees, for the text along it."""
    compute: tuple[float, float, float] | None
    """The compute roof: from x to x, at y."""
    bytes_per_s: float
    peak: float | None
    marks: tuple[RoofMark, ...]


ROOFLINE = Frame(width=1060, height=420, left=72, right=1030, top=16, bottom=372)


def roofline(roof: Roof) -> Roofline:
    """The roofs, and the workloads under them, on logarithmic axes."""
    f, rate, peak = ROOFLINE, roof.bytes_per_s, roof.flops_per_s
    ridge = peak / rate if peak else math.inf
    across = [p.intensity for p in roof.points] + ([ridge] if peak else [])
    up = [v for p in roof.points for v in (p.flops_per_s, p.attainable_flops_per_s)]
    x = Scale(min(across) / 4, max(across) * 6, f.left, f.right)
    y = Scale(min(up) / 3, max([*up, peak or 0.0, min(max(across), ridge) * rate]) * 2, f.bottom, f.top)
    first, last = max(x.low, y.low / rate), min(x.high, y.high / rate, ridge)
    memory = (x(first), y(first * rate), x(last), y(last * rate))
    labels = spread([y(p.flops_per_s) + 4 for p in roof.points], 14, f.top + 10, f.bottom - 4)
    middle = (f.left + f.right) / 2
    return Roofline(
        frame=f,
        x_ticks=x.ticks(decades(x.low, x.high)),
        y_ticks=y.ticks(decades(y.low, y.high)),
        memory=memory,
        angle=math.degrees(math.atan2(memory[3] - memory[1], memory[2] - memory[0])),
        compute=(x(ridge), x.end, y(peak)) if peak else None,
        bytes_per_s=rate,
        peak=peak,
        marks=tuple(_mark(p, x, y, at, middle) for p, at in zip(roof.points, labels, strict=True)),
    )


def _mark(point: RoofPoint, x: Scale, y: Scale, label_y: float, middle: float) -> RoofMark:
    at, left = x(point.intensity), x(point.intensity) > middle
    return RoofMark(at, y(point.flops_per_s), at - 14 if left else at + 14, label_y, left, point)
