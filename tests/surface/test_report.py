"""The report: whole, self-contained, harmless whatever a candidate says, and drawn within its boxes."""

from __future__ import annotations

import math
import re
from dataclasses import fields, is_dataclass
from decimal import Decimal
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from tests.fakes import BASELINE, TARGET, FakeCrew, campaign, candidate, failed, ledger_path, measured
from warpsmith.analyse.costs import Spending
from warpsmith.analyse.roofline import Roof, RoofPoint, roof
from warpsmith.campaign import optimize
from warpsmith.model.asks import Usage
from warpsmith.model.base import digest
from warpsmith.model.campaign import Budget
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Build, Ceiling, Effort, Evaluation, KernelBuild, Status, TensorError
from warpsmith.model.head import Workload
from warpsmith.model.space import Space, Tunable
from warpsmith.model.step import Measure, Outcome, Step
from warpsmith.model.task import Argument, Dtype, KernelTask, Role
from warpsmith.store.history import History
from warpsmith.store.ledger import Ledger
from warpsmith.surface import charts, numbers, report
from warpsmith.surface.ratio import Ratio
from warpsmith.surface.report import render_html, render_markdown
from warpsmith.surface.view import PeerRow, Row, View, view

HOSTILE = '<script>alert("x")</script> | `a` & \x1b[31m\u202eevil'
SECTIONS = ("headline", "curve", "workloads", "peers", "roofline", "lineage", "candidates", "build", "notes")
SPACE = Space(
    tunables={
        "TILE": Tunable(values=(1, 2, 4, 8, 16, 32), default=1),
        "UNROLL": Tunable(values=(1, 2, 4, 8), default=1),
        "STAGES": Tunable(values=(1, 2, 3), default=1),
    },
    constraints=("TILE * UNROLL <= 64",),
)
TASK = KernelTask(
    name="fake/rich",
    title="rich",
    hardware="cpu",
    contract="host",
    arguments=(
        Argument(name="y", role=Role.output, dtype=Dtype.f32, shape=("N",)),
        Argument(name="N", role=Role.axis),
        Argument(name="K", role=Role.axis),
    ),
    bytes="8 * N",
    flops="2 * N * K",
    workloads=tuple(
        Workload(name=name, axes={"N": n, "K": k}, weight=weight)
        for name, n, k, weight in (
            ("decode, batch 1", 1 << 20, 4, 5.0),
            ("decode, batch 64", 3 << 20, 4, 3.0),
            ("prefill 2k", 4 << 20, 64, 1.5),
            ("prefill 8k", 8 << 20, 900, 0.5),
        )
    ),
)
ENTRY = candidate("entry", SPACE, **SPACE.defaults)
PEER = candidate("vendor")
SECONDS = {"decode, batch 1": 3e-5, "decode, batch 64": 1e-4, "prefill 2k": 1.4e-4, "prefill 8k": 2.5e-3}


def relative_time(c: Candidate) -> float:
    if not c.parameters:
        return 0.62 if c.id == PEER.id else 1.0
    p = c.parameters
    tile, unroll = abs(math.log2(p["TILE"]) - 3), abs(math.log2(p["UNROLL"]) - 1)
    return 0.48 + 0.07 * tile + 0.06 * unroll + 0.03 * abs(p["STAGES"] - 2)


class RichCrew(FakeCrew):
    """Measurements with errors, a copy beside them, a build and conditions; some candidates fail in several ways."""

    def _outcome(self, step: Step, history: History) -> Outcome:
        if not isinstance(step, Measure):
            return super()._outcome(step, history)
        p = history.candidates[step.candidate].parameters
        if p and p["TILE"] == 32:
            return failed(self.task, step, Status.wrong_values, "y[17]: 3.0 instead of 2.0 " + 40 * "and more ")
        if p and p["UNROLL"] == 8 and p["STAGES"] == 3:
            return failed(self.task, step, Status.build_failed, f"k.c:3: {HOSTILE}\n" + 30 * "note: expanded\n")
        return enriched(measured(self.task, step, history, relative_time))


