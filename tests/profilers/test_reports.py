"""Real reports of an H200 (tests/golden/profilers), whole and damaged, read without a GPU."""

from __future__ import annotations

import contextlib
import json
import lzma
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from warpsmith.errors import BadReport, Missing
from warpsmith.model.metrics import METRICS
from warpsmith.model.profile import KernelProfile
from warpsmith.model.target import Target
from warpsmith.profilers import ncu_reader, reports
from warpsmith.profilers.nsys import read_timeline
from warpsmith.profilers.reports import read_report

GOLDEN = Path(__file__).parents[1] / "golden" / "profilers"
needs_reader = pytest.mark.skipif(
    find_spec("ncu_report") is None and not reports._modules(), reason="NVIDIA's ncu_report is not here"
)


def unpacked(name: str, folder: Path) -> Path:
    path = folder / name
    path.write_bytes(lzma.decompress((GOLDEN / f"{name}.xz").read_bytes()))
    return path


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked("quick.ncu-rep", tmp_path_factory.mktemp("golden"))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked("full.ncu-rep", tmp_path_factory.mktemp("golden"))


@needs_reader
def test_a_quick_report_has_every_metric_that_the_rules_need(quick: Path) -> None:
    (kernel,) = read_report(quick, ["rmsnorm"], quick=True)
    assert (kernel.grid, kernel.block, kernel.registers, kernel.launches) == ((4096, 1, 1), (256, 1, 1), 32, 1)
    assert kernel.missing == ()
    assert kernel.metrics["grid_size"] == 4096 and kernel.metrics["sm_count"] == 132
    assert 5e-6 < kernel.metrics["duration"] < 1e-4 and 0 < kernel.metrics["dram"] < 1
    assert kernel.metrics["stall_long_scoreboard"] > 0.2


@needs_reader
def test_hot_lines_point_into_the_candidates_source(quick: Path) -> None:
    source = 215 * "\n" + "    the hottest line\n"
    (kernel,) = read_report(quick, quick=True, sources={"rmsnorm.cu": source})
    first = kernel.lines[0]
    assert (first.file, first.line, first.stall) == ("rmsnorm.cu", 216, "stall_long_scoreboard")
    assert first.text == "the hottest line"
    assert 0.3 < first.samples < 0.4 and first.sass[0] == "IMAD.U32 R16, R4, 0x10000, RZ"
    assert [line.samples for line in kernel.lines] == sorted((line.samples for line in kernel.lines), reverse=True)
    assert all(line.stall in METRICS for line in kernel.lines)


@needs_reader
def test_the_vendors_advice_is_typed_and_its_gain_a_share(full: Path) -> None:
    (kernel,) = read_report(full)
    advice = {a.rule: a for a in kernel.advice}
    assert {"SOLBottleneck", "CPIStall", "LaunchConfiguration", "SOLFPRoofline"} <= set(advice)
    assert advice["LaunchConfiguration"].kind == "OPT"
    assert advice["LaunchConfiguration"].speedup == pytest.approx(0.25) and advice["LaunchConfiguration"].scope
    assert advice["SOLFPRoofline"].kind == "INF" and advice["SOLFPRoofline"].speedup is None
    assert not any("@section" in a.message or "@url" in a.message for a in kernel.advice)
    assert any(a.metrics for a in kernel.advice)
    assert len(kernel.metrics) > 85


@needs_reader
def test_a_diagnosis_can_be_made_of_a_report_off_the_gpu(quick: Path) -> None:
    from warpsmith.analyse.diagnose import diagnose

    (kernel,) = read_report(quick, quick=True)
    made = diagnose(kernel, Target(hardware="cuda", device="NVIDIA H200", architecture="sm_90a"))
    assert made.kernel == "rmsnorm" and made.edit.edit and "dram" in made.roofs


@needs_reader
def test_a_report_without_the_kernel_says_what_it_has(quick: Path) -> None:
    with pytest.raises(BadReport, match=r"lacks the kernel softmax; it has rmsnorm"):
        read_report(quick, ["softmax"])


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def shorter(content: bytes) -> bytes:
    return content[:-1]


def foreign(content: bytes) -> bytes:
    return b"\x7fELF" + content


def blanked(content: bytes) -> bytes:
    return content[:200] + bytes(len(content) - 200)


@needs_reader
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (cut, "cut off"),
        (shorter, "cut off"),
        (foreign, "not a report of Nsight Compute"),
        (blanked, "damaged"),
        (lambda content: b"", "is empty"),
        (lambda content: b"==ERROR== no such file", "not a report of Nsight Compute"),
    ],
)
def test_a_damaged_report_is_refused_with_its_reason(
    quick: Path, tmp_path: Path, damage: Callable[[bytes], bytes], says: str
) -> None:
    path = tmp_path / "report.ncu-rep"
    path.write_bytes(damage(quick.read_bytes()))
    with pytest.raises(BadReport, match=says) as caught:
        read_report(path)
    assert str(path) in caught.value.message and "Profile again" in caught.value.remedy


