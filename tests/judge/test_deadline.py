"""Who used the time of a step up: the judge says so before the executor ends it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes import BASELINE, ENTRY
from tests.projects import project
from warpsmith.errors import WarpsmithError
from warpsmith.judge.deadline import SHARE, Deadline
from warpsmith.judge.evidence import Side
from warpsmith.model.evaluation import Effort, Status

LIMIT_S = 100.0
Late = Callable[..., tuple[Deadline, list[Side]]]


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Late:
    """A deadline that has just passed, with what each side used: turns, and share of the time until then. The clock is
    set, not waited for: on a busy machine a wait takes longer than it should, and nobody's share would be what is said.
    """

    def passed(*used: tuple[int, float]) -> tuple[Deadline, list[Side]]:
        sides = [
            Side(c, Path(), turns=turns, spent_s=share * SHARE * LIMIT_S)
            for c, (turns, share) in zip((ENTRY, BASELINE, BASELINE), used, strict=False)
        ]
        deadline = Deadline(LIMIT_S, tuple(sides))
        now = time.monotonic() + SHARE * LIMIT_S
        monkeypatch.setattr("warpsmith.judge.deadline.time", SimpleNamespace(monotonic=lambda: now))
        return deadline, sides

    return passed


def test_there_is_time_at_first() -> None:
    assert Deadline(60.0, (Side(ENTRY, Path(), turns=1, spent_s=1e9),)).check() is None


def test_the_slow_side_is_charged(late: Late) -> None:
    deadline, (slow, _) = late((10, 0.9), (10, 0.05))
    assert deadline.check() is slow
    failure = deadline.failure(slow)
    assert failure.status is Status.timed_out
    assert "10 starts and calls" in failure.detail


def test_it_is_the_pace_that_counts_not_how_often_it_was_called(late: Late) -> None:
    deadline, _ = late((30, 0.6), (10, 0.2))
    with pytest.raises(WarpsmithError, match="no side alone"):
        deadline.check()


@pytest.mark.parametrize("used", [((10, 0.45), (10, 0.45)), ((10, 0.1), (10, 0.01))])
def test_equal_sides_and_a_slow_judge_are_nobodys_fault(late: Late, used: tuple[tuple[int, float], ...]) -> None:
    deadline, _ = late(*used)
    with pytest.raises(WarpsmithError, match="step_timeout_s"):
        deadline.check()


def test_a_slow_rival_is_charged_itself(late: Late) -> None:
    deadline, (_, rival) = late((10, 0.05), (10, 0.9))
    assert deadline.check() is rival


def test_alone_a_side_is_charged_with_all(late: Late) -> None:
    deadline, (only,) = late((3, 0.8))
    assert deadline.check() is only


@pytest.mark.slow
def test_a_real_candidate_that_dawdles_gets_its_verdict_before_the_executor_ends_the_step(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"call_timeout_s": 3.0, "step_timeout_s": 12.0, "attempts": 1}
    space = project(tmp_path, **settings)
    known = space.task("my/axpy")
    text = (
        "#include <stdint.h>\n#include <unistd.h>\n"
        "void kernel(const float *x, const float *y0, float *y, int64_t n, float alpha)\n"
        "{ usleep(1500000); for (int64_t i = 0; i < n; i++) y[i] = alpha * x[i] + y0[i]; }\n"
    )
    source = known.baseline.sources[0].model_copy(update={"content": space.blobs.put(text.encode())})
    slow = known.baseline.model_copy(update={"sources": (source,)})
    evaluation = space.measure(known, space.target(known), slow, known.baseline, Effort.screen, name="late")
    assert evaluation.status is Status.timed_out
    assert "starts and calls of it took" in evaluation.detail
