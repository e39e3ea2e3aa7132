"""The line before a device with real processes: nobody is overtaken, and the dead stand in nobody's way."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from warpsmith.execute import line as line_module
from warpsmith.execute.line import Ticket, held, in_line
from warpsmith.execute.local import LocalExecutor, Session, device_line

SOON_S = 60
"""What is waited for here comes in milliseconds; a busy machine may take its time."""
TURNS = 40
CONTENDER = """
import os, sys, time
from pathlib import Path
from warpsmith.execute.line import held, in_line
line, log, turns, together = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
for turn in range(turns):
    with held(line):
        until = time.monotonic() + 60
        while turn < turns - 1 and len(in_line(line)) < together and time.monotonic() < until:
            time.sleep(0.001)
        seen = " ".join(str(t.process) for t in in_line(line))
        with log.open("a") as file:
            file.write(seen + "\\n")
"""
WAITER = """
import sys, time
from pathlib import Path
from warpsmith.execute.line import held
with held(Path(sys.argv[1])):
    with open(sys.argv[2], "a") as log:
        log.write(sys.argv[3] + "\\n")
    if sys.argv[3] == "stays":
        time.sleep(600)
"""


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    made: list[subprocess.Popen[bytes]] = []

    def start(script: str, *words: object) -> subprocess.Popen[bytes]:
        made.append(subprocess.Popen([sys.executable, "-c", script, *map(str, words)]))
        return made[-1]

    yield start
    for process in made:
        process.kill()
        process.wait()


def until(there: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON_S
    while not there():
        assert time.monotonic() < end
        time.sleep(0.002)


def waiting(line: Path) -> list[int]:
    return [t.process for t in in_line(line)] if line.exists() else []


@pytest.mark.parametrize("together", [3, 1], ids=["always contended", "as it comes"])
def test_nobody_who_waits_is_overtaken(
    tmp_path: Path, started: Callable[..., subprocess.Popen[bytes]], together: int
) -> None:
    """Three in tight loops. Each turn's line is kept, and the turns that follow are those of that line, in its order:
    so whoever waits has a turn after at most as many turns as there are before it.
    """
    log = tmp_path / "log"
    three = [started(CONTENDER, tmp_path / "line", log, TURNS, together) for _ in range(3)]
    assert [p.wait(SOON_S) for p in three] == [0, 0, 0]
    lines = [[int(p) for p in text.split()] for text in log.read_text().splitlines()]
    assert len(lines) == 3 * TURNS and {first for first, *_ in lines} == {p.pid for p in three}
    order = [first for first, *_ in lines]
    for at, seen in enumerate(lines):
        assert order[at : at + len(seen)] == seen, f"turn {at}"
    if together == 3:
        contended = order[: 3 * (TURNS - 1)]
        assert all(len(set(contended[at : at + 3])) == 3 for at in range(len(contended) - 2)), "in turns, exactly"
    assert list((tmp_path / "line").iterdir()) == []


def test_a_killed_waiter_stands_in_nobodys_way(tmp_path: Path, started: Callable[..., subprocess.Popen[bytes]]) -> None:
    """And whoever was behind it does not go before those who were before it."""
    line, log = tmp_path / "line", tmp_path / "log"
    with held(line):
        first = started(WAITER, line, log, "first")
        until(lambda: len(waiting(line)) == 2)
        second = started(WAITER, line, log, "second")
        until(lambda: len(waiting(line)) == 3)
        first.kill()
        first.wait()
        until(lambda: len(list(line.iterdir())) == 2)
        assert waiting(line) == [os.getpid(), second.pid]
        with log.open("a") as file:
            file.write("let go\n")
    assert second.wait(SOON_S) == 0
    assert log.read_text().split("\n") == ["let go", "second", ""]


def test_a_killed_holder_lets_go_to_the_next(tmp_path: Path, started: Callable[..., subprocess.Popen[bytes]]) -> None:
    line, log = tmp_path / "line", tmp_path / "log"
    holder = started(WAITER, line, log, "stays")
    until(log.exists)
    waiters = []
    for number in (1, 2):
        waiters.append(started(WAITER, line, log, number))
        until(lambda: len(waiting(line)) == len(waiters) + 1)
    holder.kill()
    assert [p.wait(SOON_S) for p in waiters] == [0, 0]
    assert log.read_text().split() == ["stays", "1", "2"]
    assert list(line.iterdir()) == []


def test_what_a_kill_left_is_cleared_away_and_strange_files_are_none(tmp_path: Path) -> None:
    line = tmp_path / "line"
    line.mkdir()
    (line / "3.1").touch()
    (line / "note.txt").touch()
    assert in_line(line) == ()
    with held(line):
        assert in_line(line) == (Ticket(4, os.getpid()),)
        assert {p.name for p in line.iterdir()} == {f"4.{os.getpid()}", "note.txt"}


def test_threads_of_one_process_stand_in_line_too(tmp_path: Path) -> None:
    inside: list[int] = []

    def work(_: int) -> int:
        with held(tmp_path / "line"):
            inside.append(1)
            most = len(inside)
            time.sleep(0.001)
            inside.pop()
            return most

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(work, range(12))) == {1}


def test_a_waiter_says_whom_it_waits_for_once_for_each(
    tmp_path: Path, started: Callable[..., subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(line_module, "PATIENCE_S", 0.0)
    line, log = device_line("some device"), tmp_path / "log"
    assert line == device_line("some device") != device_line("another")
    said: list[str] = []

    def tell(what: str) -> None:
        said.append(what)
        holder.kill()

    executor = LocalExecutor(
        tmp_path / "steps", Session(("/no/such/judge",), tmp_path / "judge"), "some device", 10, tell
    )
    for _ in range(2):
        log.unlink(missing_ok=True)
        holder = started(WAITER, line, log, "stays")
        until(log.exists)
        executor.run("a" * 64, 0, lambda folder: None)
        told = f"waiting for the device: process {holder.pid} ({sys.executable} -c"
        assert said[-1].startswith(told) and said[-1].endswith("has it")
    before = (Ticket(1, holder.pid), Ticket(2, holder.pid))
    executor._waits(before)
    assert len(said) == 2, "once for each process, however many steps wait"
    executor._waits((Ticket(1, os.getpid()), *before))
    assert said[-1].endswith("has it, and 2 more are before this one")
