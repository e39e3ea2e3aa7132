"""kill -9 at random moments: of the campaign, of the judge, of a worker. Nothing is lost, nothing is measured twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from warpsmith.analyse.standing import standing
from warpsmith.judge.failures import MOST_KILLS
from warpsmith.model.campaign import Finished
from warpsmith.model.evaluation import Evaluation
from warpsmith.model.step import Fault
from warpsmith.store.history import History, fold
from warpsmith.store.ledger import read_events
from warpsmith.surface.stamp import stamp

DRIVER = Path(__file__).parent / "driver.py"
KILLS = 50
ROOT = Path(__file__).parent.parent.parent


def project(folder: Path) -> Path:
    stamp(folder / "tasks", "my/axpy", "kernel", "cpu")
    task = folder / "tasks/my/axpy/task.toml"
    task.write_text(task.read_text().replace("4194304", "4096").replace("1000003", "1003"))
    return folder


def start(folder: Path) -> subprocess.Popen[bytes]:
    log = (folder / "driver.log").open("ab")
    with log:
        return subprocess.Popen(
            [sys.executable, str(DRIVER), str(folder)], cwd=folder, stdout=log, stderr=log,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip


def ledger(folder: Path) -> Path:
    return folder / ".warpsmith/campaigns/my/axpy/main/ledger.jsonl"


def children(process: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            found += [int(x) for x in task.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def victims(campaign: int) -> dict[str, list[int]]:
    judges = children(campaign)
    return {"campaign": [campaign], "judge": judges, "worker": [w for j in judges for w in children(j)]}


def kill_one(campaign: subprocess.Popen[bytes], rng: random.Random, kills: dict[str, int], in_a_row: int) -> str | None:
    """Kill a process of a random kind, half the time of the kind killed least; None where none of it lives now.

    ``in_a_row`` workers were killed last. One judge that loses a candidate's worker three times in a row calls that the
    candidate's own doing (judge/failures.py), so after two the judge or the campaign is next.
    """
    kinds = [k for k in kills if k != "worker" or in_a_row < MOST_KILLS - 1]
    kind = min(kinds, key=lambda k: kills[k]) if rng.random() < 0.5 else rng.choice(kinds)
    alive = victims(campaign.pid)[kind]
    if not alive:
        return None
    try:
        os.kill(rng.choice(alive), signal.SIGKILL)
    except ProcessLookupError:
        return None
    return kind


def facts(h: History) -> list[tuple[object, ...]]:
    """What must not depend on what was killed: every pairing in order, its status and its samples."""
    return [
        (pairing, e.status, tuple((w.workload, w.status, w.metrics) for w in e.workloads))
        for pairing, e in h.evaluations.items()
    ]


@pytest.mark.slow
def test_fifty_kills_change_nothing(tmp_path: Path) -> None:
    undisturbed = project(tmp_path / "undisturbed")
    assert start(undisturbed).wait() == 0, (undisturbed / "driver.log").read_text()
    wanted = fold(read_events(ledger(undisturbed)))

    folder = project(tmp_path / "disturbed")
    rng = random.Random(20261121)
    kills: dict[str, int] = {"campaign": 0, "judge": 0, "worker": 0}
    running = start(folder)
    in_a_row = 0
    while sum(kills.values()) < KILLS:
        time.sleep(rng.uniform(0.0, 0.5) if running.poll() is None else 0.0)
        if running.poll() is not None:
            if running.returncode == 0:  # it finished between kills: begin a campaign of the same kind anew
                _expect_equal(folder, wanted)
                folder = project(tmp_path / f"disturbed-{sum(kills.values())}")
            running = start(folder)
            continue
        if (kind := kill_one(running, rng, kills, in_a_row)) is not None:
            kills[kind] += 1
            in_a_row = in_a_row + 1 if kind == "worker" else 0
            if kind == "campaign":
                running.wait()
    while running.wait() != 0:
        assert running.returncode == -signal.SIGKILL, (folder / "driver.log").read_text()[-3000:]
        running = start(folder)
    _expect_equal(folder, wanted)
    assert min(kills.values()) >= 5, kills


def _expect_equal(folder: Path, wanted: History) -> None:
    events = read_events(ledger(folder))
    h = fold(events)
    assert facts(h) == facts(wanted)
    assert list(h.candidates) == list(wanted.candidates)
    assert standing(h) == standing(wanted)
    finished = [e.outcome for e in events if isinstance(e, Finished) and isinstance(e.outcome, Evaluation)]
    assert len(finished) == len(h.evaluations), "a result stands in the ledger twice"
    lines = (folder / ".warpsmith/finished.log").read_text().splitlines()
    assert len(lines) == len(set(lines)), "a finished measurement was made again"
    faults = [e.outcome for e in events if isinstance(e, Finished) and isinstance(e.outcome, Fault)]
    assert all(f.what.startswith(("the judge died", "the worker was lost")) or "killed" in f.detail for f in faults)
