"""The counter: a library that is preloaded, before a stand-in for the driver and programs that find it in every way."""

from __future__ import annotations

import json
import os
import subprocess
from functools import lru_cache
from pathlib import Path

import pytest

from tests.app.building import PROGRAMS, shared
from warpsmith.app import library as building
from warpsmith.app.injection import counting
from warpsmith.app.library import counter
from warpsmith.app.log import Log, read_logs
from warpsmith.errors import BadInput, BuildFailed
from warpsmith.surface import cli

KERNEL, REFUSED, REST = "cuLaunchKernel 8\n", "cuLaunchKernel 13\n", "cuLaunchKernelEx 2\ncuGraphLaunch 1\n"


@lru_cache(maxsize=16)
def made(name: str, source: str, *flags: str) -> Path:
    path = shared("counted") / name
    subprocess.run(("gcc", "-O1", "-Wall", "-o", path, PROGRAMS / source, *flags), check=True)
    return path


def driver() -> Path:
    return made("libcuda.so.1", "driver.c", "-shared", "-fPIC", "-Wl,-Bsymbolic", "-Wl,-soname,libcuda.so.1")


def driven(way: str) -> Path:
    if way == "linked":
        return made("linked", "driven.c", "-DLINKED", str(driver()), "-lpthread")
    return made("driven", "driven.c", "-ldl", "-lpthread")


def ran(folder: Path, *argv: object) -> tuple[subprocess.CompletedProcess[str], list[Log]]:
    """Counted, after it ran as it is: the status and what it printed must be the same."""
    given = {**os.environ, "LD_LIBRARY_PATH": str(driver().parent)}
    words = [str(a) for a in argv]
    plain = subprocess.run(words, env=given, capture_output=True, text=True, check=False)
    variables = counting(counter(shared("cache")), folder, given)
    counted = subprocess.run(words, env=variables, capture_output=True, text=True, check=False)
    assert (counted.returncode, sorted(counted.stdout.splitlines()), counted.stderr) == (
        plain.returncode, sorted(plain.stdout.splitlines()), plain.stderr,
    )  # fmt: skip
    return counted, read_logs(folder)


@pytest.mark.parametrize("way", ["linked", "dlsym", "address"])
def test_launches_are_counted_however_the_driver_is_found(tmp_path: Path, way: str) -> None:
    done, (log,) = ran(tmp_path, driven(way), way, 5)
    assert (done.returncode, done.stdout) == (0, KERNEL * 5 + REFUSED + REST)
    assert (log.launched, log.graph_launched, log.recording, log.finished) == (5 + 1 + 1, 1, False, True)
    assert (log.exe, log.command, log.driver) == (str(driven(way)), (str(driven(way)), way, "5"), 13000)


def test_the_functions_of_a_stream_for_each_thread_are_theirs(tmp_path: Path) -> None:
    done, (log,) = ran(tmp_path, driven("streams"), "streams", 2)
    assert done.stdout.startswith("cuLaunchKernel_ptsz 8\n" * 2)
    assert (log.launched, log.graph_launched) == (4, 1)


def test_threads_count_together(tmp_path: Path) -> None:
    _, (log,) = ran(tmp_path, driven("threads"), "threads", 5000)
    assert log.launched == 20000


def test_a_child_counts_for_itself_where_the_driver_is_its_own(tmp_path: Path) -> None:
    for way, expected in (("fork", [5, 3]), ("fork-before", [5])):
        (tmp_path / way).mkdir()
        done, logs = ran(tmp_path / way, driven(way), way, 3)
        assert done.returncode == 0
        # the stand-in lets a forked child launch, as the real driver does not: that gets a log of its own
        assert [log.launched for log in logs] == expected


def test_without_a_driver_there_is_no_log_and_none_is_feigned(tmp_path: Path) -> None:
    done, logs = ran(tmp_path, driven("none"), "none")
    assert (done.returncode, done.stdout, logs) == (0, "no driver\n", [])


def test_a_folder_that_is_gone_changes_nothing_for_the_application(tmp_path: Path) -> None:
    done, logs = ran(tmp_path / "gone", driven("dlsym"), "dlsym", 2)
    assert (done.returncode, logs) == (0, [])


def test_who_asks_for_the_next_function_gets_the_one_after_himself(tmp_path: Path) -> None:
    second = made("libsecond.so", "next.c", "-DSECOND", "-shared", "-fPIC")
    first = made("libfirst.so", "next.c", "-DFIRST", "-shared", "-fPIC", "-ldl")
    program = made("next", "next.c", "-Wl,--no-as-needed", str(first), str(second))
    done, _ = ran(tmp_path, program)
    assert done.stdout == "second\n"


def test_the_verb_counts_each_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(driver().parent))
    both = f"{driven('address')} address 4; {driven('linked')} linked 2"
    assert cli.run(["observe", "--count", "--json", "--", "/bin/sh", "-c", both]) == 0
    seen = json.loads(capfd.readouterr().out)["counts"]
    assert [(p["program"], p["launches"], p["graph_launches"]) for p in seen["processes"]] == [
        (str(driven("address")), 6, 1), (str(driven("linked")), 4, 1),
    ]  # fmt: skip
    assert cli.run(["observe", "--count", "--", "/bin/sh", "-c", both]) == 0
    assert "10 kernel launches, 2 launches of graphs" in capfd.readouterr().out
    assert not list(tmp_path.glob(".warpsmith/observed/*"))


@pytest.mark.parametrize(
    ("app", "status", "said"),
    [
        (("true",), 2, "no process of it that takes preloaded libraries started the CUDA driver"),
        (("/bin/sh", "-c", "exit 7"), 1, "ended with status 7"),
    ],
)
def test_the_verb_says_that_nothing_was_launched_or_what_went_wrong(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    app: tuple[str],
    status: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["observe", "--count", "--", *app]) == status
    assert said in capfd.readouterr().out


def test_counting_and_more_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["observe", "--count", "--overhead", "--", "true"]) == 3
    assert "--count only counts" in capfd.readouterr().err


def test_what_was_preloaded_before_is_still(tmp_path: Path) -> None:
    variables = counting(tmp_path / "a.so", tmp_path, {"LD_PRELOAD": "/opt/b.so", "A": "1"})
    assert (variables["LD_PRELOAD"], variables["A"]) == (f"{tmp_path}/a.so:/opt/b.so", "1")


def test_a_path_that_the_loader_would_take_apart_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="a blank or a colon"):
        counting(tmp_path / "two words" / "a.so", tmp_path, {})


def test_a_counter_that_does_not_build_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "count.cpp").write_text("int main( {\n")
    monkeypatch.setattr(building, "SOURCES", tmp_path)
    with pytest.raises(BuildFailed, match="counts launches does not build"):
        counter(tmp_path / "cache")
