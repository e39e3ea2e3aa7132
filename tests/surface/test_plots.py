"""Plots and the report's charts of metrics: drawn from the history, with the guardrails that held."""

from __future__ import annotations

import json
import os
import re
import statistics
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from tests.fakes import BASELINE, ENTRY, KERNEL, SERVING, FakeCrew, campaign, measured
from tests.projects import project
from tests.surface.histories import kept, labelled, run, tempting
from warpsmith.analyse.compare import compare
from warpsmith.campaign import optimize
from warpsmith.errors import BadInput, Missing
from warpsmith.model.campaign import Benched, Opened
from warpsmith.model.evaluation import Effort
from warpsmith.model.step import Measure
from warpsmith.store.history import History
from warpsmith.store.ledger import Ledger
from warpsmith.surface import api, cli, metric_charts
from warpsmith.surface.metric_charts import amount, metric_chart
from warpsmith.surface.plots import BEST, METRICS
from warpsmith.surface.report import render_html
from warpsmith.surface.series import MetricSeries, metric_series, report_series
from warpsmith.surface.view import view

PROGRAM = Path(sys.executable).parent / "warpsmith"


def texts(png: bytes) -> dict[str, str]:
    """What a PNG says of itself; raises where a chunk is damaged."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = {}, 8
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at : at + 8])
        content = png[at + 8 : at + 8 + size]
        assert struct.unpack(">I", png[at + 8 + size : at + 12 + size])[0] == zlib.crc32(kind + content)
        if kind == b"tEXt":
            name, _, text = content.partition(b"\0")
            found[name.decode()] = text.decode("latin-1")
        at += 12 + size
    return found


def pixels(png: bytes, colour: tuple[int, int, int]) -> int:
    """How many pixels have very nearly that colour."""
    import io

    from PIL import Image

    shades = Image.open(io.BytesIO(png)).convert("RGB").getcolors(1 << 24)
    return sum(n for n, c in shades if max(abs(a - b) for a, b in zip(c, colour, strict=True)) < 12)


def series_of(h: History) -> dict[str, MetricSeries]:
    return {s.name: s for s in metric_series(h, view(h, None).curve)}


def test_a_point_breaks_a_guardrail_where_the_comparison_says_so(tmp_path: Path) -> None:
    h = run(tmp_path / "ledger.jsonl")
    c = h.campaign
    assert c is not None
    found = series_of(h)
    assert [(s.name, s.part) for s in found.values()] == [
        ("batch16.tok_s", "objective"), ("single.ttft_p99", "guardrail"), ("single.tok_s", "other"),
    ]  # fmt: skip
    guard = found["single.ttft_p99"]
    broken = 0
    for point, e in zip(guard.points, h.evaluations.values(), strict=True):
        answer = compare(e, c)
        assert answer is not None
        assert point.broken == bool(answer.broken)
        assert point.limit is not None
        assert point.broken == (point.value > point.limit), "and it is drawn on the right side of the bar"
        broken += point.broken
    assert broken
    assert all(p.limit is None and not p.broken for p in found["batch16.tok_s"].points)
    for series in found.values():
        curve = view(h, None).curve
        assert [at for at, _ in series.best] == [p.measurements for p in curve[:-1]]
        assert [p.candidate for p in series.points if p.leader] == [p.candidate for p in curve[1:-1]]
    assert not any(tempting(h.candidates[p.candidate]) for p in guard.points if p.leader)


def test_a_guardrail_that_is_to_be_maximised_lies_below(tmp_path: Path) -> None:
    from warpsmith.model.head import Direction, Guardrail

    guards = (Guardrail(metric="single.tok_s", direction=Direction.maximize, limit=0.01),)
    h = run(tmp_path / "ledger.jsonl", guardrails=guards)
    points = series_of(h)["single.tok_s"].points
    assert {p.broken for p in points if p.limit is not None} == {p.value < p.limit for p in points if p.limit}
    assert all(p.broken == (p.value < (p.limit or 0)) for p in points)


def test_the_report_draws_them_and_a_kernels_report_does_not(tmp_path: Path) -> None:
    h = run(tmp_path / "ledger.jsonl")
    seen = view(h, None)
    page = render_html(seen, {}, "1", report_series(h, seen.curve))
    section = page[page.index('<section id="metrics"') : page.index('<section id="workloads"')]
    guard = series_of(h)["single.ttft_p99"]
    assert section.count('class="guard"') == len(guard.points)
    assert section.count('class="failed"') == sum(p.broken and not p.leader for p in guard.points)
    assert section.count("<svg") == section.count("</svg>") == 3
    assert "guardrail: at most 5.0 % worse" in section
    assert not re.search(r'="[^"]*(nan|inf)', section)
    for chart in (metric_chart(s, h.measured) for s in series_of(h).values()):
        f = chart.frame
        assert all(f.left <= m.x <= f.right and f.top <= m.y <= f.bottom for m in chart.marks)
        assert chart.y_ticks and chart.x_ticks
    with Ledger(tmp_path / "kernel.jsonl") as ledger:
        plain = optimize(campaign(KERNEL), FakeCrew(KERNEL), ledger, (BASELINE, ENTRY))
    assert report_series(plain, view(plain, None).curve) == ()
    assert 'id="metrics"' not in render_html(view(plain, None), {}, "1")
    assert [s.name for s in metric_series(plain, ())] == ["small/time", "large/time"]


def test_labelled_runs_stand_beside_the_measurements_of_each_metric(tmp_path: Path) -> None:
    space = project(tmp_path)
    before = kept(space)
    plain = series_of(before)
    first, second = labelled(space)
    h = space.history("my/axpy", "main")
    found = series_of(h)
    assert list(found) == list(plain)
    for name, series in found.items():
        assert series.model_copy(update={"labelled": ()}) == plain[name], "the campaign's own are what they were"
        seen = [
            (e.candidate, e.rival, m.candidate, m.rival)
            for one in (first, second) for e in one.evaluations for w in e.workloads for m in w.metrics
            if m.name == name
        ]  # fmt: skip
        assert len(seen) == 2, "the entry's and what broke the guardrail; what crashed has no metrics"
        assert [(p.candidate, p.rival, p.value, p.beside) for p in series.labelled] == [
            (a, b, statistics.median(mine), statistics.median(other)) for a, b, mine, other in seen
        ]
        assert [p.label for p in series.labelled] == [first.notes, second.name]
        assert {p.measurements for p in series.labelled} == {before.measured}
        chart = metric_chart(series, h.measured)
        assert all(chart.frame.top <= m.y <= chart.frame.bottom and m.x == chart.frame.right for m in chart.labels)
    page = render_html(view(h, None), {}, "1", report_series(h, view(h, None).curve))
    assert page.count('class="labelled"') == 6 and "before, &#34;so&#34;" in page and "Diamonds" in page
    assert "Diamonds" not in render_html(view(before, None), {}, "1", report_series(before, view(before, None).curve))


def test_where_only_labelled_runs_are_there_they_are_the_history(tmp_path: Path) -> None:
    c = campaign(SERVING)
    step = Measure(candidate=ENTRY.id, rival=BASELINE.id, effort=Effort.screen, round=0)
    h = History() + Opened(campaign=c, candidates=(BASELINE, ENTRY), at=0)
    made = Benched(name="latest", candidates=(ENTRY, BASELINE), evaluations=(measured(SERVING, step, h),), at=0.0)
    h = h + made
    found = series_of(h)
    assert [(s.name, s.part, s.points, len(s.labelled)) for s in found.values()] == [
        ("batch16.tok_s", "objective", (), 1), ("single.ttft_p99", "guardrail", (), 1),
    ]  # fmt: skip
    page = render_html(view(h, None), {}, "1", report_series(h, view(h, None).curve))
    assert page.count('class="labelled"') == 2 and not re.search(r'="[^"]*(nan|inf)', page)


def test_wide_metrics_get_a_logarithmic_axis(tmp_path: Path) -> None:
    series = series_of(run(tmp_path / "ledger.jsonl"))["single.ttft_p99"]
    assert not metric_chart(series, 9).log
    first = series.points[0].model_copy(update={"value": series.points[0].value * 2 * metric_charts.WIDE})
    assert metric_chart(series.model_copy(update={"points": (first, *series.points[1:])}), 9).log


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [(0.0123, "s", "12.30 ms"), (31.5, "token/s", "31.50 token/s"), (123456.0, "token/s", "123 k token/s")],
)
def test_amounts_have_their_unit(value: float, unit: str, said: str) -> None:
    assert amount(value, unit) == said


def test_without_matplotlib_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept(project(tmp_path))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises((Missing, ValueError)) as caught:
        api.history("my/axpy", plots=True)
    assert isinstance(caught.value, Missing)
    assert "warpsmith[plots]" in caught.value.remedy
    assert api.history("my/axpy", csv=True).exported == ("benchmark.csv",), "the rest works without"


@pytest.mark.slow
def test_campaigns_are_drawn_into_one_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space = project(tmp_path)
    kept(space)
    kept(space, "second", seed=3)
    answer = api.history("my/axpy", plots=True, tags="all", output=Path("out"))
    assert answer.exported == (f"out/{BEST}", f"out/{METRICS}")
    from warpsmith.surface.history_export import ledger_digest

    hashes = {t: ledger_digest(space.ledger("my/axpy", t)) for t in ("main", "second")}
    one = api.history("my/axpy", plots=True, output=Path("one"))
    for name in (BEST, METRICS):
        both, alone = (Path(f, name).read_bytes() for f in ("out", "one"))
        assert texts(both)["Source"] == " ".join(f"{t}={h}" for t, h in hashes.items())
        assert texts(alone)["Source"] == f"main={hashes['main']}"
        second = (0xFF, 0x7F, 0x0E)  # the colour of the second campaign
        assert pixels(both, second) > 100 > pixels(alone, second)
    crimson = (0xDC, 0x14, 0x3C)
    assert pixels(Path("one", METRICS).read_bytes(), crimson) > 50, "guardrails are drawn"
    assert pixels(Path("one", BEST).read_bytes(), crimson) == 0
    assert one.exported == (f"one/{BEST}", f"one/{METRICS}")
    api.history("my/axpy", plots=True, output=Path("again"))
    assert Path("again", METRICS).read_bytes() == Path("one", METRICS).read_bytes(), "the same history, the same bytes"
    labelled(space)
    api.history("my/axpy", plots=True, output=Path("again"))
    blue = (0x1F, 0x77, 0xB4)
    drawn = [pixels(Path(folder, METRICS).read_bytes(), blue) for folder in ("one", "again")]
    assert drawn[1] > drawn[0] + 20, "labelled runs are drawn too"


@pytest.mark.slow
def test_what_cannot_be_drawn_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept(project(tmp_path))
    (tmp_path / "file").write_text("")
    for flags, said in (({"tags": "main,none"}, "'none'"), ({"tags": ","}, "names no campaign"),
                        ({"plots": True, "output": Path("file")}, "not a folder")):  # fmt: skip
        with pytest.raises(BadInput, match=said):
            api.history("my/axpy", **flags)  # type: ignore[arg-type]
    assert cli.run(["history", "my/axpy", "--plots", "--output", "releases/x"]) == 3


@pytest.mark.slow
def test_a_workload_with_odd_characters_is_drawn(tmp_path: Path) -> None:
    """In a process of its own: nothing else may have imported matplotlib, and warnings are errors."""
    told = """
