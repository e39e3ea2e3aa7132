"""``kill -9`` of an integration at random moments: the next command always ends in one of the two states."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.app.products import binary, candidate, product, tree
from warpsmith.app.commands import end_leftovers, leftovers
from warpsmith.app.journal import Journal
from warpsmith.store.blobs import Blobs

PROGRAM = Path(sys.executable).parent / "warpsmith"
MOMENTS = 20


def command(root: Path, *words: str) -> subprocess.Popen[bytes]:
    told = (str(PROGRAM), "integrate", *words, "--app", str(root / "app.toml"))
    return subprocess.Popen(told, cwd=root.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def journal(root: Path) -> Journal:
    return Journal(next(iter((root.parent / ".warpsmith/apps").glob("*/journal.jsonl")), root / "none"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_any_moment_the_next_command_ends_in_one_of_two_states(tmp_path: Path) -> None:
    (tmp_path / ".warpsmith").mkdir()
    # builds that take a moment, and objects that a kill leaves half-written
    slow = 'build = "sleep 0.05; make -s && sleep 0.05"'
    root = product(tmp_path, ('build = ["make", "-s"]', slow))
    (root / "app.toml").write_text((root / "app.toml").read_text().replace('task = "task"\n', ""))
    candidate(root, Blobs(tmp_path / ".warpsmith/blobs"))
    subprocess.run(["make", "-s"], cwd=root, check=True)
    original, old_binary = tree(root), binary(root)
    text = (root / "src/product.c").read_text()

    for _ in range(2):  # the second time nothing has to be built as it is: what the others will take
        (root / "src/product.c").write_text(text)
        subprocess.run(["make", "-s"], cwd=root, check=True)
        before, began = journal(root).entries(), time.monotonic()
        first = command(root, str(root / "task/src"))
        while journal(root).entries() == before:
            time.sleep(0.005)
        started = time.monotonic() - began
        assert first.wait() == 0
        whole = time.monotonic() - began
    kept, new_binary = tree(root), binary(root)
    assert kept != original and new_binary != old_binary

    draw = random.Random(5)
    ends: dict[str, int] = {"as it was": 0, "kept": 0}
    interrupted = 0
    for attempt in range(4 * MOMENTS):
        if interrupted == MOMENTS:
            break
        (root / "src/product.c").write_text(text)
        subprocess.run(["make", "-s"], cwd=root, check=True)
        begun = journal(root).entries()
        running = command(root, str(root / "task/src"))
        while journal(root).entries() == begun and running.poll() is None:
            time.sleep(0.002)
        time.sleep(draw.random() * (whole - started))
        running.send_signal(signal.SIGKILL)
        running.wait()
        left = journal(root).open_work()
        interrupted += bool(left)
        if draw.random() < 0.4:  # the command that tidies is killed too
            tidying = command(root, "--recover")
            time.sleep(draw.uniform(0.2, 0.6))
            tidying.kill()
            tidying.wait()
        assert command(root, "--recover").wait() == 0
        assert journal(root).open_work() == ()
        assert not left or leftovers(left[0].work) == ()
        now, made = tree(root), binary(root)
        ends["as it was" if now == original else "kept"] += 1
        assert (now, made) in ((original, old_binary), (kept, new_binary)), f"attempt {attempt}: neither state"
        told = [root / "product", "--check", "--size", "65"]
        assert subprocess.run(told, cwd=root, capture_output=True, check=False).returncode == 0
    assert interrupted == MOMENTS and ends["as it was"] > 0
    # and the same command, run again, goes on to its end
    (root / "src/product.c").write_text(text)
    assert command(root, str(root / "task/src")).wait() == 0
    assert tree(root) == kept and binary(root) == new_binary


@pytest.mark.slow
def test_a_killed_build_goes_on_without_us_until_the_next_command_ends_it(tmp_path: Path) -> None:
    (tmp_path / ".warpsmith").mkdir()
    root = product(tmp_path, ('build = ["make", "-s"]', 'build = "[ -e slow ] && sleep 300; make -s"'))
    (root / "app.toml").write_text((root / "app.toml").read_text().replace('task = "task"\n', ""))
    (root / "slow").write_text("")
    running = command(root, str(root / "task/src"))
    deadline = time.monotonic() + 30
    while not (left := journal(root).open_work()) or not leftovers(left[0].work):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.kill()
    running.wait()
    work = left[0].work
    try:
        assert leftovers(work), "nobody ended it: its parent was killed"
        (root / "slow").unlink()
        assert command(root, "--recover").wait() == 0
        assert leftovers(work) == ()
    finally:
        end_leftovers(work)
