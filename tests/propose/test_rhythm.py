"""When it is time to escalate: flat sweeps, wins nobody checked again, profiles that stay, settings as defaults."""

from __future__ import annotations

import pytest

from tests.fakes import BASELINE, COMMAND, SPACE, campaign, candidate, measured
from tests.propose.test_agent_plateau import DEEP, LEAD, LED, Times, after
from warpsmith.analyse.hotspots import hotspots
from warpsmith.analyse.standing import standing
from warpsmith.campaign import plan
from warpsmith.model.base import digest_bytes, short
from warpsmith.model.campaign import Finished, Opened
from warpsmith.model.candidate import Candidate, SourceFile
from warpsmith.model.evaluation import Effort
from warpsmith.model.profile import Activity, KernelProfile, Profile, Timeline
from warpsmith.model.step import Explain, Measure
from warpsmith.propose.agent_card import asked_for
from warpsmith.propose.plateau import directives, holds_as_default
from warpsmith.store.history import History
from warpsmith.surface.view import view

FLAT = tuple(candidate("swept", SPACE, TILE=t, UNROLL=u) for t, u in ((1, 1), (2, 1), (4, 1), (8, 2)))


def screened(*found: Candidate) -> list[tuple[Candidate, Candidate, Effort]]:
    return [(x, LEAD, Effort.screen) for x in found]


@pytest.mark.parametrize(("slowest", "flat"), [(0.602, True), (0.66, False)])
def test_a_sweep_within_noise_says_that_these_constants_decide_nothing(slowest: float, flat: bool) -> None:
    times: Times = [(LEAD, 0.5), *zip(FLAT, (0.6, 0.601, 0.6, slowest), strict=True)]
    h = after(times, LED, *screened(*FLAT))
    assert [d.what for d in directives(h)] == (["flat"] if flat else [])
    assert directives(after(times, LED, *screened(*FLAT[:3]))) == ()
    if flat:
        (found,) = directives(h)
        assert (found.candidates, found.about) == (tuple(x.id for x in FLAT), "TILE, UNROLL")
        (said,) = asked_for(h)
        assert "FLAT: the last 4 settings of TILE, UNROLL" in said and "change the structure" in said


def test_a_flat_sweep_around_the_best_is_said_once() -> None:
    times: Times = [(LEAD, 0.5), *((x, 0.5) for x in FLAT)]
    assert [d.what for d in directives(after(times, LED, *screened(*FLAT)))] == ["flat"]


def test_an_older_win_is_unchecked_until_somebody_takes_it_out() -> None:
    tuned = candidate("first", SPACE, TILE=8, UNROLL=1)
    before = candidate("first", SPACE, TILE=2, UNROLL=1)
    named = candidate("deep").model_copy(update={"memo": f"without {short(before.id)}", "flags": ("-x",)})
    back = candidate("deeper", SPACE, TILE=2, UNROLL=1)
    times: Times = [(before, 0.9), (tuned, 0.8), (DEEP, 0.5), (named, 0.7), (back, 0.7)]
    won = (
        (before, BASELINE, Effort.confirm), (tuned, before, Effort.confirm), (DEEP, tuned, Effort.confirm),
    )  # fmt: skip
    (found,) = directives(after(times, *won))
    assert found.candidates == (before.id, tuned.id)
    (found,) = directives(after(times, *won, (named, DEEP, Effort.screen)))
    assert found.candidates == (tuned.id,), "one was named in a memo"
    assert directives(after(times, *won, (named, DEEP, Effort.screen), (back, DEEP, Effort.screen))) == ()


def timeline(**seconds: float) -> Profile:
    found = tuple(
        Activity(kind="kernel", name=n, count=1, seconds=s, median_s=s, longest_s=s) for n, s in seconds.items()
    )
    calls = Activity(kind="call", name="cudaLaunchKernel", count=9, seconds=99.0, median_s=9, longest_s=9)
    return Profile(candidate="0" * 64, tool="nsys", timeline=Timeline(seconds=1.0, activities=(*found, calls)))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (timeline(attention=6, mlp=4), timeline(attention=5.8, mlp=3), True),
        (timeline(attention=6, mlp=4), timeline(attention=3, mlp=4), False),
        (timeline(attention=6, mlp=1), timeline(attention=5, mlp=4), False),
    ],
)
def test_a_profile_whose_largest_part_stays_is_noticed(old: Profile, new: Profile, said: bool) -> None:
    h = after([(LEAD, 0.8), (DEEP, 0.75)], LED, (DEEP, LEAD, Effort.confirm))
    for leader, profile in ((LEAD, old), (DEEP, new)):
        seen = profile.model_copy(update={"candidate": leader.id})
        h = h + Finished(step=Explain(candidate=leader.id, round=0), outcome=seen, seconds=1, at=0)
    assert [d.what for d in directives(h)] == (["bucket"] if said else [])
    if said:
        assert 'both spend most in "attention" (66% of it now)' in asked_for(h)[0]