def enriched(e: Evaluation) -> Evaluation:
    results = []
    for i, result in enumerate(e.workloads):
        base = SECONDS[result.workload]
        metric = result.metrics[0]
        grown = [
            tuple(base * t * (1 + 0.004 * i * math.sin(9 * k + shift)) for k, t in enumerate(samples))
            for samples, shift in ((metric.candidate, 0), (metric.rival, 2))
        ]
        update = {"candidate": grown[0], "rival": grown[1]}
        wrong = TensorError(tensor="y", relative_rms=1e-7, worst_row=3.2e-7, limit=1e-5, matched=1.0)
        axes = {w.name: w.axes for w in TASK.workloads}[result.workload]
        copies = tuple(axes["N"] / 8.3e10 * (1 + 0.01 * math.cos(k + i)) for k in range(len(grown[0])))
        ceiling = Ceiling(bytes=8 * axes["N"], seconds=copies, how="16-byte loads and stores, plain")
        results.append(
            result.model_copy(
                update={
                    "calls": 64,
                    "errors": (wrong,),
                    "metrics": (metric.model_copy(update=update),),
                    "ceiling": ceiling,
                }
            )
        )
    build = Build(
        toolchain="cuda",
        command=("nvcc", "-O3", "-arch=sm_90a", "-DTILE=8", "--name=a b", "k.cu"),
        seconds=2.4,
        binary=digest(e.candidate),
        binary_bytes=48_120,
        kernels=(KernelBuild(name="rows", registers=64, spill_bytes=0, shared_bytes=16384), KernelBuild(name="tail")),
        log="ptxas info: 64 registers",
    )
    conditions = ("cache: cold (evicted before every timed call)", "sandbox: resource limits only")
    return e.model_copy(update={"workloads": tuple(results), "build": build, "conditions": conditions})


def rich_view(folder: Path) -> View:
    c = campaign(
        TASK,
        entry=ENTRY.id,
        peers={"vendor": PEER.id},
        budget=Budget(rounds=12, patience=12),
        batch=4,
        noise_floor=0.006,
        target=TARGET.model_copy(
            update={
                "device": "Scripted 9000",
                "driver": "580.1",
                "toolkit": "CUDA 13.0",
                "libraries": {"numpy": "2.4"},
                "facts": {"CORES": 8, "L2_BYTES": 50 << 20},
            }
        ),
    )
    with Ledger(ledger_path(folder)) as ledger:
        seen = view(optimize(c, RichCrew(TASK), ledger, (BASELINE, ENTRY, PEER)), TASK)
    rows = list(seen.rows)
    rows[5] = rows[5].model_copy(update={"memo": HOSTILE + 30 * " very long"})
    both = roof([(w.name, w.flops, w.bytes, w.candidate, w.copy_bytes_per_s) for w in seen.workloads], 2.0e13)
    paid = Spending(asks=3, calls=4, usage=Usage(input=10, cache_read=30, output=5), money=Decimal("1.25"))
    asked = seen.costs.model_copy(update={"total": paid})
    return seen.model_copy(update={"rows": tuple(rows), "roof": both, "costs": asked})


def empty_view(folder: Path) -> View:
    """A campaign in which nothing was gained, without peers, parameters, times or a roof."""
    c = campaign(TASK, entry=BASELINE.id, budget=Budget(rounds=0))
    with Ledger(ledger_path(folder)) as ledger:
        return view(optimize(c, FakeCrew(TASK), ledger, (BASELINE,)), None)


def crowded_view(folder: Path) -> View:
    """Three hundred candidates, one of them very slow, intervals that are unknown, endless or huge."""
    seen = rich_view(folder)
    ends = [(None, None), (0.0, 1e300), (1e-9, 1e9), (1.1, 1.2)]
    workloads = [
        w.model_copy(update={"ratio": Ratio(speedup=1.15, low=low, high=high, pairs=2), "copy_share": None})
        for w, (low, high) in zip(seen.workloads, ends, strict=True)
    ]
    more = [
        Row(
            id=digest(i),
            origin=f"round {i}",
            parent=None,
            parameters={},
            memo="",
            status="passed" if i % 3 else "crashed",
            detail="" if i % 3 else "SIGSEGV",
            ratio=Ratio(speedup=1.0, low=None, high=None, pairs=1) if i % 3 else None,
            measurements=i + 1,
            speedup=(0.001 if i == 1 else 0.8 + i / 900) if i % 3 else None,
        )
        for i in range(300)
    ]
    ratio = Ratio(speedup=1.2, low=None, high=None, pairs=1)
    rows = (*seen.rows, *more)
    gone = PeerRow(name="gone", id=more[3].id, status=f"crashed: {HOSTILE}", best_over_peer=None, workloads={})
    peers = (*seen.peers, gone)
    update = {
        "workloads": tuple(workloads),
        "rows": rows,
        "ratio": ratio,
        "peers": peers,
        "measured": 350,
        "roof": None,
    }
    return seen.model_copy(update=update)


