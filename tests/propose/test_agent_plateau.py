"""What a history asks for: near-ties ask for another structure, a deep change for older wins to be tried again."""

from __future__ import annotations

from dataclasses import replace

from tests.fakes import BASELINE, ENTRY, KERNEL, SPACE, campaign, candidate, failed, measured
from warpsmith.model.base import short
from warpsmith.model.campaign import Finished, Opened
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Effort, Status
from warpsmith.model.step import Measure
from warpsmith.propose.agent_card import say, told
from warpsmith.propose.plateau import Directive, directives
from warpsmith.store.history import History

Times = list[tuple[Candidate, float]]
LEAD = candidate("lead")
DEEP = candidate("deep")
NEAR = tuple(candidate(f"near {n}") for n in range(6))


def after(times: Times, *steps: tuple[Candidate, Candidate, Effort]) -> History:
    """A history of measurements with scripted times; what takes no time failed."""
    known = {BASELINE.id: 1.0, ENTRY.id: 0.99} | {c.id: t for c, t in times}
    h = History() + Opened(campaign=campaign(KERNEL), candidates=(BASELINE, ENTRY, *(c for c, _ in times)), at=0)
    for x, rival, effort in steps:
        step = Measure(candidate=x.id, rival=rival.id, effort=effort, round=0)
        outcome = (
            measured(KERNEL, step, h, lambda c: known[c.id])
            if known[x.id]
            else failed(KERNEL, step, Status.wrong_values)
        )
        h = h + Finished(step=step, outcome=outcome, seconds=1, at=0)
    return h


def screens(*found: Candidate) -> list[tuple[Candidate, Candidate, Effort]]:
    return [(x, LEAD, Effort.screen) for x in found]


LED = (LEAD, BASELINE, Effort.confirm)


def test_three_near_ties_after_the_last_win_ask_for_another_structure() -> None:
    times = [(LEAD, 0.5), *zip(NEAR, (0.503, 0.498, 0.507, 0.9, 0.5, 0.5), strict=True)]
    assert directives(after(times, LED, *screens(*NEAR[:2]))) == ()
    (found,) = directives(after(times, LED, *screens(*NEAR[:3])))
    assert (found.what, found.candidates) == ("restructure", tuple(c.id for c in NEAR[:3]))
    assert not found.profiled
    assert directives(after(times, LED, *screens(*NEAR[:4]))) == (), "the last one was no near-tie"


def test_failures_and_what_came_before_the_win_are_no_near_ties() -> None:
    times = [(LEAD, 0.5), (NEAR[0], 0.5), (NEAR[1], 0.0), (NEAR[2], 0.5), (NEAR[3], 0.5)]
    early = [(NEAR[0], BASELINE, Effort.screen)]
    assert directives(after(times, *early, LED, *screens(NEAR[1], NEAR[2], NEAR[3]))) == ()


def test_a_deep_change_asks_for_older_wins_to_be_tried_again() -> None:
    times = [(LEAD, 0.8), (DEEP, 0.5), *((x, 0.7) for x in NEAR)]
    won = (LED, (DEEP, LEAD, Effort.confirm))
    (found,) = directives(after(times, *won))
    assert (found.what, found.landed, found.candidates) == ("reablate", DEEP.id, (LEAD.id,))
    assert abs(found.gain - 0.6) < 0.01
    later = [(x, DEEP, Effort.screen) for x in NEAR[:4]]
    assert [d.what for d in directives(after(times, *won, *later[:3]))] == ["reablate"]
    ties = [(x, 0.5 if x in NEAR[:3] else t) for x, t in times]
    assert [d.what for d in directives(after(ties, *won, *later[:3]))] == ["reablate", "restructure"]
    more = [(NEAR[3], DEEP, Effort.screen), *later[:3]]
    assert [d.what for d in directives(after(ties, *won, *more))] == ["restructure", "reablate"], "late, not forgotten"


def test_a_small_gain_or_other_parameters_are_no_deep_change() -> None:
    shallow = after([(LEAD, 0.8), (DEEP, 0.76)], LED, (DEEP, LEAD, Effort.confirm))
    assert directives(shallow) == ()
    first, second = (candidate("same", SPACE, TILE=t, UNROLL=1) for t in (2, 8))
    tuned = after([(first, 0.8), (second, 0.4)], (first, BASELINE, Effort.confirm), (second, first, Effort.confirm))
    assert directives(tuned) == ()


def test_nothing_is_asked_of_an_empty_history() -> None:
    assert directives(History()) == ()
    assert directives(after([(LEAD, 0.5)])) == ()


def test_a_profile_changes_the_words() -> None:
    found = Directive("restructure", tuple(c.id for c in NEAR[:3]))
    text = say("directives.md.j2", directives=told((found,)))
    assert "PLATEAU" in text and "Profile first" in text and short(NEAR[0].id) in text
    assert "Profile first" not in say("directives.md.j2", directives=told((replace(found, profiled=True),)))
    again = Directive("reablate", (LEAD.id,), landed=DEEP.id, gain=0.6)
    assert "RE-ABLATE" in say("directives.md.j2", directives=told((again,)))
