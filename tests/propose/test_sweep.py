"""The sweep: small spaces whole, large ones without repetition, and the same answer to the same question."""

from __future__ import annotations

import itertools

import pytest

from tests.fakes import BASELINE, ENTRY, KERNEL, SPACE, campaign, candidate, measured
from warpsmith.errors import BadInput
from warpsmith.model.campaign import Finished, Opened, Submitted
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Effort
from warpsmith.model.space import Space, Tunable
from warpsmith.model.step import Measure, Proposal, Propose
from warpsmith.propose.sweep import ENUMERATED, LARGEST, Sweep
from warpsmith.store.history import History

LARGE = Space(
    tunables={
        "A": Tunable(values=tuple(range(12)), default=0),
        "B": Tunable(values=(1, 2, 4, 8, 16, 32), default=1),
        "C": Tunable(values=(0, 1, 2, 3, 4), default=0),
    },
    constraints=("A * C <= 24", "B + C != 17"),
)
BIG = candidate("big", LARGE, **LARGE.defaults)


def opened(entry: Candidate = ENTRY, seed: int = 7) -> History:
    c = campaign(KERNEL, entry=entry.id, seed=seed)
    return History() + Opened(campaign=c, candidates=(BASELINE, entry), at=0)


def ask(number: int, count: int) -> Propose:
    return Propose(round=number, parent=BASELINE.id, count=count)


def answered(h: History, step: Propose, proposal: Proposal) -> History:
    return h + Finished(step=step, outcome=proposal, seconds=0, at=0)


def time_of(c: Candidate) -> float:
    p = c.parameters
    return 0.5 + 0.02 * abs(p["A"] - 7) + 0.01 * abs(p["B"] - 8) + 0.03 * abs(p["C"] - 1) if p else 1.0


def with_times(h: History, proposal: Proposal) -> History:
    for c in proposal.candidates:
        step = Measure(candidate=c.id, rival=BASELINE.id, effort=Effort.screen, round=0)
        h = h + Finished(step=step, outcome=measured(KERNEL, step, h, time_of), seconds=0, at=0)
    return h


def rounds(h: History, count: int, batch: int) -> tuple[list[Proposal], History]:
    proposals = []
    for number in range(count):
        step = ask(number, batch)
        proposals.append(Sweep().propose(step, h))
        h = with_times(answered(h, step, proposals[-1]), proposals[-1])
    return proposals, h


def points(proposals: list[Proposal]) -> list[tuple[tuple[str, int], ...]]:
    return [tuple(sorted(c.parameters.items())) for p in proposals for c in p.candidates]


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_a_small_space_is_covered_exactly_once(batch: int) -> None:
    h, proposals = opened(), []
    for number in itertools.count():
        step = ask(number, batch)
        proposal = Sweep().propose(step, h)
        h = answered(h, step, proposal)
        proposals.append(proposal)
        if proposal.exhausted:
            break
        assert len(proposal.candidates) == batch
        assert "enumeration" in proposal.notes
    wanted = [tuple(sorted(p.items())) for p in SPACE.points() if p != SPACE.defaults]
    assert sorted(points(proposals)) == sorted(wanted)
    after = Sweep().propose(ask(99, batch), h)
    assert after.candidates == ()
    assert after.exhausted


def test_exhausted_is_said_with_the_last_point_and_not_before() -> None:
    left = sum(1 for _ in SPACE.points()) - 1
    assert not Sweep().propose(ask(0, left - 1), opened()).exhausted
    assert Sweep().propose(ask(0, left), opened()).exhausted


def test_an_entry_without_tunables_is_exhausted_at_once() -> None:
    proposal = Sweep().propose(ask(0, 4), opened(candidate("plain")))
    assert proposal.candidates == ()
    assert proposal.exhausted


def test_a_large_space_is_searched_without_repetition_and_within_its_constraints() -> None:
    assert sum(1 for _ in LARGE.points()) > 2 * ENUMERATED
    proposals, h = rounds(opened(BIG), 8, 10)
    seen = points(proposals)
    assert len(seen) == len(set(seen)) == 80
    assert all(LARGE.allows(dict(p)) for p in seen)
    assert all("TPE" in p.notes and not p.exhausted for p in proposals)
    assert len({c.id for p in proposals for c in p.candidates} | {BASELINE.id, BIG.id}) == len(h.candidates)


