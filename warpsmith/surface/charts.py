"""The geometry of the report's charts: scales, ticks and paths in the units of their view boxes, from a view alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from warpsmith.analyse.roofline import Roof, RoofPoint
from warpsmith.surface.numbers import coordinate
from warpsmith.surface.ratio import Ratio
from warpsmith.surface.view import CurvePoint, Row, View


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
    """Where each measured candidate stands: leaders at their proof, the others at their first measurement."""
    proved = {p.candidate: p.measurements for p in reversed(view.curve)}
    first = [(r, proved.get(r.id, r.measurements)) for r in view.rows]
    return [(r, x(at)) for r, at in first if at is not None]


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
