"""Who leads: chains through deposed leaders, cycles, failures, and what is left to do."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import BASELINE, ENTRY, FAULT, KERNEL, campaign, candidate, failed, measured
from warpsmith.analyse.standing import Standing, direct, standing
from warpsmith.model.base import digest
from warpsmith.model.campaign import Finished, Opened
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Build, Effort, Evaluation, Metric, Status
from warpsmith.model.head import Direction, Guardrail
from warpsmith.model.step import Measure, Outcome, Proposal, Propose
from warpsmith.store.history import History

C = campaign(KERNEL)
A, B, D, PEER = (candidate(name) for name in ("a", "b", "d", "peer"))
TIMES = {BASELINE.id: 1.0, ENTRY.id: 0.9, A.id: 0.5, B.id: 0.4, D.id: 0.39, PEER.id: 0.2}


def opened(*more: Candidate, **changes: object) -> History:
    return History() + Opened(campaign=campaign(KERNEL, **changes), candidates=(BASELINE, ENTRY, *more), at=0)


def step(x: Candidate, rival: Candidate, effort: Effort = Effort.confirm, attempt: int = 0) -> Measure:
    return Measure(candidate=x.id, rival=rival.id, effort=effort, round=0, attempt=attempt)


def with_outcome(h: History, s: Measure, outcome: Outcome) -> History:
    return h + Finished(step=s, outcome=outcome, seconds=1, at=0)


def with_measured(h: History, s: Measure, times: dict[str, float] | None = None) -> History:
    known = times or TIMES
    return with_outcome(h, s, measured(KERNEL, s, h, lambda c: known[c.id]))


def chain(h: History, *steps: Measure) -> Standing:
    for s in steps:
        h = with_measured(h, s)
    return standing(h)


def test_at_the_beginning_the_baseline_leads() -> None:
    s = standing(opened())
    assert s.best == BASELINE.id
    assert s.leaders == (BASELINE.id,)
    assert s.untried == (ENTRY.id,)
    assert not s.baseline_checked
    assert s.unproved == ()


def test_an_estimate_is_chained_through_a_deposed_leader() -> None:
    """B was screened against A, which was confirmed against the baseline: 0.8 of 0.5."""
    s = chain(opened(A, B), step(A, BASELINE), step(B, A, Effort.screen))
    assert s.estimates[A.id] == pytest.approx(math.log(0.5), abs=1e-3)
    assert s.estimates[B.id] == pytest.approx(math.log(0.4), abs=2e-3)
    assert s.best == A.id
    assert s.contenders == (B.id,), "a screen alone makes no leader"
    s = chain(opened(A, B, D), step(A, BASELINE), step(B, A), step(D, A, Effort.screen))
    assert s.best == B.id
    assert s.leaders == (BASELINE.id, A.id, B.id)
    assert s.estimates[D.id] == pytest.approx(math.log(0.39), abs=3e-3)
    assert s.contenders == (D.id,), "screened against A, and yet a contender to B"


def test_what_only_beats_a_deposed_leader_is_no_contender() -> None:
    s = chain(opened(A, B), step(A, BASELINE, Effort.screen), step(B, BASELINE))
    assert s.best == B.id
    assert s.contenders == ()


def test_what_was_proved_against_a_deposed_leader_does_not_lead() -> None:
    """A is confirmed against the baseline after B was, which is better by the chain."""
    s = chain(opened(A, B), step(B, BASELINE), step(A, BASELINE))
    assert s.leaders == (BASELINE.id, B.id)


def test_a_proof_replaces_a_screen_and_not_the_other_way() -> None:
    h = with_measured(opened(A), step(A, BASELINE))
    optimistic = {**TIMES, A.id: 0.1}
    h = with_measured(h, step(A, BASELINE, Effort.screen), optimistic)
    assert standing(h).estimates[A.id] == pytest.approx(math.log(0.5), abs=1e-3)
    h = with_measured(h, step(A, BASELINE, Effort.promote), {**TIMES, A.id: 0.25})
    assert standing(h).estimates[A.id] == pytest.approx(math.log(0.25), abs=1e-3)


def test_a_chain_that_never_reaches_the_baseline_estimates_nothing() -> None:
    s = chain(opened(A, B), step(A, B), step(B, A))
    assert set(s.estimates) == {BASELINE.id}
    assert s.best == BASELINE.id


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from([Effort.screen, Effort.confirm])), max_size=14
    )
)
@settings(deadline=None, max_examples=80)
def test_any_tangle_of_pairs_has_a_standing(pairs: list[tuple[int, int, Effort]]) -> None:
    """Cycles included: it ends, the estimates are of known candidates, the leader was proved."""
    everyone = (BASELINE, ENTRY, A, B, D)
    h = opened(A, B, D)
    for x, rival, effort in pairs:
        h = with_measured(h, step(everyone[x], everyone[rival], effort))
    s = standing(h)
    assert set(s.estimates) <= set(h.candidates)
    assert s.estimates[BASELINE.id] == 0.0
    assert s.best == s.leaders[-1]
    assert len(set(s.leaders)) == len(s.leaders)
    proved = {x for x, _, effort in h.evaluations if effort is Effort.confirm}
    assert set(s.leaders) - {BASELINE.id} <= proved
    for identity, log_time in s.estimates.items():
        assert log_time == pytest.approx(math.log(TIMES[identity]), abs=0.01)
    assert standing(h) == s


def test_a_leader_that_fails_as_a_rival_is_none_and_carries_nobody() -> None:
    h = with_measured(opened(A, B), step(A, BASELINE))
    h = with_measured(h, step(B, A, Effort.screen))
    assert standing(h).best == A.id
    broken = failed(KERNEL, step(D, A), Status.wrong_values).model_copy(
        update={"rival_status": Status.wrong_values, "rival_detail": "row 9"}
    )
    h = with_outcome(h, step(D, A), broken)
    s = standing(h)
    assert s.failed == {A.id: "wrong_values: row 9"}, "and D is not to blame"
    assert s.best == BASELINE.id
    assert A.id not in s.estimates
    assert B.id not in s.estimates
    assert B.id in s.untried, "what stood on it is measured anew"


def test_a_failed_candidate_is_named_and_not_tried_again() -> None:
    h = with_outcome(opened(A), step(A, BASELINE, Effort.screen), failed(KERNEL, step(A, BASELINE), Status.crashed))
    s = standing(h)
    assert s.failed == {A.id: "crashed: scripted"}
    assert A.id not in s.untried


def test_a_baseline_that_fails_says_why() -> None:
    first = step(BASELINE, BASELINE, Effort.screen)
    s = standing(with_outcome(opened(), first, failed(KERNEL, first, Status.timed_out, "20 s")))
    assert s.baseline_failed == "timed_out: 20 s"
    assert s.baseline_checked


@pytest.mark.parametrize(("faults", "untried"), [(1, True), (2, True), (3, False)])
def test_a_candidate_whose_steps_are_lost_is_given_up_after_the_attempts(faults: int, untried: bool) -> None:
    h = opened()
    for attempt in range(faults):
        h = with_outcome(h, step(ENTRY, BASELINE, Effort.screen, attempt), FAULT)
    assert (ENTRY.id in standing(h).untried) is untried


def test_a_contender_whose_proofs_are_lost_is_given_up() -> None:
    h = with_measured(opened(A), step(A, BASELINE, Effort.screen))
    assert standing(h).contenders == (A.id,)
    for attempt in range(3):
        h = with_outcome(h, step(A, BASELINE, Effort.confirm, attempt), FAULT)
    assert standing(h).contenders == ()


def test_contenders_come_in_the_order_of_their_promise() -> None:
    screens = (step(A, BASELINE, Effort.screen), step(D, BASELINE, Effort.screen), step(B, BASELINE, Effort.screen))
    assert chain(opened(A, B, D), *screens).contenders == (D.id, B.id, A.id)


def test_peers_are_compared_and_never_lead() -> None:
    h = opened(A, PEER, peers={"vendor": PEER.id})
    s = chain(h, step(A, BASELINE), step(PEER, BASELINE))
    assert s.best == A.id
    assert s.unproved == ((PEER.id, A.id),)
    assert PEER.id not in s.untried
    assert PEER.id not in s.contenders
    assert chain(h, step(A, BASELINE), step(PEER, A)).unproved == ()


def test_the_best_is_proved_against_the_baseline_itself() -> None:
    s = chain(opened(A, B), step(A, BASELINE), step(B, A))
    assert s.best == B.id
    assert s.unproved == ((B.id, BASELINE.id),)


def test_rounds_without_a_new_best_are_counted_from_the_last_one() -> None:
    def answered(h: History, number: int) -> History:
        ask = Propose(round=number, parent=BASELINE.id, count=1)
        return h + Finished(step=ask, outcome=Proposal(candidates=()), seconds=0, at=0)

    h = answered(answered(opened(A), 0), 1)
    assert standing(h).unhelpful == 2
    h = with_measured(h, step(A, BASELINE))
    assert standing(h).unhelpful == 0
    assert standing(answered(h, 2)).unhelpful == 1


def test_direct_prefers_the_strongest_evidence() -> None:
    h = with_measured(opened(A), step(A, BASELINE, Effort.confirm))
    h = with_measured(h, step(A, BASELINE, Effort.screen))
    found = direct(h, A.id, BASELINE.id)
    assert isinstance(found, Evaluation)
    assert found.effort is Effort.confirm
    assert direct(h, BASELINE.id, A.id) is None


# --- what is published, and what is the same


def test_the_best_is_measured_once_more_and_that_run_is_published() -> None:
    h = with_measured(opened(A), step(A, BASELINE))
    assert standing(h).unpublished == ((A.id, BASELINE.id),)
    h = with_measured(h, step(A, BASELINE, Effort.promote), {**TIMES, A.id: 0.6})
    s = standing(h)
    assert s.unpublished == ()
    assert s.best == A.id
    run = s.published[A.id]
    assert run.number == 1
    assert run.comparison.overall.confidence == 0.95
    assert run.comparison.overall.speedup == pytest.approx(1 / 0.6, rel=1e-3), "not what the confirm said"


def test_a_leader_that_luck_made_is_deposed_by_its_published_run() -> None:
    h = with_measured(opened(A, B), step(A, BASELINE))
    h = with_measured(h, step(B, A), {**TIMES, B.id: 0.45})
    assert standing(h).best == B.id
    h = with_measured(h, step(B, BASELINE, Effort.promote), {**TIMES, B.id: 1.0})
    s = standing(h)
    assert s.best == A.id, "the one before leads again"
    assert B.id not in s.leaders and B.id not in s.contenders
    assert s.unpublished == ((A.id, BASELINE.id),)


def test_each_published_run_is_stricter_than_the_one_before() -> None:
    h = opened(A, B, D)
    for x in (A, B, D):
        h = with_measured(h, step(x, BASELINE, Effort.promote))
    runs = standing(h).published
    assert [runs[x.id].number for x in (A, B, D)] == [1, 2, 3]
    levels = [runs[x.id].comparison.overall.confidence for x in (A, B, D)]
    assert levels == pytest.approx([0.95, 0.975, 0.9875])
    outside = [(1 - level) / 2 for level in levels]
    assert sum(outside) < 0.05, "one-sided, and so for ever"


def test_a_published_run_that_was_lost_makes_the_next_stricter_all_the_same() -> None:
    failing = step(A, BASELINE, Effort.promote)
    h = with_outcome(opened(A, B), failing, failed(KERNEL, failing, Status.wrong_values))
    h = with_measured(h, step(B, BASELINE, Effort.promote))
    runs = standing(h).published
    assert set(runs) == {B.id}
    assert runs[B.id].number == 2


def test_a_run_that_cannot_be_made_is_given_up() -> None:
    h = with_measured(opened(A), step(A, BASELINE))
    for attempt in range(3):
        h = with_outcome(h, step(A, BASELINE, Effort.promote, attempt), FAULT)
    assert standing(h).unpublished == ()


def built(h: History, s: Measure, binary: str, times: dict[str, float] | None = None) -> History:
    """A measurement of a candidate that built to ``binary``."""
    known = times or TIMES
    found = measured(KERNEL, s, h, lambda c: known[c.id])
    build = Build(toolchain="c", command=("cc",), seconds=0, binary=digest(binary), binary_bytes=1)
    return with_outcome(h, s, found.model_copy(update={"build": build}))


def test_an_equal_binary_inherits_the_verdict_and_is_not_confirmed_again() -> None:
    h = built(opened(A, B), step(A, BASELINE, Effort.screen), "one")
    h = built(h, step(B, BASELINE, Effort.screen), "one", {**TIMES, B.id: 0.3})
    s = standing(h)
    assert s.twins == {B.id: A.id}
    assert s.contenders == (A.id,), "and the lucky screen of its twin counts for nothing"
    assert s.estimates[B.id] == s.estimates[A.id]
    h = built(h, step(A, BASELINE), "one")
    s = standing(h)
    assert s.best == A.id
    assert s.contenders == ()
    assert B.id not in s.untried


def test_a_twin_of_the_baseline_never_leads() -> None:
    h = built(opened(A), step(BASELINE, BASELINE, Effort.screen), "base")
    h = built(h, step(A, BASELINE, Effort.screen), "base")
    h = built(h, step(A, BASELINE), "base")
    s = standing(h)
    assert s.best == BASELINE.id
    assert s.contenders == ()
    assert s.estimates[BASELINE.id] == 0.0


def test_a_twin_of_what_failed_has_failed() -> None:
    first = step(A, BASELINE, Effort.screen)
    wrong = failed(KERNEL, first, Status.wrong_values).model_copy(
        update={"build": Build(toolchain="c", command=("cc",), seconds=0, binary=digest("one"), binary_bytes=1)}
    )
    h = with_outcome(opened(A, B), first, wrong)
    h = built(h, step(B, BASELINE, Effort.screen), "one")
    s = standing(h)
    assert s.failed == {A.id: "wrong_values: scripted", B.id: "wrong_values: scripted"}
    assert B.id not in s.estimates and B.id not in s.untried


def test_equal_binaries_that_are_launched_or_entered_otherwise_are_no_twins() -> None:
    other = A.model_copy(update={"entry": "another"})
    h = built(opened(A, other), step(A, BASELINE, Effort.screen), "one")
    h = built(h, step(other, BASELINE, Effort.screen), "one", {**TIMES, other.id: 0.4})
    assert standing(h).twins == {}


def test_a_peer_is_shown_even_if_it_is_a_twin() -> None:
    h = opened(A, PEER, peers={"vendor": PEER.id})
    h = built(h, step(A, BASELINE), "one")
    h = built(h, step(PEER, A), "one")
    assert standing(h).twins == {}


def guarded(first: float, second: float) -> Standing:
    """A is faster than the baseline, B faster than A; a guarded latency gets worse by these factors."""
    guard = Guardrail(metric="latency", limit=0.2)
    h = opened(A, B, guardrails=(guard,))
    for x, rival, worse in ((A, BASELINE, first), (B, A, second)):
        found = measured(KERNEL, step(x, rival), h, lambda c: TIMES[c.id])
        pairs = (1.0,) * Effort.confirm.pairs
        latency = Metric(
            name="latency", unit="s", direction=Direction.minimize,
            candidate=tuple(worse * x for x in pairs), rival=pairs,
        )  # fmt: skip
        suites = tuple(w.model_copy(update={"metrics": (*w.metrics, latency)}) for w in found.workloads)
        h = with_outcome(h, step(x, rival), found.model_copy(update={"workloads": suites}))
    return standing(h)


def test_a_guardrail_holds_beside_the_baseline_and_not_once_per_leader() -> None:
    assert guarded(1.1, 1.05).leaders == (BASELINE.id, A.id, B.id)
    s = guarded(1.15, 1.15)
    assert s.leaders == (BASELINE.id, A.id), "15 % beside A, which had lost 15 % already"
    assert s.broken == {B.id: ("small/latency", "large/latency")}
    assert guarded(0.9, 1.3).best == A.id, "more than the limit beside its own rival"
