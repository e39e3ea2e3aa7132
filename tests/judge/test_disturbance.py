"""Disturbed rounds: taken again, bounded, for both sides alike; undone where one side was disturbed far more often."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from tests.projects import project
from warpsmith.judge.disturbance import Disturbance, Rounds, centre
from warpsmith.judge.watch import LOST_S, LOST_SHARE, Watch
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Effort, Evaluation
from warpsmith.surface.workspace import Known, Workspace

AXPY = "void kernel(const float *x, const float *y0, float *y, int64_t n, float alpha)"
RIGHT = "for (int64_t i = 0; i < n; i++) y[i] = alpha * x[i] + y0[i];"
HEAD = "#include <sched.h>\n#include <stdint.h>\n#include <sys/wait.h>\n#include <time.h>\n#include <unistd.h>\n"


def test_a_disturbed_round_is_taken_again_whatever_its_times() -> None:
    rounds = Rounds(3)
    for times, disturbed in [((1.0, 1.0), False), ((9.0, 1.0), True), ((2.0, 1.0), False), ((3.0, 1.0), False)]:
        assert rounds.more
        rounds.add(times, disturbed=disturbed)
    assert not rounds.more
    assert rounds.sample() == pytest.approx((2.0, 1.0))
    assert rounds.first() == pytest.approx((2.0, 1.0))
    assert (rounds.dropped, rounds.endured) == (1, 0)


def test_no_more_than_as_many_again_are_taken() -> None:
    rounds = Rounds(3)
    while rounds.more:
        rounds.add((1.0 + len(rounds.taken), 1.0), disturbed=True)
    assert len(rounds.taken) == 6
    assert (rounds.dropped, rounds.endured) == (3, 3)
    assert rounds.sample() == pytest.approx((5.0, 1.0))
    assert rounds.first() == pytest.approx((2.0, 1.0))


ROUNDS = [(1.1, 1.0), (2.2, 2.0), (3.3, 3.0), (9.0, 1.0), (1.1, 1.0)]


def test_what_slows_a_whole_round_and_what_slows_one_call_move_nothing() -> None:
    mine, other = centre(ROUNDS)
    assert mine / other == pytest.approx(1.1)
    assert mine * other == pytest.approx(2.2 * 1.0)


def test_swapping_the_sides_swaps_the_times() -> None:
    for count in (3, 4, 5):
        mine, other = centre(ROUNDS[:count])
        assert centre([(b, a) for a, b in ROUNDS[:count]]) == pytest.approx((other, mine))


@pytest.mark.parametrize(
    ("candidate", "rival", "undone"),
    [(0, 0, False), (3, 0, False), (5, 0, False), (6, 0, True), (0, 6, True), (40, 40, False), (40, 10, True)],
)
def test_dropping_is_undone_where_one_side_was_disturbed_far_more_often(
    candidate: int, rival: int, undone: bool
) -> None:
    seen = Disturbance(rounds=140)
    for mine, theirs in [("x", "")] * candidate + [("", "x")] * rival:
        assert seen.see(mine, theirs)
    assert not seen.see("", "")
    record = seen.record()
    assert record is not None
    assert (record.candidate, record.rival, record.undone) == (candidate, rival, undone)
    assert ("first taken" in record.said) is undone


def test_without_a_timed_round_there_is_nothing_to_say() -> None:
    assert Disturbance().record() is None


def test_small_losses_are_the_price_of_a_call() -> None:
    watch = Watch(min(os.sched_getaffinity(0)))
    watch.begin()
    assert watch.end(1e-3, LOST_S / 2) in ("", "time stolen by the hypervisor")
    watch.begin()
    assert watch.end(1e-3, 1e-4) != ""
    watch.begin()
    assert watch.end(1.0, LOST_SHARE / 2) in ("", "time stolen by the hypervisor")
    assert any(c.startswith("core watched for: waits") for c in watch.conditions)
    watch.close()
    said = watch.conditions
    assert said == watch.conditions, "what was seen stays, after the counters are closed"
    assert not any("-" in c for c in said if c.startswith("processor pressure"))


def hog(core: int, ready: multiprocessing.synchronize.Event) -> None:
    os.sched_setaffinity(0, {core})
    ready.set()
    while True:
        pass


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return project(tmp_path_factory.mktemp("project"), call_timeout_s=5.0)


def variant(space: Workspace, known: Known, body: str) -> Candidate:
    text = f"{HEAD}{AXPY}\n{{ {body} }}\n"
    source = known.baseline.sources[0].model_copy(update={"content": space.blobs.put(text.encode())})
    return known.baseline.model_copy(update={"sources": (source,)})


def judged(space: Workspace, candidate: Candidate, rival: Candidate) -> Evaluation:
    known = space.task("my/axpy")
    evaluation = space.measure(known, space.target(known), candidate, rival, Effort.screen, name="disturbed")
    assert evaluation.passed, evaluation.detail
    return evaluation


SPIN = (
    "struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); double from = t.tv_sec + 1e-9 * t.tv_nsec, now; "
    "do { clock_gettime(CLOCK_MONOTONIC, &t); now = t.tv_sec + 1e-9 * t.tv_nsec; } while (now < from + %g); "
)


@pytest.mark.slow
def test_a_busy_neighbour_on_the_core_is_seen_and_its_rounds_are_taken_again(space: Workspace) -> None:
    """Calls of 6 ms, so that the scheduler lets the neighbour in during nearly each of them."""
    known = space.task("my/axpy")
    long = variant(space, known, SPIN % 6e-3 + RIGHT)
    ready = multiprocessing.get_context("spawn").Event()
    busy = multiprocessing.get_context("spawn").Process(
        target=hog, args=(max(os.sched_getaffinity(0)), ready), daemon=True
    )
    busy.start()
    try:
        assert ready.wait(30)
        evaluation = judged(space, long, long)
    finally:
        busy.kill()
        busy.join()
    found = evaluation.disturbed
    assert found is not None
    assert found.why["others had the core"] > 0
    assert found.dropped > 0
    assert found.dropped <= found.rounds
    assert found.dropped + found.kept <= found.candidate + found.rival <= 2 * (found.dropped + found.kept)
    assert any("disturbed rounds taken again" in c for c in evaluation.conditions)


def taken_from_a_sleeper() -> float:
    """The share of sleeps after which another sleeper, this thread, finds the judge's core taken."""
    before, sleeps, taken = os.sched_getaffinity(0), 100, 0
    os.sched_setaffinity(0, {max(before)})
    try:
        for _ in range(sleeps):
            waited = waited_ns()
            time.sleep(300e-6)
            taken += waited_ns() - waited > LOST_S * 1e9
    finally:
        os.sched_setaffinity(0, before)
    return taken / sleeps


