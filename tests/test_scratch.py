"""Temporary folders: gone with their owner, whatever way it went, and never before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from warpsmith.sandbox.scratch import FRESH_S, scratch, sweep

HOLD = """
import sys, time
from pathlib import Path
from warpsmith.sandbox.scratch import scratch
with scratch("test-", Path(sys.argv[1])) as made:
    (made / "file").write_text("x")
    print(made, flush=True)
    time.sleep(100)
"""


@pytest.fixture(autouse=True)
def anew() -> None:
    sweep.cache_clear()


def age(folder: Path) -> None:
    """As if it had been there for a while."""
    before = time.time() - 2 * FRESH_S
    os.utime(folder, (before, before))


def held(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    owner = subprocess.Popen([sys.executable, "-c", HOLD, str(parent)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    return owner, Path(owner.stdout.readline().strip())


def test_it_goes_with_the_block(tmp_path: Path) -> None:
    with scratch("test-", tmp_path) as made:
        (made / "folder").mkdir()
        assert made.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_the_next_start_removes_what_a_killed_owner_left(tmp_path: Path) -> None:
    owner, left = held(tmp_path)
    age(left)
    assert sweep("test-", tmp_path) == 0, "its owner lives"
    assert (left / "file").exists()
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    with scratch("test-", tmp_path):
        assert left.exists(), "once per process is enough"
    sweep.cache_clear()
    with scratch("test-", tmp_path):
        assert not left.exists()


def test_what_is_fresh_or_foreign_stays(tmp_path: Path) -> None:
    fresh, other, link = tmp_path / "test-1", tmp_path / "other-1", tmp_path / "test-2"
    fresh.mkdir()
    other.mkdir()
    link.symlink_to(other)
    age(other)
    assert sweep("test-", tmp_path) == 0
    assert fresh.exists()
    assert other.exists()
