"""The contract of plan and optimize, on fakes of all four task kinds: before any judge, and whatever the judge."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import (
    BASELINE,
    ENTRY,
    FAULT,
    KERNEL,
    KINDS,
    SERVING,
    SPACE,
    FakeCrew,
    campaign,
    candidate,
    failed,
    ledger_path,
    measured,
    scripted_time,
)
from warpsmith.analyse.compare import Verdict, compare
from warpsmith.analyse.standing import standing
from warpsmith.campaign import optimize, plan
from warpsmith.errors import CampaignError
from warpsmith.model.campaign import Budget, Campaign, Finished, Opened, Started, Submitted
from warpsmith.model.evaluation import Effort, Status
from warpsmith.model.head import TaskHead
from warpsmith.model.step import Explain, Measure, Proposal, Propose, step_key
from warpsmith.store.history import History, fold
from warpsmith.store.ledger import Ledger, LedgerBusy, read_events

KNOWN = (BASELINE, ENTRY)


def run(folder: Path, c: Campaign, crew: FakeCrew, candidates=KNOWN) -> History:
    with Ledger(ledger_path(folder)) as ledger:
        return optimize(c, crew, ledger, candidates)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_ends_with_the_best_point_proved_against_the_baseline(kind: str, tmp_path: Path) -> None:
    task = KINDS[kind]
    h = run(tmp_path, campaign(task), FakeCrew(task))
    s = standing(h)
    assert h.candidates[s.best].parameters == {"TILE": 8, "UNROLL": 2}
    proof = h.evaluations[s.best, BASELINE.id, Effort.confirm]
    answer = compare(proof, campaign(task))
    assert answer is not None and answer.verdict is Verdict.faster
    assert answer.overall.speedup == pytest.approx(2.0, rel=0.01)
    assert not s.untried and not s.contenders and not s.unproved


def test_the_first_step_is_the_baseline_against_itself() -> None:
    c = campaign(KERNEL)
    h = History() + Opened(campaign=c, candidates=KNOWN, at=0)
    assert plan(c, h, 4) == [Measure(candidate=BASELINE.id, rival=BASELINE.id, effort=Effort.screen, round=0)]


def test_plan_is_pure_and_respects_free() -> None:
    c = campaign(KERNEL)
    h = History() + Opened(campaign=c, candidates=KNOWN, at=0)
    assert plan(c, h, 1) == plan(c, h, 1)
    assert plan(c, h, 0) == []


def test_a_baseline_that_fails_ends_the_campaign_with_its_status(tmp_path: Path) -> None:
    crew = FakeCrew(KERNEL, fail=lambda step: failed(KERNEL, step, Status.wrong_values, "row 3"))
    with pytest.raises(CampaignError, match="wrong_values: row 3"):
        run(tmp_path, campaign(KERNEL), crew)


def test_nothing_is_measured_twice_and_nothing_proposed_twice(tmp_path: Path) -> None:
    crew = FakeCrew(KERNEL)
    h = run(tmp_path, campaign(KERNEL, budget=Budget(rounds=50, patience=50)), crew)
    keys = [step_key(s) for s in crew.carried_out]
    assert len(keys) == len(set(keys))
    proposed = [c for r in h.rounds for c in r.candidates]
    assert len(proposed) == len(set(proposed))
    points = sum(1 for _ in SPACE.points())
    assert len(proposed) == points - 1, "the whole small space is enumerated, the entry being one of its points"


def test_a_failing_candidate_is_named_and_the_campaign_goes_on(tmp_path: Path) -> None:
    def fail(step: Measure):
        return failed(KERNEL, step, Status.crashed, "SIGSEGV") if step.candidate == ENTRY.id else None

    h = run(tmp_path, campaign(KERNEL), FakeCrew(KERNEL, fail=fail))
    s = standing(h)
    assert s.failed == {ENTRY.id: "crashed: SIGSEGV"}
    assert h.candidates[s.best].parameters == {"TILE": 8, "UNROLL": 2}


def test_a_leader_that_fails_as_a_rival_is_deposed(tmp_path: Path) -> None:
    """Found wrong only later, on inputs that it had not seen: what stood on it is measured anew."""
    h = run(tmp_path, campaign(KERNEL), FakeCrew(KERNEL, fail=_rival_fails))
    s = standing(h)
    assert ENTRY.id in s.failed and ENTRY.id not in s.leaders
    assert h.candidates[s.best].parameters == {"TILE": 8, "UNROLL": 2}


def _rival_fails(step: Measure):
    if step.rival != ENTRY.id:
        return None
    broken = failed(KERNEL, step, Status.wrong_values, "not this candidate's doing")
    return broken.model_copy(update={"rival_status": Status.wrong_values, "rival_detail": "row 9"})


def test_faults_are_tried_again_then_given_up_without_a_verdict(tmp_path: Path) -> None:
    seen: list[Measure] = []

    def fail(step: Measure):
        if step.candidate == ENTRY.id:
            seen.append(step)
            return FAULT
        return None

    h = run(tmp_path, campaign(KERNEL, budget=Budget(rounds=1)), FakeCrew(KERNEL, fail=fail))
    assert [s.attempt for s in seen] == [0, 1, 2]
    s = standing(h)
    assert ENTRY.id not in s.failed and ENTRY.id not in s.estimates
    assert len(h.rounds) == 1, "the campaign went on"


def test_a_lost_baseline_is_an_error_not_a_loop(tmp_path: Path) -> None:
    with pytest.raises(CampaignError, match="lost 3 times"):
        run(tmp_path, campaign(KERNEL), FakeCrew(KERNEL, fail=lambda step: FAULT))


def test_submissions_are_measured_like_any_other(tmp_path: Path) -> None:
    gift = candidate("gift", TILE=8, UNROLL=2, EXTRA=1)
    crew = FakeCrew(KERNEL, submissions=[Submitted(candidate=gift, by="agent", at=0)], time_of=_gift_is_best)
    h = run(tmp_path, campaign(KERNEL), crew)
    assert h.origins[gift.id] == "submitted"
    assert standing(h).best == gift.id


def _gift_is_best(c) -> float:
    return 0.25 if "EXTRA" in c.parameters else scripted_time(c)


def test_an_interrupted_campaign_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    """Cut the ledger after every event in turn, resume, and compare the final history."""
    c = campaign(KERNEL)
    whole = run(tmp_path / "whole", c, FakeCrew(KERNEL))
    events = read_events(ledger_path(tmp_path / "whole"))
    for cut in range(1, len(events)):
        folder = tmp_path / str(cut)
        with Ledger(ledger_path(folder)) as ledger:
            for event in events[:cut]:
                ledger.append(event)
        resumed = run(folder, c, FakeCrew(KERNEL))
        assert resumed.evaluations == whole.evaluations
        assert list(resumed.candidates) == list(whole.candidates)
        assert standing(resumed) == standing(whole)
        finished = [step_key(e.step) for e in read_events(ledger_path(folder)) if isinstance(e, Finished)]
        assert len(finished) == len(set(finished))


def test_a_larger_budget_goes_on_where_the_first_stopped(tmp_path: Path) -> None:
    short_run = run(tmp_path, campaign(KERNEL, budget=Budget(rounds=1)), FakeCrew(KERNEL))
    crew = FakeCrew(KERNEL)
    long_run = run(tmp_path, campaign(KERNEL, budget=Budget(rounds=4, patience=9)), crew)
    assert set(short_run.evaluations) <= set(long_run.evaluations)
    assert not {step_key(s) for s in crew.carried_out} & {step_key(e.step) for e in _finished_first(tmp_path)}


def _finished_first(folder: Path) -> list[Finished]:
    events = read_events(ledger_path(folder))
    second = [i for i, e in enumerate(events) if isinstance(e, Opened)][1]
    return [e for e in events[:second] if isinstance(e, Finished)]


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        (Budget(rounds=2, patience=9), "2 rounds"),
        (Budget(rounds=9, patience=9, steps=5), "5 measurements"),
        (Budget(rounds=9, patience=9, seconds=4), "4 s"),
    ],
)
def test_budgets_stop_asking_but_never_proving(budget: Budget, reason: str, tmp_path: Path) -> None:
    from warpsmith.campaign import asking_ends

    h = run(tmp_path, campaign(KERNEL, budget=budget), FakeCrew(KERNEL))
    s = standing(h)
    assert reason in (asking_ends(budget, h, s) or "")
    assert not s.contenders and not s.untried and not s.unproved


def test_patience_counts_rounds_without_a_new_best(tmp_path: Path) -> None:
    c = campaign(KERNEL, budget=Budget(rounds=50, patience=2), batch=2)
    h = run(tmp_path, c, FakeCrew(KERNEL, time_of=lambda c: 1.0))
    assert standing(h).best == BASELINE.id
    assert len(h.rounds) == 2


def test_a_guardrail_keeps_a_tempting_candidate_out(tmp_path: Path) -> None:
    """The scripted ttft moves with the same factor, so make the objective better while the guardrail gets worse."""

    def tempting(step: Measure):
        h = History() + Opened(campaign=campaign(SERVING), candidates=KNOWN, at=0)
        if step.candidate != ENTRY.id:
            return None
        good = measured(SERVING, step, h, lambda c: 0.5 if c.parameters else 1.0)
        result = good.workloads[0]
        guard = result.metrics[1].model_copy(update={"candidate": tuple(2 * x for x in result.metrics[1].rival)})
        worse = result.model_copy(update={"metrics": (result.metrics[0], guard)})
        return good.model_copy(update={"workloads": (worse,)})

    c = campaign(SERVING, budget=Budget(rounds=0))
    h = run(tmp_path, c, FakeCrew(SERVING, fail=tempting))
    assert standing(h).best == BASELINE.id


def test_leaders_are_explained_where_the_campaign_says_so(tmp_path: Path) -> None:
    crew = FakeCrew(KERNEL)
    h = run(tmp_path, campaign(KERNEL, explain=True), crew)
    s = standing(h)
    assert set(h.profiles) == set(s.leaders[1:])
    assert sum(isinstance(x, Explain) for x in crew.carried_out) == len(s.leaders) - 1


def test_peers_are_measured_against_the_best_and_never_lead(tmp_path: Path) -> None:
    peer = candidate("vendor")
    c = campaign(KERNEL, peers={"vendor": peer.id})
    crew = FakeCrew(KERNEL, time_of=lambda x: 0.1 if x.id == peer.id else scripted_time(x))
    h = run(tmp_path, c, crew, (*KNOWN, peer))
    s = standing(h)
    assert (peer.id, s.best, Effort.confirm) in h.evaluations
    assert s.best != peer.id


def test_a_screen_against_a_deposed_best_is_chained(tmp_path: Path) -> None:
    """Two devices: candidates are screened against the baseline while a better best is being confirmed."""
    h = run(tmp_path, campaign(KERNEL, asks=2), FakeCrew(KERNEL, free=3))
    s = standing(h)
    assert h.candidates[s.best].parameters == {"TILE": 8, "UNROLL": 2}
    rivals = {rival for _, rival, effort in h.evaluations if effort is Effort.screen}
    assert len(rivals) > 1


def test_two_writers_cannot_share_a_ledger(tmp_path: Path) -> None:
    with Ledger(ledger_path(tmp_path)), pytest.raises(LedgerBusy):
        Ledger(ledger_path(tmp_path))


def test_several_campaigns_keep_apart(tmp_path: Path) -> None:
    one = run(tmp_path / "one", campaign(KERNEL), FakeCrew(KERNEL))
    two = run(tmp_path / "two", campaign(KERNEL, seed=8), FakeCrew(KERNEL))
    assert standing(one).best == standing(two).best
    assert list(one.candidates) != list(two.candidates), "another seed proposes in another order"


def test_another_judge_version_starts_anew_in_the_same_ledger(tmp_path: Path) -> None:
    run(tmp_path, campaign(KERNEL, budget=Budget(rounds=1)), FakeCrew(KERNEL))
    changed = campaign(KERNEL, judge="another", budget=Budget(rounds=0))
    h = run(tmp_path, changed, FakeCrew(KERNEL))
    assert not h.rounds and h.opened == 2


def test_a_step_is_on_disk_before_it_runs(tmp_path: Path) -> None:
    class Watching(FakeCrew):
        def submit(self, step, history) -> None:
            last = read_events(ledger_path(tmp_path))[-1]
            assert isinstance(last, Started) and last.step == step
            super().submit(step, history)

    run(tmp_path, campaign(KERNEL), Watching(KERNEL))


def test_an_exhausted_proposer_ends_the_asking(tmp_path: Path) -> None:
    class Empty:
        name = "empty"

        def propose(self, step: Propose, history: History) -> Proposal:
            return Proposal(candidates=(), exhausted=True)

    crew = FakeCrew(KERNEL, proposer=Empty())
    run(tmp_path, campaign(KERNEL), crew)
    assert sum(isinstance(s, Propose) for s in crew.carried_out) == 1


def test_fold_is_the_sum_of_its_events(tmp_path: Path) -> None:
    h = run(tmp_path, campaign(KERNEL), FakeCrew(KERNEL))
    assert fold(read_events(ledger_path(tmp_path))) == h


def test_kinds_cover_the_union() -> None:
    assert all(isinstance(t, TaskHead) and t.kind == k for k, t in KINDS.items())