def test_a_report_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(BadReport, match="cannot be opened"):
        read_report(tmp_path / "nothing.ncu-rep")
    with pytest.raises(BadReport, match="not a file"):
        read_report(tmp_path)


def test_without_the_reader_the_package_is_named(quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = tmp_path / "reader.py"
    reader.write_text('print(\'{"error": "No module named ncu_report", "lacks": true}\')')
    monkeypatch.setattr(reports, "READER", reader)
    with pytest.raises(Missing, match="report reader is not here") as caught:
        read_report(quick)
    assert "ncu-report" in caught.value.remedy


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("import os; os.kill(os.getpid(), 11)", "reader crashed"),
        ("raise SystemExit(3)", "cannot be read"),
        ("print('x' * 100)", "cannot be read"),
        ("import time; time.sleep(60)", "took longer"),
    ],
)
def test_a_reader_that_breaks_breaks_nothing_else(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, says: str
) -> None:
    reader = tmp_path / "reader.py"
    reader.write_text(body)
    monkeypatch.setattr(reports, "READER", reader)
    monkeypatch.setattr(reports, "READ_S", 1.5)
    with pytest.raises(BadReport, match=says):
        read_report(quick)


def test_launches_of_one_kernel_are_one_profile_of_medians(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def launch(duration: float, grid: int, **raw: float) -> dict[str, object]:
        said = {"gpu__time_duration.sum": duration, **raw}
        geometry = {"grid": [grid, 1, 1], "block": [32, 1, 1]}
        return {"name": "k", "symbol": "_Z1k", **geometry, "raw": said, "advice": [], "lines": []}

    found = [launch(1e3, 4, launch__grid_size=4.0), launch(9e3, 8), launch(2e3, 4), launch(3e3, 4)]
    monkeypatch.setattr(reports, "results", lambda path: found)
    small, large = read_report(quick, ["_Z1k"])
    assert (small.launches, large.launches) == (3, 1)
    assert small.metrics["duration"] == pytest.approx(2e-6) and small.metrics["grid_size"] == 4
    assert "dram" in small.missing


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_bytes_are_counted_or_refused(data: st.DataObject) -> None:
    content = bytearray(lzma.decompress((GOLDEN / "quick.ncu-rep.xz").read_bytes())[:4000])
    for at in data.draw(st.lists(st.integers(0, 3999), max_size=20)):
        content[at] = data.draw(st.integers(0, 255))
    drawn = bytes(content[: data.draw(st.integers(0, 4000))]) if data.draw(st.booleans()) else data.draw(st.binary())
    with contextlib.suppress(ValueError):
        assert ncu_reader.promised(drawn) >= 0


def mangled(content: bytes, flips: list[tuple[int, int]], length: int) -> bytes:
    changed = bytearray(content)
    for at, bit in flips:
        changed[at % len(changed)] ^= 1 << bit
    return bytes(changed[:length])


def read_or_refused(path: Path) -> tuple[KernelProfile, ...] | None:
    try:
        return read_report(path)
    except BadReport:
        return None


def fuzz(quick: Path, tmp_path_factory: pytest.TempPathFactory, examples: int) -> None:
    content = quick.read_bytes()
    path = tmp_path_factory.mktemp("fuzz") / "report.ncu-rep"

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(st.tuples(st.integers(0, 1 << 24), st.integers(0, 7)), min_size=1, max_size=30),
        st.one_of(st.just(len(content)), st.integers(0, len(content))),
    )
    def examine(flips: list[tuple[int, int]], length: int) -> None:
        path.write_bytes(mangled(content, flips, length))
        found = read_or_refused(path)
        assert found is None or all(json.dumps(k.model_dump(mode="json"), allow_nan=False) for k in found)

    examine()


@needs_reader
def test_some_damaged_reports_are_read_or_refused(quick: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    fuzz(quick, tmp_path_factory, 8)


@needs_reader
@pytest.mark.slow
def test_many_damaged_reports_are_read_or_refused(quick: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    fuzz(quick, tmp_path_factory, 120)


def test_a_timeline_of_the_launcher(tmp_path: Path) -> None:
    found = read_timeline(unpacked("timeline.sqlite", tmp_path))
    kernels = {a.name: a for a in found.activities if a.kind == "kernel"}
    assert kernels["rmsnorm"].count == 11 and 1e-5 < kernels["rmsnorm"].median_s < 3e-5
    assert found.gaps == 36 and 0 < found.busy < 0.05
    calls = {a.name: a.count for a in found.activities if a.kind == "call"}
    assert calls["cuLaunchKernel"] == 36


def test_the_reader_is_a_program_that_needs_nothing_of_ours() -> None:
    source = Path(ncu_reader.__file__).read_text()
    assert "import warpsmith" not in source and "from warpsmith" not in source
    done = subprocess.run(
        ("python3", "-I", "-c", "import ast, sys; ast.parse(sys.stdin.read())"), input=source.encode(), check=False
    )
    assert done.returncode == 0
