"""``profile -- APP``: what comes of tools that misbehave, and of real ones where they are."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from tests.profilers.test_nsys import export
from tests.profilers.tools import tool
from warpsmith.errors import BadInput, BadReport, ProfilerFailed, WarpsmithError
from warpsmith.model.profile import ProfileEffort
from warpsmith.profilers import application
from warpsmith.profilers.application import Application, AppTool
from warpsmith.profilers.tools import find
from warpsmith.surface import cli

QUICK = ProfileEffort.quick
APP = ("/bin/sh", "-c", "exit 0")


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin")
    monkeypatch.setattr(application, "GRACE_S", 8.0)
    return tmp_path / "bin"


def profiled(name: AppTool, duration: float | None = None, argv: tuple[str, ...] = APP) -> object:
    return Application(argv, duration, lambda report: "0" * 64).profile(name, QUICK)


@pytest.mark.parametrize(
    ("printed", "says", "remedy"),
    [
        ("==ERROR== ERR_NVGPUCTRPERM - The user does not have permission to access NVIDIA GPU Performance Counters",
         "may not read the device's counters", "NVreg_RestrictProfilingToAdminUsers=0"),
        ("==ERROR== Profiling is not supported on device 0 as it uses the Foo architecture", "architecture", "newer"),
        ("==ERROR== Driver resource was unavailable. Ensure that no other tool (like DCGM) is collecting",
         "another profiler holds", "dcgmi"),
        ("==ERROR== An out of memory error occurred while saving memory", "could not save the memory", "nsys"),
        ("==WARNING== No kernels were profiled.", "saw no launch", "launches it at all"),
        ("==ERROR== Something nobody has seen before", "Something nobody has seen before", "by hand"),
    ],
)  # fmt: skip
def test_what_ncu_complains_of_becomes_an_error_with_a_remedy(
    bin_folder: Path, printed: str, says: str, remedy: str
) -> None:
    tool(bin_folder, "ncu", f"echo '{printed}' > $log; exit 1")
    with pytest.raises(WarpsmithError, match=says) as caught:
        profiled("ncu")
    assert remedy in caught.value.remedy
    assert caught.value.exit_status in (3, 4)


def test_metrics_that_ncu_does_not_know_are_left_out(bin_folder: Path) -> None:
    body = """
    case $all in
        *dram__bytes_read.sum*) echo '==ERROR== Failed to find metric regex:^dram__bytes_read\\.sum' > $log; exit 1 ;;
    esac
    echo '==WARNING== No kernels were profiled.' > $log
    """
    tool(bin_folder, "ncu", body)
    with pytest.raises(BadReport, match="saw no launch"):  # of the second call, which asks for the others only
        profiled("ncu")


@pytest.mark.parametrize("content", ["", "not a report", "NVR\\0\\0\\0"])
def test_a_report_that_is_garbage(bin_folder: Path, content: str) -> None:
    tool(bin_folder, "ncu", f"printf '{content}' > $report.ncu-rep")
    with pytest.raises(BadReport, match=r"the report (is empty|cannot be read)") as caught:
        profiled("ncu")
    assert "Profile again" in caught.value.remedy


def test_no_report_at_all(bin_folder: Path) -> None:
    tool(bin_folder, "ncu", "exit 0")
    with pytest.raises(ProfilerFailed, match="left no report"):
        profiled("ncu")


def test_a_profiler_that_hangs_is_ended_with_all_that_it_started(bin_folder: Path, tmp_path: Path) -> None:
    tool(bin_folder, "ncu", f"sleep 600 & echo $! > {tmp_path / 'pid'}; wait")
    application.GRACE_S = 1.0  # type: ignore[misc]
    began = time.monotonic()
    with pytest.raises(ProfilerFailed, match="still running"):
        profiled("ncu", duration=4.0)
    assert time.monotonic() - began < 120
    assert not os.path.exists(f"/proc/{(tmp_path / 'pid').read_text().strip()}")


def test_nsys_without_its_libraries_names_them(bin_folder: Path) -> None:
    tool(bin_folder, "nsys", '[ -z "$report" ] || touch $report.qdstrm; exit 1')
    with pytest.raises(ProfilerFailed, match="could not make a report") as caught:
        profiled("nsys")
    assert "libdw1" in caught.value.remedy and "libelf1" in caught.value.remedy


def nsys_that_exports(bin_folder: Path, database: Path) -> None:
    body = f"""
    case $all in
        *--type=sqlite*) cp {database} $report ;;
        *) touch $report.nsys-rep ;;
    esac
    """
    tool(bin_folder, "nsys", body)


def test_a_timeline_comes_back(bin_folder: Path, tmp_path: Path) -> None:
    export(tmp_path / "made.sqlite", [("scale", 0, 1000), ("scale", 3000, 5000)])
    nsys_that_exports(bin_folder, tmp_path / "made.sqlite")
    found = Application(APP, 2.0, lambda report: "1" * 64).profile("nsys", QUICK)
    assert found.timeline is not None and found.timeline.gaps == 1
    assert found.reports == ("1" * 64,)
    assert "ended after 2 s" in found.conditions


def test_a_combined_capture_counts_what_led_the_timeline(bin_folder: Path, tmp_path: Path) -> None:
    kernels = [("small", 0, 10), ("large", 20, 2000), ("medium", 3000, 3500), ("next", 4000, 4100)]
    export(tmp_path / "made.sqlite", kernels)
    nsys_that_exports(bin_folder, tmp_path / "made.sqlite")
    tool(
        bin_folder, "ncu", f"echo \"$all\" > {tmp_path / 'asked'}; echo '==WARNING== No kernels were profiled.' > $log"
    )
    with pytest.raises(BadReport, match="large, medium, next"):
        profiled("all")
    assert "regex:^(large|medium|next)$" in (tmp_path / "asked").read_text()


def test_a_combined_capture_without_a_kernel(bin_folder: Path, tmp_path: Path) -> None:
    export(tmp_path / "made.sqlite", [])
    nsys_that_exports(bin_folder, tmp_path / "made.sqlite")
    tool(bin_folder, "ncu", "exit 0")
    with pytest.raises(BadReport, match="launched no kernel"):
        profiled("all")


def test_an_export_that_is_no_database(bin_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "made.sqlite").write_text("this is no database, whatever its name says" * 50)
    nsys_that_exports(bin_folder, tmp_path / "made.sqlite")
    with pytest.raises(BadReport, match="cannot be read"):
        profiled("nsys")


@pytest.mark.parametrize(
    ("argv", "duration", "says"),
    [((), None, "no program"), (("/no/such",), None, "can be run"), (APP, -1.0, "no time")],
)
def test_programs_that_cannot_be_profiled(argv: tuple[str, ...], duration: float | None, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        Application(argv, duration, lambda report: "")


def test_the_command_line_takes_what_stands_behind_two_dashes(
    bin_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    export(tmp_path / "made.sqlite", [("scale", 0, 1000)])
    nsys_that_exports(bin_folder, tmp_path / "made.sqlite")
    monkeypatch.chdir(tmp_path)
    assert cli.run(["profile", "--json", "--", "/bin/echo", "--json", "--tool"]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert answer["profile"]["workload"] == "/bin/echo --json --tool"
    assert answer["profile"]["timeline"]["activities"][0]["name"] == "scale"
    assert Path(answer["reports"][0]).is_file()
    assert cli.run(["profile", "cpu/rmsnorm", "--", "/bin/echo"]) == 3
    assert cli.run(["report", "cpu/rmsnorm", "--", "/bin/echo"]) == 3
    assert cli.run(["profile"]) == 3


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_callgrind_counts_a_program(tmp_path: Path) -> None:
    source = tmp_path / "work.c"
    source.write_text(
        "int main(void)\n{\n    volatile int x = 0;\n    for (int i = 0; i < 100000; i++)\n        x += i;\n}\n"
    )
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    os.spawnv(os.P_WAIT, compiler, [compiler, "-g", "-O0", "-o", str(tmp_path / "work"), str(source)])
    kept: list[str] = []
    found = Application((str(tmp_path / "work"),), None, lambda r: kept.append(r.read_text()) or "2" * 64).profile(
        "cpu", QUICK
    )
    if find("perf") and found.tool.startswith("perf"):
        assert found.kernels[0].metrics["instructions"] > 100000
        return
    kernel = found.kernels[0]
    assert kernel.metrics["cpu_instructions"] > 300000
    assert {line.line for line in kernel.lines[:2]} == {4, 5} and kernel.lines[0].file == "work.c"
    assert kept and "events: Ir" in kept[0]
    assert any("simulation" in c for c in found.conditions)


def test_a_database_is_opened_to_be_read_only(tmp_path: Path) -> None:
    export(tmp_path / "made.sqlite", [("scale", 0, 1000)])
    before = (tmp_path / "made.sqlite").read_bytes()
    with sqlite3.connect(tmp_path / "made.sqlite"):
        pass
    assert (tmp_path / "made.sqlite").read_bytes() == before