@pytest.mark.slow
def test_a_large_space_is_searched_better_than_at_random() -> None:
    """The last rounds of four seeds are near the optimum on the whole; random points are not."""
    late = []
    for seed in range(4):
        proposals, _ = rounds(opened(BIG, seed), 6, 10)
        late += [time_of(c) for p in proposals[4:] for c in p.candidates]
    everywhere = [time_of(BIG.at(p, "")) for p in LARGE.points()]
    assert sum(late) / len(late) < 0.9 * sum(everywhere) / len(everywhere)


def test_a_large_space_ends_as_a_whole_too() -> None:
    everything = list(LARGE.points())
    h = opened(BIG)
    known = Proposal(candidates=tuple(BIG.at(p, "") for p in everything[:-3]))
    h = answered(h, ask(0, 1), known)
    proposal = Sweep().propose(ask(1, 8), h)
    assert sorted(points([proposal])) == sorted(tuple(sorted(p.items())) for p in everything[-3:])
    assert proposal.exhausted


def test_a_batch_repeats_nothing_though_little_is_left() -> None:
    everything = list(LARGE.points())
    h = answered(opened(BIG), ask(0, 1), Proposal(candidates=tuple(BIG.at(p, "") for p in everything[:-25])))
    proposal = Sweep().propose(ask(1, 20), h)
    left = {tuple(sorted(p.items())) for p in everything[-25:]}
    assert len(set(points([proposal]))) == 20
    assert set(points([proposal])) <= left
    assert not proposal.exhausted


@pytest.mark.parametrize("entry", [ENTRY, BIG], ids=["small", "large"])
def test_equal_questions_get_equal_answers(entry: Candidate) -> None:
    if entry is BIG:
        _, h = rounds(opened(BIG), 2, 10)
    else:
        h = opened()
    step = ask(5, 4)
    again = History(**{name: getattr(h, name) for name in h.__dataclass_fields__})
    first = Sweep().propose(step, h)
    assert first == Sweep().propose(step, again)
    assert first == Sweep().propose(step.model_copy(update={"attempt": 2}), h), "a lost ask is asked again as it was"
    assert points([first]) != points([Sweep().propose(ask(6, 4), h)])


def test_another_seed_asks_in_another_order() -> None:
    assert points([Sweep().propose(ask(0, 8), opened(seed=1))]) != points([Sweep().propose(ask(0, 8), opened(seed=2))])


def test_what_was_handed_in_is_not_proposed_again() -> None:
    gifts = [ENTRY.at(p, "by hand") for p in list(SPACE.points())[1:5]]
    h = opened()
    for gift in gifts:
        h = h + Submitted(candidate=gift, at=0)
    proposed = {c.id for c in Sweep().propose(ask(0, 100), h).candidates}
    assert not proposed & {g.id for g in gifts}


def test_a_point_beyond_the_space_is_no_evidence_and_no_error() -> None:
    """The same source handed in with values that the entry does not declare."""
    _, h = rounds(opened(BIG), 1, 10)
    strange = BIG.at({**LARGE.defaults, "A": 999}, "by hand")
    h = h + Submitted(candidate=strange, at=0)
    step = Measure(candidate=strange.id, rival=BASELINE.id, effort=Effort.screen, round=0)
    h = h + Finished(step=step, outcome=measured(KERNEL, step, h, lambda c: 0.7), seconds=0, at=0)
    assert len(Sweep().propose(ask(1, 10), h).candidates) == 10


def test_a_space_beyond_reason_is_refused() -> None:
    values = tuple(range(100))
    space = Space(tunables={n: Tunable(values=values, default=0) for n in ("A", "B", "C")})
    assert space.size > LARGEST
    with pytest.raises(BadInput, match="1000000 points") as caught:
        Sweep().propose(ask(0, 1), opened(candidate("huge", space, **space.defaults)))
    assert str(LARGEST) in caught.value.remedy


def test_a_proposal_says_what_it_changed() -> None:
    for c in Sweep().propose(ask(0, 100), opened()).candidates:
        said = dict(part.split("=") for part in c.memo.removeprefix("[sweep] ").split())
        assert said == {k: str(v) for k, v in c.parameters.items() if v != SPACE.defaults[k]}
        assert c.parent == ENTRY.id
        assert c.space == SPACE
