"""Compiler processes started ahead: real processes in the real sandbox, each used once, with what a compiler may do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from warpsmith.errors import BuildFailed, WarpsmithError
from warpsmith.sandbox import layers
from warpsmith.toolchains import spare
from warpsmith.toolchains.spare import Kind

PROGRAM = """
import json, os, sys, time
path = sys.stdin.readline().rstrip()
if not path: sys.exit(0)
os.chdir(os.path.join(os.path.dirname(path), "sources"))
job = json.load(open(path))
"""


@pytest.fixture
def kind(tmp_path: Path) -> Iterator[Kind]:
    program = tmp_path / "compiler.py"
    program.write_text(PROGRAM + "exec(open(job['source']).read())\n")
    yield Kind((sys.executable, "-I", str(program)), (program,), ())
    spare.close()


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "candidate"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "part.txt").write_text("and more")
    return folder


def compiled(kind: Kind, sources: Path, text: str, output: Path) -> str:
    (sources / "main.py").write_text(text)
    (sources / "main.py").chmod(0o600)  # a step's own files may be closed to the user inside
    spare.want(kind)
    spare.ahead()
    ready = spare.take(kind)
    assert ready is not None
    return ready.compile("cc", sources, {"source": "main.py"}, output)


WRITES = "print('a log'); open(job['output'], 'w').write(open('main.py').read()[:5] + open('below/part.txt').read())"


def test_it_compiles_and_is_gone(kind: Kind, sources: Path, tmp_path: Path) -> None:
    log = compiled(kind, sources, WRITES, tmp_path / "binary")
    assert log.strip() == "a log"
    assert (tmp_path / "binary").read_text() == "printand more"
    assert spare.take(kind) is None, "used once"


def test_the_next_one_knows_nothing_of_the_last(kind: Kind, sources: Path, tmp_path: Path) -> None:
    leaves = "open('/tmp/left', 'w').write('x'); print(os.listdir('/tmp')); " + WRITES
    first = compiled(kind, sources, leaves, tmp_path / "one")
    assert "left" in first
    again = compiled(kind, sources, "print(os.listdir('/tmp')); " + WRITES, tmp_path / "two")
    assert "'left'" not in again or "files" not in layers().how.layers


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "print('x.cu(1): error: no such thing'); sys.exit(1)",
            "cc ended with status 1: x.cu.1.: error: no such thing",
        ),
        ("pass", "cc left no binary"),
        ("os.symlink('/etc/hostname', job['output'])", "cc left no binary"),
        ("os.abort()", "cc ended with status -6"),
    ],
)
def test_what_fails_is_the_sources_doing(kind: Kind, sources: Path, tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BuildFailed, match=said):
        compiled(kind, sources, text, tmp_path / "binary")


def test_one_that_is_killed_from_outside_is_nobodys_doing(kind: Kind, sources: Path, tmp_path: Path) -> None:
    with pytest.raises(WarpsmithError, match="killed from outside") as raised:
        compiled(kind, sources, "os.kill(os.getpid(), 9)", tmp_path / "binary")
    assert not isinstance(raised.value, BuildFailed)


def test_another_kind_is_not_taken(kind: Kind) -> None:
    spare.want(kind)
    spare.ahead()
    assert spare.take(Kind((*kind.argv, "other"), kind.reads, ())) is None
    taken = spare.take(kind)
    assert taken is not None
    taken.close()


def test_one_that_died_meanwhile_is_not_taken(tmp_path: Path) -> None:
    program = tmp_path / "ends.py"
    program.write_text("")
    ends = Kind((sys.executable, "-I", str(program)), (program,), ())
    spare.want(ends)
    spare.ahead()
    deadline = time.monotonic() + 30
    while spare._waiting[0].alive and time.monotonic() < deadline:
        time.sleep(0.01)
    assert spare.take(ends) is None
    spare.close()


def test_nothing_is_started_that_nobody_wants_and_nothing_stays(kind: Kind) -> None:
    spare.ahead()
    assert spare.take(kind) is None
    before = set(os.listdir("/proc/self/fd"))
    spare.want(kind)
    spare.want(kind)
    spare.ahead()
    spare.ahead()
    assert len(spare._waiting) == 1
    folder = spare._waiting[0].folder
    spare.close()
    assert not folder.exists()
    assert set(os.listdir("/proc/self/fd")) == before


def test_folders_of_killed_processes_are_removed(kind: Kind, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    child = subprocess.Popen(["true"])
    child.wait()
    stale, ours, other = (tmp_path / f"{spare.PREFIX}{p}-x" for p in (child.pid, os.getpid(), "somebody"))
    for folder in (stale, ours, other):
        folder.mkdir()
    spare.want(kind)
    assert [folder.exists() for folder in (stale, ours, other)] == [False, True, True]