def waited_ns() -> int:
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1])


def test_a_sleep_is_no_disturbance(space: Workspace) -> None:
    """One try of five with fewer than half of the rounds disturbed shows it, beside those in which any sleeper finds
    the core taken. Were a sleep itself a disturbance, it would be one in every round that is taken.
    """
    known = space.task("my/axpy")
    sleeper = variant(space, known, "usleep(300); " + RIGHT)
    tries = []
    for _ in range(5):
        before = taken_from_a_sleeper()
        found = judged(space, sleeper, known.baseline).disturbed
        assert found is not None
        others = max(before, taken_from_a_sleeper())
        tries.append((found, others))
        rounds = found.rounds + found.dropped
        if found.candidate < min(found.rounds / 2 + others * rounds, 0.9 * rounds):
            return
    pytest.fail(f"sleeps were seen as disturbances: {tries}")


@pytest.mark.slow
def test_a_candidate_cannot_shed_its_slow_calls_by_disturbing_them(space: Workspace) -> None:
    """Slow (1.2 ms) in six calls of ten, where it yields its core to a child; else 0.2 ms, beside a rival of 0.5 ms."""
    known = space.task("my/axpy")
    slow = (
        "static unsigned calls; if (++calls * 2654435761u % 100 < 60) {"
        "pid_t child = fork(); if (child == 0) {" + SPIN % 1e-3 + "_exit(0); }"
        "while (waitpid(child, 0, WNOHANG) == 0) sched_yield(); }"
        "{" + SPIN % 2e-4 + "}"
    )
    evaluation = judged(space, variant(space, known, slow + RIGHT), variant(space, known, SPIN % 5e-4 + RIGHT))
    found = evaluation.disturbed
    assert found is not None
    assert found.candidate > found.rival
    assert found.undone
    for result in evaluation.workloads:
        metric = result.metric("time")
        assert metric is not None
        assert sorted(metric.candidate)[1] > sorted(metric.rival)[1]


def test_the_record_survives_the_ledger(tmp_path: Path) -> None:
    seen = Disturbance(rounds=7, dropped=1)
    seen.see("others had the core", "")
    record = seen.record()
    assert record is not None
    assert type(record).model_validate_json(record.model_dump_json()) == record
