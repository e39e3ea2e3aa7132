"""The geometry of the report's charts of metrics: one small chart per series, in the units of its view box."""

from __future__ import annotations

from dataclasses import dataclass

from warpsmith.surface.charts import Frame, Scale, Tick, decades, even, padded
from warpsmith.surface.numbers import coordinate, duration, si, significant
from warpsmith.surface.series import LabelledPoint, MetricPoint, MetricSeries

FRAME = Frame(width=520, height=214, left=86, right=506, top=14, bottom=168)
WIDE = 8.0
"""Ratio of the largest to the smallest value from which on the axis is logarithmic."""


@dataclass(frozen=True)
class Mark:
    """A measurement on a chart."""

    x: float
    y: float
    point: MetricPoint
    limit: float | None
    """Where the guardrail lay."""


@dataclass(frozen=True)
class Label:
    """A labelled evaluation on a chart."""

    x: float
    y: float
    point: LabelledPoint


@dataclass(frozen=True)
class MetricChart:
    """A metric over the measurements."""

    series: MetricSeries
    frame: Frame
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    log: bool
    path: str
    """The best so far."""
    marks: tuple[Mark, ...]
    labels: tuple[Label, ...]
    baseline: float | None

    @property
    def decides(self) -> bool:
        """Whether it is the objective or a guardrail."""
        return self.series.part != "other"


def metric_chart(series: MetricSeries, measured: int) -> MetricChart:
    """The chart of one metric in a history with so many measurements."""
    f = FRAME
    limits = [p.limit for p in series.points if p.limit is not None]
    values = [p.value for p in series.points] + [p.value for p in series.labelled] + limits
    values += [series.baseline] if series.baseline is not None else []
    low, high = padded(min(values), max(values), 0.06)
    log = high / low > WIDE
    y = Scale(low, high, f.bottom, f.top, log=log)
    x = Scale(0, max(measured, 1), f.left, f.right, log=False)
    steps = [(x(at), y(value)) for at, value in series.best]
    path = f"M{coordinate(steps[0][0])} {coordinate(steps[0][1])}" if steps else ""
    path += "".join(f"H{coordinate(a)}V{coordinate(b)}" for a, b in steps[1:])
    path += f"H{coordinate(f.right)}" if steps else ""
    return MetricChart(
        series=series,
        frame=f,
        x_ticks=x.ticks(v for v in even(0, x.high, 6) if v == int(v)),
        y_ticks=y.ticks(decades(low, high) if log else even(low, high, 4)),
        log=log,
        path=path,
        marks=tuple(
            Mark(x(p.measurements), y(p.value), p, y(p.limit) if p.limit is not None else None) for p in series.points
        ),
        labels=tuple(Label(x(p.measurements), y(p.value), p) for p in series.labelled),
        baseline=y(series.baseline) if series.baseline is not None else None,
    )


def amount(value: float, unit: str) -> str:
    """A value with its unit; seconds in the unit that suits them."""
    if unit == "s" and value > 0:
        return duration(value)
    return f"{si(value) if value >= 1e4 else significant(value, 4)} {unit}".rstrip()
