"""Launchers ahead of their use: real processes with a program of ours instead of the launcher, no device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from warpsmith.judge.failures import WorkerLost
from warpsmith.judge.launching import LauncherProcess
from warpsmith.judge.memory import Arena
from warpsmith.judge.pool import Pool

PROGRAM = """
import json, os, sys, time
commands, answers = os.fdopen(int(sys.argv[1])), int(sys.argv[2])
commands.readline()
{body}
"""
READY = "time.sleep({}); os.write(answers, b'{{\"ready\": true}}\\n'); commands.readline()"


class Spawner:
    """Spawns programs, and remembers them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.body = READY.format(0)
        self.made: list[LauncherProcess] = []

    def __call__(self) -> LauncherProcess:
        program = self.folder / f"program-{len(self.made)}.py"
        program.write_text(PROGRAM.format(body=self.body))
        self.made.append(LauncherProcess({"uuid": "0" * 32}, program))
        return self.made[-1]


@pytest.fixture
def spawner(tmp_path: Path) -> Iterator[Spawner]:
    made = Spawner(tmp_path)
    yield made
    for process in made.made:
        process.stop()


class Leaf:
    """Memory that says whether it was given back."""

    def __init__(self, when: Callable[[], bool]) -> None:
        self.when = when
        self.closed_after: bool | None = None

    def close(self) -> None:
        self.closed_after = self.when()


def test_the_one_that_waited_longest_comes_first(spawner: Spawner) -> None:
    pool = Pool(spawner)
    pool.ahead(3)
    pool.ahead(2)
    assert len(spawner.made) == 3
    assert pool.take() is spawner.made[0]
    assert pool.take() is spawner.made[1]
    pool.ahead(3)
    assert len(spawner.made) == 5
    pool.close()


def test_without_any_one_is_started(spawner: Spawner) -> None:
    pool = Pool(spawner)
    pool.take().ready(20.0)
    assert len(spawner.made) == 1


def test_what_a_measurement_expects_is_started_together_and_no_more_than_may_wait(spawner: Spawner) -> None:
    pool = Pool(spawner)
    pool.expect(5, 3)
    assert len(spawner.made) == 3
    for _ in range(3):
        pool.take()
    assert len(spawner.made) == 3
    pool.take()
    assert len(spawner.made) == 5, "the two that are still expected, together"
    pool.take()
    pool.take()
    assert len(spawner.made) == 6, "one that nobody expected"
    pool.rest(2)
    assert len(spawner.made) == 8
    for _ in range(3):
        pool.take()
    assert len(spawner.made) == 9, "nothing is expected any more"
    pool.close()


def test_one_that_died_is_left_out(spawner: Spawner) -> None:
    pool = Pool(spawner)
    pool.ahead(2)
    spawner.made[0].stop()
    assert pool.take() is spawner.made[1]
    pool.close()


def test_settling_waits_until_all_are_ready_and_the_ended_ones_gone(spawner: Spawner) -> None:
    pool = Pool(spawner)
    spawner.body = READY.format(0.3)
    pool.ahead(2)
    pool.settle()
    ended = pool.take()
    leaf = Leaf(lambda: ended._child.returncode is not None)
    pool.leave(ended, [cast(Arena, leaf)])
    assert leaf.closed_after is None
    pool.settle()
    assert leaf.closed_after is True, "given back only once nobody maps it"
    pool.take().ready(0.0)  # it was asked already
    pool.close()


def test_one_that_cannot_start_is_nobodys_verdict(spawner: Spawner) -> None:
    pool = Pool(spawner)
    spawner.body = "sys.exit('no device')"
    pool.ahead(1)
    with pytest.raises(WorkerLost, match="no device"):
        pool.settle()
    assert not pool.waiting, "it is not waited for again"
    pool.close()


def test_closing_leaves_nothing(spawner: Spawner) -> None:
    pool = Pool(spawner)
    pool.ahead(2)
    pool.close()
    assert all(process._child.returncode is not None for process in spawner.made)
    assert not pool.waiting
    assert not pool.leaving