def test_where_the_time_goes() -> None:
    assert hotspots(timeline(a=1, b=3)) == {"b": 0.75, "a": 0.25}
    kernels = [
        KernelProfile(kernel=n, grid=(1, 1, 1), block=(1, 1, 1), launches=k, metrics={"duration": t})
        for n, k, t in (("a", 3, 1.0), ("b", 1, 1.0))
    ]
    assert hotspots(Profile(candidate="0" * 64, tool="ncu", kernels=tuple(kernels))) == {"a": 0.75, "b": 0.25}
    waits = kernels[0].model_copy(update={"metrics": {"stall_barrier": 0.2, "stall_long_scoreboard": 0.5, "sm": 0.9}})
    (first, share), *_ = hotspots(Profile(candidate="0" * 64, tool="ncu", kernels=(waits,))).items()
    assert share == 0.5 and "stalled" in first
    assert hotspots(Profile(candidate="0" * 64, tool="fake")) == {}


def overlay(text: str = "", memo: str = "", parent: str | None = None, **environment: str) -> Candidate:
    files = (SourceFile(path="run.py", content=digest_bytes(text.encode())),) if text else ()
    told = {"environment": environment, "memo": memo, "parent": parent}
    return Candidate(toolchain="overlay", entry="command", sources=files, **told)  # type: ignore[arg-type]


EMPTY = overlay()
SETTING = overlay(BATCH="16")


def runs(seconds: dict[str, float], *steps: tuple[Candidate, Candidate, Effort]) -> History:
    """A history of a task whose metric is a rate, with the time that each run takes."""
    c = campaign(COMMAND, baseline=EMPTY.id, entry=EMPTY.id)
    h = History() + Opened(campaign=c, candidates=(EMPTY, *(x for x, _, _ in steps)), at=0)
    for x, rival, effort in steps:
        step = Measure(candidate=x.id, rival=rival.id, effort=effort, round=0)
        found = measured(COMMAND, step, h, lambda one: seconds.get(one.id, 1.0))
        h = h + Finished(step=step, outcome=found, seconds=1, at=0)
    return h


def test_a_setting_that_leads_is_no_default_before_its_source_holds() -> None:
    led = (SETTING, EMPTY, Effort.confirm)
    h = runs({SETTING.id: 0.5}, (EMPTY, EMPTY, Effort.screen), led)
    assert [(d.what, d.candidates, d.about) for d in directives(h)] == [("default", (SETTING.id,), "BATCH=16")]
    assert "leads by its environment alone (BATCH=16)" in asked_for(h)[0]
    stranger = overlay("batch = 16")
    written = overlay("batch = 16", parent=SETTING.id)
    slow = overlay("batch = 15", memo=f"source default of {short(SETTING.id)}")
    half = overlay("batch = 16  # but", parent=SETTING.id, BATCH="16")
    for other in (stranger, half):
        assert directives(runs({SETTING.id: 0.5, other.id: 0.5}, led, (other, SETTING, Effort.screen)))[0].landed == ""
    h = runs({SETTING.id: 0.5, slow.id: 0.8}, led, (slow, SETTING, Effort.screen), (slow, EMPTY, Effort.confirm))
    assert f"{short(slow.id)} did not" in asked_for(h)[0]
    screened_only = runs({SETTING.id: 0.5, written.id: 0.501}, led, (written, SETTING, Effort.screen))
    assert [d.what for d in directives(screened_only)] == ["default"]
    assert (written.id, EMPTY.id) in standing(screened_only).unproved, "the campaign gives it its own benchmark"
    h = runs(
        {SETTING.id: 0.5, written.id: 0.501}, led, (written, SETTING, Effort.screen), (written, EMPTY, Effort.confirm)
    )
    assert directives(h) == () and holds_as_default(h, standing(h)) == written.id


def test_whoever_reads_a_history_sees_what_it_asks_for() -> None:
    h = runs({SETTING.id: 0.5}, (EMPTY, EMPTY, Effort.screen), (SETTING, EMPTY, Effort.confirm))
    (said,) = view(h, None).rhythm
    assert said.startswith("DEFAULT: ") and "\n" not in said
    assert h.campaign is not None and plan(h.campaign, h, 1), "a notice stops nothing"