import sys, warnings
from pathlib import Path
warnings.simplefilter("error")
from tests.surface.histories import run
from warpsmith.surface.plots import Run, plot
from warpsmith.surface.series import metric_series
from warpsmith.surface.view import view
assert "matplotlib" not in sys.modules
here = Path(sys.argv[1])
h = run(here / "l.jsonl", weights={"suite": 1.0, "other": 1.0})
seen = view(h, None)
odd = [s.model_copy(update={"workload": "a$b_{\\u6f22}^", "unit": "$/s"}) for s in metric_series(h, seen.curve)]
print(*plot([Run(seen, tuple(odd), "0" * 64)], here))
assert "matplotlib.pyplot" not in sys.modules
"""
    root = Path(__file__).parent.parent.parent
    done = subprocess.run(
        [sys.executable, "-c", told, str(tmp_path)], cwd=root, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(texts((tmp_path / METRICS).read_bytes())) >= 2


@pytest.mark.slow
def test_the_command_line_draws(tmp_path: Path) -> None:
    kept(project(tmp_path))
    done = subprocess.run(
        [str(PROGRAM), "history", "my/axpy", "--plots", "--csv", "--output", "out", "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["exported"] == ["out/benchmark.csv", f"out/{BEST}", f"out/{METRICS}"]
