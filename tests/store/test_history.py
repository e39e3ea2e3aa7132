"""The fold: one value from the events, whatever the points at which it was cut."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import BASELINE, ENTRY, FAULT, KERNEL, FakeCrew, campaign, candidate, ledger_path, measured
from warpsmith.campaign import optimize
from warpsmith.errors import LedgerError
from warpsmith.model.asks import AskRecord, Usage
from warpsmith.model.campaign import Budget, Campaign, Consulted, Decided, Event, Finished, Opened, Started, Submitted
from warpsmith.model.evaluation import Effort, Evaluation
from warpsmith.model.profile import Profile
from warpsmith.model.step import Explain, Measure, Outcome, Proposal, Propose, Step, step_key
from warpsmith.store.history import Asked, History, fold
from warpsmith.store.ledger import Ledger, read_events

C = campaign(KERNEL)
OPENED = Opened(campaign=C, candidates=(BASELINE, ENTRY), at=0)
STEP = Measure(candidate=ENTRY.id, rival=BASELINE.id, effort=Effort.screen, round=1)
ASK = Propose(round=0, parent=BASELINE.id, count=2)


def finished(step: Step, outcome: Outcome, seconds: float = 2.0) -> Finished:
    return Finished(step=step, outcome=outcome, seconds=seconds, at=0)


def evaluation() -> Evaluation:
    return measured(KERNEL, STEP, History() + OPENED)


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    """All kinds of events, of a real run with faults, two sessions and a change of the scope."""
    path = ledger_path(tmp_path_factory.mktemp("ledger"))
    lost: list[Measure] = []

    def fail(step: Measure) -> Outcome | None:
        lost.append(step)
        return FAULT if len(lost) % 5 == 3 else None

    gift = Submitted(candidate=candidate("gift", TILE=8, UNROLL=2, EXTRA=1), at=0)
    for changes in ({"explain": True}, {"budget": Budget(rounds=3)}, {"judge": "next", "budget": Budget(rounds=1)}):
        with Ledger(path) as ledger:
            crew = FakeCrew(KERNEL, fail=fail, submissions=[gift])
            optimize(campaign(KERNEL, **changes), crew, ledger, (BASELINE, ENTRY))
            ledger.append(Decided(candidate=ENTRY.id, decision="trial", result="deployed", reason="", at=0))
            asked = AskRecord(role="review", model="m", prompt=ENTRY.id, cost=Decimal("0.5"))
            ledger.append(Consulted(asks=(asked,), about="a round", at=0))
    return read_events(path)


def test_the_run_holds_every_kind_of_event(events: list[Event]) -> None:
    assert {e.kind for e in events} == {"opened", "started", "finished", "submitted", "decided", "consulted"}
    assert {e.outcome.kind for e in events if isinstance(e, Finished)} == {
        "fault",
        "proposal",
        "evaluation",
        "profile",
    }


@given(data=st.data())
@settings(deadline=None, max_examples=25)
def test_a_fold_goes_on_from_where_another_ended(events: list[Event], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(events)))
    history = fold(events[:cut])
    before = repr(history)
    for event in events[cut:]:
        history = history + event
    assert history == fold(events)
    assert repr(fold(events[:cut])) == before, "what was folded was not changed in place"


def test_adding_never_changes_the_old_history(events: list[Event]) -> None:
    history = History()
    for event in events:
        before = repr(history)
        after = history + event
        assert repr(history) == before
        history = after


def test_started_runs_until_finished() -> None:
    h = fold([OPENED, Started(step=STEP, at=0), Started(step=ASK, at=0)])
    assert set(h.running.values()) == {STEP, ASK}
    assert h.asking == 1
    h = h + finished(STEP.model_copy(update={"attempt": 0}), evaluation())
    assert set(h.running.values()) == {ASK}
    assert h.measured == 1


def test_opening_forgets_what_was_running_and_keeps_its_attempts() -> None:
    h = fold([OPENED, Started(step=STEP, at=0), OPENED])
    assert h.running == {}
    assert h.attempts == {step_key(STEP): 1}
    assert h.opened == 2
    again = STEP.model_copy(update={"attempt": 1})
    assert (h + Started(step=again, at=0)).attempts == {step_key(STEP): 2}


@pytest.mark.parametrize(
    "change",
    [
        {"judge": "2"},
        {"task": "0" * 64},
        {"baseline": ENTRY.id},
        {"target": C.target.model_copy(update={"driver": "2"})},
    ],
)
def test_another_scope_begins_anew(change: dict[str, object]) -> None:
    decided = Decided(candidate=ENTRY.id, decision="promote", result="accepted", reason="", at=0)
    full = fold([OPENED, Started(step=STEP, at=0), finished(STEP, evaluation()), decided])
    other = Campaign.model_validate({**C.model_dump(), **change})
    h = full + Opened(campaign=other, candidates=(ENTRY,), at=0)
    assert h == History(
        campaign=other,
        candidates={ENTRY.id: ENTRY},
        origins={ENTRY.id: "baseline" if other.baseline == ENTRY.id else "entry"},
        decisions=(decided,),
        opened=2,
    )


@pytest.mark.parametrize("change", [{"budget": Budget(rounds=99)}, {"seed": 1}, {"noise_floor": 0.5}, {"tag": "x"}])
def test_what_is_not_the_scope_keeps_everything(change: dict[str, object]) -> None:
    full = fold([OPENED, finished(STEP, evaluation())])
    h = full + Opened(campaign=campaign(KERNEL, **change), candidates=(BASELINE, ENTRY), at=0)
    assert h.evaluations == full.evaluations
    assert h.seconds == full.seconds == 2.0
    assert h.campaign != full.campaign


def test_origins_are_those_of_the_first_time() -> None:
    peer, new = candidate("vendor"), candidate("new")
    c = campaign(KERNEL, peers={"vendor": peer.id})
    h = History() + Opened(campaign=c, candidates=(BASELINE, ENTRY, peer), at=0)
    h = h + finished(ASK, Proposal(candidates=(new, ENTRY))) + Submitted(candidate=new, at=0)
    assert h.origins == {BASELINE.id: "baseline", ENTRY.id: "entry", peer.id: "peer vendor", new.id: "round 0"}
    assert list(h.candidates) == [BASELINE.id, ENTRY.id, peer.id, new.id]


def test_an_answered_ask_is_a_round_with_its_cost() -> None:
    h = fold([OPENED, finished(STEP, evaluation()), Started(step=ASK, at=0)])
    asked = AskRecord(role="propose", model="m", prompt="0" * 64, usage=Usage(output=9), cost=Decimal("0.25"))
    h = h + finished(ASK, Proposal(candidates=(), exhausted=True, notes="n", asks=(asked,)))
    assert (h.asked, h.tokens, h.calls) == ((Asked(ASK.round, asked),), 9, 0)
    (answered,) = h.rounds
    assert (answered.number, answered.exhausted, answered.notes, answered.after) == (0, True, "n", 1)
    assert (h.money, h.seconds) == (Decimal("0.25"), 4.0)


def test_a_ledger_from_before_asks_were_recorded_can_be_read() -> None:
    old = {"kind": "proposal", "candidates": [], "cost": {"tokens_in": 0, "tokens_out": 0, "money": 0.0}}
    assert Proposal.model_validate(old) == Proposal(candidates=())


def test_faults_gather_by_step_and_say_why() -> None:
    second = STEP.model_copy(update={"attempt": 1})
    h = fold([OPENED, finished(STEP, FAULT), finished(second, FAULT.model_copy(update={"detail": "SIGKILL"}))])
    assert h.faults == {step_key(STEP): ("the judge died", "the judge died: SIGKILL")}
    assert h.evaluations == {}


def test_a_profile_belongs_to_its_candidate() -> None:
    seen = Profile(candidate=ENTRY.id, tool="t")
    h = fold([OPENED, finished(Explain(candidate=ENTRY.id, round=0), seen)])
    assert h.profiles == {ENTRY.id: seen}


def test_an_outcome_of_another_step_is_no_history() -> None:
    with pytest.raises(LedgerError, match="a measure step finished with a proposal"):
        fold([OPENED, finished(STEP, Proposal(candidates=()))])
    with pytest.raises(LedgerError, match="a propose step finished with a evaluation"):
        fold([OPENED, finished(ASK, evaluation())])


def test_an_empty_ledger_is_an_empty_history(tmp_path: Path) -> None:
    assert fold(read_events(tmp_path / "none.jsonl")) == History()
