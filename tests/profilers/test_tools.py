"""Finding and running profilers: missing, old, silent, broken, hanging ones; each error says what to do."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from tests.profilers.tools import tool
from warpsmith.errors import Missing, ProfilerFailed
from warpsmith.profilers import tools
from warpsmith.profilers.tools import available, find, run


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that comes first on PATH, behind which only the system's own programs are."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin")
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(tools, "_nsys_of_ncu", lambda path: None)
    return tmp_path / "bin"


@pytest.mark.parametrize("name", ["ncu", "nsys"])
def test_a_missing_profiler_is_named_with_its_remedy(path: Path, name: str) -> None:
    with pytest.raises(Missing, match=f"{name} was not found") as caught:
        find(name)
    assert "Install Nsight" in caught.value.remedy and caught.value.exit_status == 4
    assert not available(name)


@pytest.mark.parametrize(
    ("name", "version"), [("ncu", (2025, 3, 1, 0)), ("nsys", (2025, 3, 2, 474)), ("valgrind", (3, 19, 0))]
)
def test_versions_are_read(path: Path, name: str, version: tuple[int, ...]) -> None:
    tool(path, name, "exit 0")
    found = find(name)
    assert found.version == version
    assert found.said == f"{name} {'.'.join(map(str, version[:3]))}"
    assert available(name)


def test_a_profiler_that_is_too_old_says_which_version_would_do(path: Path) -> None:
    tool(path, "ncu", "exit 0", version="Version 2019.5.0 (Build 27346997)")
    with pytest.raises(ProfilerFailed, match=r"version 2019\.5\.0, and 2022\.3 is the oldest"):
        find("ncu")


def test_a_profiler_that_cannot_even_say_its_version(path: Path) -> None:
    (path / "ncu").write_text("#!/bin/sh\necho cannot open shared object file\nexit 127\n")
    (path / "ncu").chmod(0o755)
    with pytest.raises(ProfilerFailed, match=r"status 127.*cannot open shared object file") as caught:
        find("ncu")
    assert "--version" in caught.value.remedy


def test_a_profiler_that_hangs_when_asked_for_its_version(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "VERSION_S", 0.5)
    (path / "ncu").write_text("#!/bin/sh\nsleep 600\n")
    (path / "ncu").chmod(0o755)
    with pytest.raises(ProfilerFailed, match="did not say its version within"):
        find("ncu")


def test_when_the_time_is_up_the_whole_tree_ends(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"echo $$ >> {pids}; (setsid sleep 600 & echo $! >> {pids}; wait) & echo $! >> {pids}; wait"
    began = time.monotonic()
    ran = run(("/bin/sh", "-c", script), timeout_s=4.0)
    assert ran.status is None and time.monotonic() - began < 120
    started = [int(p) for p in pids.read_text().split()]
    assert len(started) == 3
    assert not [p for p in started if os.path.exists(f"/proc/{p}")]


def test_what_is_printed_is_kept_and_the_status_is_the_programs() -> None:
    ran = run(
        (sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"), timeout_s=20
    )
    assert ran.status == 7
    assert {"out", "err"} <= set(ran.printed.split())
    assert "It printed" in ran.tail


def test_a_signal_is_a_negative_status() -> None:
    assert run(("/bin/sh", "-c", "kill -SEGV $$"), timeout_s=20).status == -11


def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(ProfilerFailed, match="could not be started"):
        run((str(tmp_path / "nothing"),), timeout_s=20)


def test_the_nsys_inside_nsight_compute_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "nsight-compute" / "host" / "target-linux-x64"
    tool(tmp_path / "nsight-compute", "ncu", "exit 0")
    tool(inside, "nsys", "exit 0")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ncu").symlink_to(tmp_path / "nsight-compute" / "ncu")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin")
    assert find("nsys").path == str(inside / "nsys")
