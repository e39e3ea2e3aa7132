"""Control groups: one limit of memory and processes for all that runs in a sandbox, where this machine has them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from warpsmith.errors import BuildFailed
from warpsmith.sandbox import cgroup, layers
from warpsmith.sandbox.cell import PROCESSES, Cell
from warpsmith.sandbox.process import Process, start
from warpsmith.toolchains import compiler

MANY = """
import os, sys, time
for _ in range(6):
    if os.fork() == 0:
        held = bytearray(b"x") * (40 << 20)
        time.sleep(20)
        os._exit(0)
time.sleep(20)
"""
FORKS = """
import os, time
count = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(20)
            os._exit(0)
        count += 1
except OSError:
    print(count)
"""


@pytest.fixture(autouse=True)
def groups() -> None:
    if why := layers().lacking.get("memory"):
        pytest.skip(f"the layer 'memory' does not hold here: {why}")


def started(text: str, printed: int = subprocess.DEVNULL, memory_bytes: int = 1 << 30) -> Process:
    argv = (sys.executable, "-I", "-S", "-c", text)
    cell = Cell(argv=argv, environment={"PATH": "/usr/bin:/bin"}, memory_bytes=memory_bytes)
    return start(cell, layers().how, stdout=printed)


def test_memory_is_counted_for_all_together() -> None:
    process = started(MANY, memory_bytes=128 << 20)
    try:
        assert process.group is not None
        for _ in range(200):
            if process.ran_out or process.wait(0.05) is not None:
                break
        assert process.ran_out == 128 << 20
    finally:
        path = process.group.path if process.group else Path()
        assert process.end()
    assert not path.exists()


def test_what_stays_within_its_memory_is_left_alone() -> None:
    process = started("held = bytearray(b'x') * (40 << 20)", memory_bytes=128 << 20)
    try:
        assert process.wait(20.0) == 0
        assert process.ran_out == 0
    finally:
        process.end()


def test_processes_are_counted_for_all_together() -> None:
    with tempfile.TemporaryFile() as printed:
        process = started(FORKS, printed.fileno())
        try:
            assert process.wait(20.0) == 0
        finally:
            process.end()
        printed.seek(0)
        assert 100 < int(printed.read()) < PROCESSES


def test_a_compiler_that_takes_too_much_is_the_sources_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(compiler.LIMITS, "RLIMIT_AS", 64 << 20)
    greedy = "import os, time\nheld = [os.fork() or bytearray(b'x') * (30 << 20) for _ in range(3)]\ntime.sleep(2)\n"
    (tmp_path / "k.py").write_text(greedy)
    with pytest.raises(BuildFailed, match="MiB of memory"):
        compiler.run((sys.executable, "-I", "-S", str(tmp_path / "k.py")), tmp_path)


def test_a_group_whose_judge_is_gone_is_removed() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    home = cgroup._home()
    assert home is not None
    left, mine = home / f"{cgroup.PREFIX}{gone.pid}-7", home / f"{cgroup.PREFIX}{os.getpid()}-test"
    left.mkdir()
    mine.mkdir()
    cgroup._sweep(home)
    assert not left.exists()
    assert mine.exists()
    mine.rmdir()


def test_nothing_is_left_when_a_sandbox_cannot_be_made() -> None:
    process = start(Cell(argv=("/no/such/program",), environment={}), layers().how)
    path = process.group.path if process.group else Path()
    process.end()
    assert not path.exists()
