"""Where asks begin: failures that can be mended first, then the beam; and how a plan keeps several asks in flight."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.fakes import BASELINE, ENTRY, KERNEL, campaign, candidate, failed, measured
from warpsmith.analyse.lines import beam, mendable, tries
from warpsmith.analyse.standing import standing
from warpsmith.campaign import plan
from warpsmith.model.campaign import Budget, Campaign, Finished, Opened, Started, Submitted
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Effort, Status
from warpsmith.model.step import Measure, Proposal, Propose
from warpsmith.store.history import History


def told(**changes: object) -> Campaign:
    return campaign(KERNEL, **{"asks": 2, "beam": 3, "fixes": 8, "budget": Budget(rounds=6, patience=6), **changes})


def written(text: str, parent: Candidate) -> Candidate:
    return candidate(text).model_copy(update={"parent": parent.id, "memo": "[a] b"})


def opened(c: Campaign) -> History:
    h = History() + Opened(campaign=c, candidates=(BASELINE, ENTRY), at=0)
    return timed(timed(h, BASELINE, 1.0), ENTRY, 1.05)


def timed(h: History, given: Candidate, seconds: float) -> History:
    """Screened beside the baseline, which takes 1 s; confirmed where it is faster."""
    effort = Effort.confirm if seconds < 1 else Effort.screen
    step = Measure(candidate=given.id, rival=BASELINE.id, effort=effort, round=0)
    times = {given.id: seconds, BASELINE.id: 1.0}
    return h + Finished(step=step, outcome=measured(KERNEL, step, h, lambda c: times[c.id]), seconds=0, at=0)


def failing(h: History, given: Candidate, status: Status = Status.build_failed) -> History:
    step = Measure(candidate=given.id, rival=BASELINE.id, effort=Effort.screen, round=0)
    return h + Finished(step=step, outcome=failed(KERNEL, step, status), seconds=0, at=0)


def answered(h: History, step: Propose, *given: Candidate) -> History:
    return h + Started(step=step, at=0) + Finished(step=step, outcome=Proposal(candidates=given), seconds=0, at=0)


def asks(c: Campaign, h: History, free: int = 1) -> list[Propose]:
    return [s for s in plan(c, h, free) if isinstance(s, Propose)]


def test_two_asks_go_out_side_by_side_and_the_device_is_not_asked() -> None:
    c = told()
    h = opened(c)
    both = asks(c, h, free=0)
    assert [(s.round, s.role) for s in both] == [(0, "propose"), (1, "propose")]
    for step in both:
        h = h + Started(step=step, at=0)
    assert asks(c, h, free=0) == []
    h = h + Finished(step=both[1], outcome=Proposal(candidates=()), seconds=0, at=0)
    assert [s.round for s in asks(c, h, free=0)] == [2], "the first is still under way"


def test_a_killed_process_asks_again_for_what_was_under_way_and_for_nothing_twice() -> None:
    c = told()
    h = opened(c)
    first, second = asks(c, h)
    h = h + Started(step=first, at=0) + Started(step=second, at=0)
    h = h + Finished(step=second, outcome=Proposal(candidates=()), seconds=0, at=0)
    h = h + Opened(campaign=c, candidates=(BASELINE, ENTRY), at=1)
    again = asks(c, h)
    assert [s.round for s in again] == [0, 2]
    assert again[0].attempt == 1


def test_a_backlog_of_the_device_keeps_asks_waiting() -> None:
    c = told()
    h = opened(c)
    step = asks(c, h)[0]
    news = [written(f"kernel {n}", ENTRY) for n in range(3)]
    h = answered(h, step, *news)
    assert asks(c, h, free=1) == [], "two wait behind the one that is measured"
    h = timed(h, news[0], 1.1)
    assert len(asks(c, h, free=1)) == 2


def test_no_ask_goes_out_before_the_entry_was_looked_at() -> None:
    c = told()
    h = History() + Opened(campaign=c, candidates=(BASELINE, ENTRY), at=0)
    h = timed(h, BASELINE, 1.0)
    assert asks(c, h, free=1) == []


def test_rounds_in_flight_count_against_the_budget() -> None:
    c = told(asks=4, budget=Budget(rounds=3, patience=9))
    h = opened(c)
    assert len(asks(c, h)) == 3
    for step in asks(c, h):
        h = h + Started(step=step, at=0)
    h = h + Finished(
        step=Propose(round=0, parent=ENTRY.id, count=c.batch), outcome=Proposal(candidates=()), seconds=0, at=0
    )
    assert asks(c, h) == []


def test_a_failure_is_mended_before_anything_new_and_up_to_eight_times() -> None:
    c = told(asks=1, budget=Budget(rounds=1, patience=9))
    h = opened(c)
    bad = written("bad 0", ENTRY)
    h = failing(answered(h, asks(c, h)[0], bad), bad)
    seen = []
    while todo := asks(c, h):
        (step,) = todo
        seen.append((step.role, step.parent))
        bad = written(f"bad {len(seen)}", bad)
        h = failing(answered(h, step, bad), bad)
    assert [role for role, _ in seen] == ["fix"] * 8
    assert all(a != b for a, b in pairwise(p for _, p in seen)), "each mends what the last one made"
    assert tries(h, bad.id) == 8
    assert len({r.number for r in h.rounds}) == 9


def test_an_ask_without_an_answer_counts_as_a_try_of_its_line() -> None:
    c = told(asks=1, fixes=2)
    h = opened(c)
    bad = written("bad", ENTRY)
    h = failing(answered(h, asks(c, h)[0], bad), bad)
    for _ in range(2):
        (step,) = asks(c, h)
        assert (step.role, step.parent) == ("fix", bad.id)
        h = answered(h, step)
    assert asks(c, h)[0].role == "propose"


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.passed])
def test_whatever_is_a_mistake_is_mended_and_a_cheat_is_not(status: Status) -> None:
    c = told()
    h = opened(c)
    bad = written("bad", ENTRY)
    h = failing(answered(h, asks(c, h)[0], bad), bad, status)
    assert mendable(h, standing(h), c) == (() if status is Status.cheated else (bad.id,))


def test_what_was_handed_in_and_points_of_a_sweep_are_not_mended() -> None:
    c = told()
    h = opened(c)
    gift, point = candidate("gift"), ENTRY.at({"TILE": 16, "UNROLL": 1}, "[sweep] TILE=16")
    h = failing(h + Submitted(candidate=gift, at=0), gift)
    h = failing(answered(h, asks(c, h)[0], point), point)
    assert mendable(h, standing(h), c) == ()


def test_two_lines_are_mended_side_by_side_and_one_line_by_one_ask() -> None:
    c = told()
    h = opened(c)
    step = asks(c, h)[0]
    one, two = written("one", ENTRY), written("two", ENTRY)
    h = failing(answered(h, step, one), one)
    first = asks(c, h)
    assert [(s.role, s.parent) for s in first] == [("fix", one.id), ("propose", first[1].parent)]
    h = h + Started(step=first[0], at=0)
    h = failing(answered(h, first[1], two), two)
    assert [(s.role, s.parent) for s in asks(c, h)] == [("fix", two.id)]


def test_nothing_is_mended_once_money_is_spent_or_nothing_was_asked_for() -> None:
    for budget in (Budget(rounds=0), Budget(rounds=6, steps=1)):
        c = told(budget=budget)
        h = opened(told())
        bad = written("bad", ENTRY)
        h = failing(answered(h, asks(told(), h)[0], bad), bad)
        assert asks(c, h) == []


def test_the_beam_holds_the_fastest_kernels_once_each() -> None:
    c = told()
    h = opened(c)
    point = ENTRY.at({"TILE": 8, "UNROLL": 2}, "[sweep]")
    fast, near, slow = (written(t, ENTRY) for t in ("fast", "near", "slow"))
    h = answered(h, asks(c, h)[0], point, fast, near, slow)
    for given, seconds in ((point, 0.7), (fast, 0.75), (near, 0.8), (slow, 0.95)):
        h = timed(h, given, seconds)
    s = standing(h)
    assert s.best == point.id
    assert beam(h, s, 9) == (point.id, fast.id, near.id), "ENTRY has the point's text, and the others are much slower"
    assert beam(h, s, 2) == (point.id, fast.id)


def test_the_best_is_asked_from_most_and_the_others_too() -> None:
    c = told(asks=1, budget=Budget(rounds=30, patience=30))
    h = opened(c)
    first, second = written("first", ENTRY), written("second", ENTRY)
    h = timed(timed(answered(h, asks(c, h)[0], first, second), first, 0.8), second, 0.82)
    seen: dict[str, int] = {}
    for _ in range(12):
        (step,) = asks(c, h)
        seen[step.parent] = seen.get(step.parent, 0) + 1
        h = answered(h, step)
    assert seen == {first.id: 8, second.id: 4}


def test_the_sweep_asks_as_it_always_did() -> None:
    c = campaign(KERNEL)
    h = opened(c)
    (step,) = asks(c, h)
    assert (step.round, step.parent, step.role) == (0, standing(h).best, "propose")
    h = h + Started(step=step, at=0)
    assert asks(c, h) == [] and asks(c, opened(c), free=0) == []