VIEWS = {"rich": rich_view, "empty": empty_view, "crowded": crowded_view}
SOURCES = {"k.c": "void k(void) { /* <script> & */ }\n", "deep/k.h": ""}


@pytest.fixture(params=VIEWS)
def seen(request: pytest.FixtureRequest, tmp_path: Path) -> View:
    made: View = VIEWS[request.param](tmp_path)
    return made


class Page(HTMLParser):
    """Elements of a page, and whether every one is closed."""

    VOID = frozenset({"meta", "link", "br", "img", "input", "hr"})
    SELF_CLOSING = frozenset({"line", "path", "circle", "rect"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        assert tag in self.SELF_CLOSING, f"<{tag}/> is not closed in HTML"

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.tags if name in attributes]

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def test_the_page_is_well_formed_and_whole(seen: View) -> None:
    page = Page(render_html(seen, SOURCES, "9.9"))
    assert not page.open
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    assert [i for i in ids if i in SECTIONS] == list(SECTIONS)
    links = [h.removeprefix("#") for h in page.all("href") if h.startswith("#")]
    assert set(links) <= set(ids)
    labels = [i for value in page.all("aria-labelledby") for i in value.split()]
    assert set(labels) <= set(ids)
    assert len(page.all("lang")) == 1
    rows = [a["id"] for t, a in page.tags if t == "tr" and "id" in a]
    assert sorted(rows) == sorted(f"c-{r.id}" for r in seen.rows)


def test_the_page_asks_for_nothing_outside(seen: View) -> None:
    text = render_html(seen, SOURCES, "9.9")
    page = Page(text)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    assert all(h.startswith("#") or h == "data:," for h in page.all("href"))
    assert not page.all("src")
    assert not {t for t, _ in page.tags} & {"script", "img", "iframe", "object", "embed", "base", "form"}
    assert not [a for _, attributes in page.tags for a in attributes if a.startswith("on")]


def test_tables_and_drawings_are_accessible(seen: View) -> None:
    page = Page(render_html(seen, SOURCES, "9.9"))
    assert all("scope" in a for t, a in page.tags if t == "th")
    drawings = sum(t == "svg" for t, _ in page.tags)
    assert all(a.get("role") == "img" for t, a in page.tags if t == "svg")
    assert sum(t == "title" for t, _ in page.tags) >= drawings + 1
    assert sum(t == "desc" for t, _ in page.tags) == sum(a.get("class") == "chart" for t, a in page.tags if t == "svg")


def test_a_candidate_cannot_smuggle_anything_in(tmp_path: Path) -> None:
    seen = rich_view(tmp_path)
    text = render_html(seen, {'<img src="x">': HOSTILE}, "9.9")
    assert "<script" not in text
    assert '<img src="x">' not in text
    assert "&lt;script&gt;alert" in text
    assert '<script>alert("x")</script>' in Page(text).text, "shown as it is, not lost or escaped twice"
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    markdown = render_markdown(seen, "9.9")
    assert not re.search(r"(?<!\\)<script", markdown)
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert all(_columns(line) == _columns(header) for header, line in _with_header(table))


def _columns(line: str) -> int:
    return len(re.findall(r"(?<!\\)\|", line))


def _with_header(lines: list[str]) -> list[tuple[str, str]]:
    """Each line of a table with its header: a header is followed by its rule."""
    found, header = [], ""
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        header = line if re.match(r"\|[-:| ]+\|$", below) and "--" in below else header
        found.append((header, line))
    return found


NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
ACROSS, DOWN = {"x", "x1", "x2", "cx"}, {"y", "y1", "y2", "cy"}


def test_everything_drawn_is_finite_and_inside_its_box(seen: View) -> None:
    page = Page(render_html(seen, SOURCES, "9.9"))
    box = (0.0, 0.0)
    drawn = 0
    for tag, attributes in page.tags:
        if tag == "svg":
            _, _, width, height = (float(v) for v in attributes["viewbox"].split())
            box = (width, height)
        for name, value in attributes.items():
            if name in ACROSS | DOWN | {"width", "height", "r"} and tag not in ("svg", "meta"):
                drawn += 1
                assert NUMBER.fullmatch(value), (tag, name, value)
                assert 0 <= float(value) <= box[0 if name in ACROSS or name == "width" else 1], (tag, name, value)
            if name in ("d", "transform"):
                assert not re.search("nan|inf|e[-+]", value), value
                places = re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", value)
                assert all(0 <= float(x) <= box[0] and 0 <= float(y) <= box[1] for x, y in places), value
    assert drawn > 10


def test_the_rich_page_says_what_was_found(tmp_path: Path) -> None:
    seen = rich_view(tmp_path)
    text = Page(render_html(seen, SOURCES, "9.9")).text
    assert seen.ratio is not None
    assert seen.promotable
    for expected in (
        f"{seen.ratio.speedup:.3f}×", "Promotable:", seen.best[:10], "Scripted 9000", "driver 580.1", "vendor",
        "16-byte loads and stores", "arithmetic: 20 TFLOP/s", "wrong_values", "build_failed", "'--name=a b'", "64",
        "50.0 MiB", "cache: cold", "warpsmith optimize fake/rich --tag main --seed 7",
        f"warpsmith show {seen.best[:10]}", "deep/k.h",
        "3 asks in 4 requests: 40 tokens read (75% from the cache), 5 written, $1.25",
        "0.60 %", "TILE",
    ):  # fmt: skip
        assert expected in text, expected


def test_markdown_has_the_tables_and_the_ratio(tmp_path: Path) -> None:
    seen = rich_view(tmp_path)
    assert seen.ratio is not None
    text = render_markdown(seen, "9.9")
    assert f"**{seen.ratio.speedup:.3f}×** over the baseline: **faster**" in text
    for heading in ("Workloads", "Peers", "Lineage", "Candidates", "Environment", "Repeat"):
        assert f"\n## {heading}\n\n" in text
    assert "| decode, batch 64 | 30 % |" in text
    assert f"warpsmith show {seen.best[:10]}" in text
    candidates = text.partition("## Candidates")[2].partition("## Environment")[0]
    assert candidates.count("\n| `") == report.SHOWN_IN_MARKDOWN
    assert "wrong_values" in candidates
    assert "\n\n\n" not in text


def test_without_a_gain_both_say_so(tmp_path: Path) -> None:
    seen = empty_view(tmp_path)
    text = Page(render_html(seen, {}, "9.9")).text
    assert "no gain" in text
    assert "Nothing to promote" in text
    assert "names no peers" in text
    assert "A roofline needs" in text
    markdown = render_markdown(seen, "9.9")
    assert "**No gain**" in markdown
    assert "\n\n\n" not in markdown


def test_the_gate_names_its_reason(tmp_path: Path) -> None:
    seen = rich_view(tmp_path)
    closed = seen.model_copy(update={"promotable": False})
    changes: dict[str, dict[str, object]] = {
        "screened": {},
        "small": {"min_gain": 0.9},
        "verdict": {"verdict": "ambiguous"},
        "unproved": {"ratio": None, "verdict": None, "workloads": (), "build": None},
        "nothing": {"best": seen.baseline, "ratio": None, "verdict": None, "workloads": (), "build": None},
    }
    assert report.gate(seen) == "open"
    for expected, change in changes.items():
        changed = closed.model_copy(update=change)
        assert report.gate(changed) == expected
        assert "romot" in Page(render_html(changed, {}, "9.9")).text
        assert render_markdown(changed, "9.9")


def test_lineage_names_what_changed(tmp_path: Path) -> None:
    seen = rich_view(tmp_path)
    steps = report.lineage(seen)
    assert [s.row.id for s in steps] == list(seen.lineage)
    assert steps[0].row.id == seen.baseline
    assert all(s.reached is not None for s in steps)
    changed = {n: (a, b) for n, a, b in steps[-1].changed}
    assert steps[-1].parent == ENTRY.id
    assert changed["TILE"] == (1, 8)


def test_candidates_are_ordered_by_speed_then_arrival(tmp_path: Path) -> None:
    ordered = report.candidates(crowded_view(tmp_path))
    speeds = [n.row.speedup for n in ordered if n.row.speedup is not None]
    assert speeds == sorted(speeds, reverse=True)
    rest = ordered[len(speeds) :]
    assert all(n.row.speedup is None for n in rest)
    assert [n.number for n in rest] == sorted(n.number for n in rest)


def test_slow_candidates_stand_at_the_edge_of_the_curve(tmp_path: Path) -> None:
    chart = charts.curve(crowded_view(tmp_path))
    assert [d.row.speedup for d in chart.dots if d.below] == [0.001]
    assert len(chart.failed) > 100


def test_both_roofs_meet_at_the_ridge() -> None:
    points = [RoofPoint(workload="w", intensity=1.0, flops_per_s=1e12, attainable_flops_per_s=2e12, share=0.5)] * 4
    chart = charts.roofline(Roof(bytes_per_s=2e12, flops_per_s=4e13, points=tuple(points)))
    assert chart.compute is not None
    assert chart.memory[2:] == pytest.approx((chart.compute[0], chart.compute[2]))
    places = sorted(m.label_y for m in chart.marks)
    assert all(b - a >= 13.9 for a, b in pairwise(places)), "labels of one spot stand apart"
    memory_only = charts.roofline(Roof(bytes_per_s=2e12, flops_per_s=None, points=tuple(points)))
    assert memory_only.compute is None
    assert _finite(chart)
    assert _finite(memory_only)


def _finite(value: object) -> bool:
    if is_dataclass(value):
        return all(_finite(getattr(value, f.name)) for f in fields(value))
    if isinstance(value, tuple):
        return all(_finite(v) for v in value)
    return not isinstance(value, float) or math.isfinite(value)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (numbers.significant(1234.5), "1234"),
        (numbers.significant(0.0123456), "0.0123"),
        (numbers.significant(9.996), "10.0"),
        (numbers.significant(1.2e-9), "1.20e-09"),
        (numbers.significant(math.inf), "∞"),
        (numbers.times(1.23456), "1.235"),
        (numbers.times(123.456), "123.5"),
        (numbers.percent(0.02), "2.0 %"),
        (numbers.percent(0.8912), "89 %"),
        (numbers.percent(1.034), "103 %"),
        (numbers.percent(0.0), "0 %"),
        (numbers.duration(3.1e-5), "31.00 µs"),
        (numbers.duration(1.2e-3, 9e-4), "1200 µs"),
        (numbers.duration(2.0), "2.000 s"),
        (numbers.elapsed(61.4), "61.4 s"),
        (numbers.elapsed(372), "6 min 12 s"),
        (numbers.elapsed(7380), "2 h 3 min"),
        (numbers.giga(4.1234e12), "4123"),
        (numbers.si(2e13), "20 T"),
        (numbers.si(5.0), "5"),
        (numbers.size(48_120), "47.0 KiB"),
        (numbers.size(12), "12 B"),
        (numbers.error(3.2e-7), "3.2e-07"),
        (numbers.cell("a|b\n<c>"), r"a\|b \<c\>"),
        (numbers.one_line("a  b\nc", 4), "a b…"),
    ],
)
def test_numbers_and_words_are_written_plainly(written: str, expected: str) -> None:
    assert written == expected


@pytest.mark.parametrize(("low", "high"), [(0.9, 1.3), (0.999, 1.001), (0.01, 50.0), (1e-9, 1e9)])
def test_axes_have_some_round_ticks(low: float, high: float) -> None:
    scale = charts.Scale(low, high, 0, 100)
    ticks = scale.ticks(charts.ratio_ticks(low, high, 4))
    assert 2 <= len(ticks) <= 14
    assert all(0 <= t.at <= 100 for t in ticks)


def test_effort_of_the_fixture_is_a_proof(tmp_path: Path) -> None:
    """The fixtures stand for what a real campaign gives: a direct proof of the best over the baseline."""
    seen = rich_view(tmp_path)
    assert next(r for r in seen.rows if r.id == seen.best).effort == Effort.promote
    assert len(seen.rows) > 40
    assert len(seen.workloads) == 4
    assert seen.roof is not None
    assert len(seen.peers) == 1
