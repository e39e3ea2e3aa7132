"""Memory: a view of the ledger, merged with copies of itself without counting anything twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import BASELINE, ENTRY, KERNEL, campaign
from tests.knowledge.things import BROKEN, GIFT, WRONG, attempts, decided, run
from warpsmith.knowledge.memory import Attempt, Outcome, merge, overlay
from warpsmith.knowledge.recall import edit_of, remember
from warpsmith.model.campaign import Event, Finished, Opened
from warpsmith.model.profile import KernelProfile, Profile
from warpsmith.model.step import Explain


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    return run(tmp_path_factory.mktemp("ledger"))


def by_id(memory: tuple[Attempt, ...]) -> dict[str, Attempt]:
    return {a.candidate: a for a in memory}


def test_what_became_of_each_candidate_and_why(events: list[Event]) -> None:
    memory = by_id(remember(events))
    assert BASELINE.id not in memory, "the baseline is no attempt"
    gift = memory[GIFT.id]
    assert gift.outcome is Outcome.accepted and gift.why == "kept: the best so far" and gift.status == "passed"
    assert gift.speedup is not None and gift.low is not None and gift.high is not None
    assert gift.low < gift.speedup < gift.high and gift.pairs >= 10
    assert gift.over_baseline == pytest.approx(4, rel=0.01)
    assert (gift.edit, gift.rules, gift.parent) == ("vectorise", ("poor_coalescing", "low_ipc"), ENTRY.id)
    assert gift.changed == {"EXTRA": (None, 1), "TILE": (1, 8), "UNROLL": (1, 2)}
    wrong, broken = memory[WRONG.id], memory[BROKEN.id]
    assert (wrong.outcome, wrong.why) == (Outcome.rejected, "rejected: wrong_values: row 3")
    assert (broken.outcome, broken.why) == (Outcome.crashed, "rejected: build_failed: no such type")
    assert (wrong.edit, broken.edit) == ("fuse", "")
    assert wrong.speedup is None and wrong.pairs == 0
    swept = [a for a in memory.values() if a.edit == "sweep"]
    assert swept and all(a.memo and a.changed for a in swept if a.parameters != ENTRY.parameters)


def test_what_happened_outside_goes_over_what_the_campaign_said(events: list[Event]) -> None:
    told = [decided("accepted", "trial"), decided("deployed"), decided("rolled_back", reason="slower in the app")]
    gift = by_id(remember([*events, *told]))[GIFT.id]
    assert gift.outcome is Outcome.rolled_back
    assert gift.why == "kept: the best so far; integrate: rolled_back: slower in the app"
    assert by_id(remember([*events, *told[:2]]))[GIFT.id].outcome is Outcome.deployed
    short = by_id(remember([*events, decided("short_circuit")]))[GIFT.id]
    assert short.outcome is Outcome.short_circuit and not short.outcome.helped


def test_another_scope_is_another_campaign_and_decisions_belong_to_the_last(tmp_path: Path) -> None:
    first = run(tmp_path)
    again = run(tmp_path, judge="next")
    memory = [a for a in remember([*again, decided("deployed")]) if a.candidate == GIFT.id]
    assert len(again) > len(first) and len({a.campaign for a in memory}) == 2
    assert [a.outcome for a in memory] == [Outcome.accepted, Outcome.deployed]


def test_going_on_under_the_same_scope_is_the_same_campaign(tmp_path: Path) -> None:
    before = remember(run(tmp_path))
    after = remember(run(tmp_path, noise_floor=0.001))
    assert {a.campaign for a in before} == {a.campaign for a in after}
    assert {a.key for a in before} <= {a.key for a in after}


def test_two_ledgers_are_two_campaigns_even_where_all_else_is_equal(events: list[Event]) -> None:
    later = [e.model_copy(update={"at": 5.0}) if isinstance(e, Opened) else e for e in events]
    one, two = remember(events), remember(later)
    assert len(merge(one, two)) == len(one) + len(two)


def test_the_parents_bottleneck_and_what_became_of_the_prediction(tmp_path: Path) -> None:
    def profile(identity: str, sectors: float, sm: float) -> Finished:
        metrics = {"sectors_over_ideal": sectors, "duration": 1.0, "sm": sm, "pipe_fma": sm, "dram": 0.2}
        kernel = KernelProfile(kernel="k", grid=(1, 1, 1), block=(32, 1, 1), metrics=metrics)
        outcome = Profile(candidate=identity, tool="ncu", kernels=(kernel,))
        return Finished(step=Explain(candidate=identity, round=0), outcome=outcome, seconds=1.0, at=0.0)

    events = [*run(tmp_path), profile(ENTRY.id, 4.0, 0.9), profile(GIFT.id, 1.0, 0.9)]
    gift = by_id(remember(events))[GIFT.id]
    assert gift.bottleneck == "compute_bound"
    (checked,) = gift.checked
    assert (checked.rule, checked.metric, checked.hit) == ("poor_coalescing", "sectors_over_ideal", True)
    worse = [*events[:-1], profile(GIFT.id, 5.0, 0.9)]
    assert not by_id(remember(worse))[GIFT.id].checked[0].hit


@given(data=st.data())
def test_an_older_copy_of_a_ledger_adds_nothing_and_a_newer_one_wins(events: list[Event], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(events)))
    older, newer = remember(events[:cut]), remember(events)
    assert {a.key for a in older} <= {a.key for a in newer}
    assert merge(older, newer) == merge(newer, older) == merge(newer)
    assert overlay(older, newer) == merge(newer)
    assert overlay(newer, older) == merge(newer)


MANY = st.lists(attempts(), max_size=6)


@given(MANY, MANY, MANY)
def test_merging_does_not_depend_on_order_or_on_how_often(
    one: list[Attempt], two: list[Attempt], three: list[Attempt]
) -> None:
    whole = merge(one, two, three)
    assert whole == merge(three, one, two) == merge(merge(one, two), three) == merge(one, merge(three, two))
    assert whole == merge(whole, one, whole)
    assert len({a.key for a in whole}) == len(whole)


@pytest.mark.slow
@given(MANY, MANY)
def test_what_a_ledger_says_now_goes_over_what_was_derived_before(one: list[Attempt], two: list[Attempt]) -> None:
    told, copies = merge(one), {a.key: a for a in merge(two)}
    whole = {a.key: a for a in overlay(told, two)}
    assert all(whole[a.key] == a for a in told if a.key not in copies or copies[a.key].events <= a.events)
    assert whole.keys() == {a.key for a in (*one, *two)}


@pytest.mark.parametrize(
    ("memo", "edit"),
    [
        ("[vectorise] x", "vectorise"),
        (" [Split-K/2] x", "split-k/2"),
        ("x [late]", ""),
        ("[two words] x", ""),
        ("[]", ""),
        ("[" + "a" * 41 + "]", ""),
        ("", ""),
    ],
)
def test_the_kind_of_edit_is_the_word_at_the_head(memo: str, edit: str) -> None:
    assert edit_of(memo) == edit


def test_a_task_that_would_leave_its_folder_is_no_task() -> None:
    Attempt.model_validate(_least())
    with pytest.raises(ValueError, match="task"):
        Attempt.model_validate({**_least(), "task": "../x"})


def _least() -> dict[str, object]:
    c = campaign(KERNEL)
    return {
        "task": c.task_name, "campaign": "0" * 16, "tag": "main", "hardware": "cpu", "device": "d", "architecture": "a",
        "events": 1, "candidate": ENTRY.id, "origin": "entry", "outcome": "rejected", "status": "passed",
        "why": "",
    }  # fmt: skip
