"""What is published says how sure it is: counts and bounds of rates, the power of comparisons, which run is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import BASELINE, ENTRY, KERNEL, TARGET, FakeCrew, campaign, ledger_path
from warpsmith.analyse.rates import rate
from warpsmith.campaign import optimize
from warpsmith.model.campaign import Budget
from warpsmith.model.target import Calibration
from warpsmith.store.ledger import Ledger
from warpsmith.surface.answers import DoctorAnswer, PlantCheck, calibration_row
from warpsmith.surface.render import show
from warpsmith.surface.report import render_html, render_markdown
from warpsmith.surface.view import View, view

CALIBRATION = Calibration(
    target="t", noise_floor=0.004, comparisons=3, different=1, copy_bytes_per_s={}, flops_per_s=1e9, at=0.0
)


@pytest.fixture
def seen(tmp_path: Path) -> View:
    c = campaign(KERNEL, budget=Budget(rounds=6, patience=6), noise_comparisons=3)
    with Ledger(ledger_path(tmp_path)) as ledger:
        return view(optimize(c, FakeCrew(KERNEL), ledger, (BASELINE, ENTRY)), None)


def test_a_calibration_states_its_comparisons_its_floor_and_the_bound(capsys: pytest.CaptureFixture[str]) -> None:
    answer = DoctorAnswer(checks=(), calibrations=(calibration_row(TARGET, CALIBRATION),))
    assert answer.calibrations[0]["different"] == {"seen": 1, "count": 3, "upper95": pytest.approx(0.8646, abs=1e-4)}
    show(answer)
    said = capsys.readouterr().out
    assert "noise floor 0.40% over 3 A/A comparisons" in said
    assert "called faster or slower: 1 of 3 (at most 86.5 %)" in said


def test_the_plants_carry_their_rate_and_what_was_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    plant = PlantCheck(
        hardware="cpu", name="slow", what="w", expected="slower", given="slower", detail="", right=True, seconds=1.0
    )
    show(DoctorAnswer(checks=(), plants=(plant,) * 8, misjudged=rate(0, 8)))
    said = capsys.readouterr().out
    assert "found all 8: misjudged 0 of 8 (at most 31.2 %)" in said
    assert "not run, for want of a device: cuda" in said


def test_the_report_states_power_floor_and_which_run_it_shows(seen: View) -> None:
    assert seen.ratio is not None and seen.ratio.detectable is not None
    assert seen.noise_comparisons == 3
    assert seen.noise_beyond == pytest.approx(0.6316, abs=1e-4)
    for page in (render_markdown(seen, "9.9"), render_html(seen, {}, "9.9")):
        flat = " ".join(page.split())
        assert "would have been found 9 times in 10" in flat
        assert "from 3 comparisons of identical candidates" in flat
        assert "at most 63 % of such comparisons go beyond it" in flat
        assert "it chose no candidate (published run 1 of this campaign)" in flat
        assert "95 % interval" in flat


def test_a_later_run_shows_the_interval_that_it_had_to_clear(seen: View) -> None:
    assert seen.ratio is not None
    strict = seen.model_copy(update={"published": 2, "ratio": seen.ratio.model_copy(update={"confidence": 0.975})})
    assert "97.5 % interval" in render_markdown(strict, "9.9")
    early = seen.model_copy(update={"published": None, "promotable": False})
    assert "is still to be made" in render_markdown(early, "9.9")


def test_every_comparison_of_the_view_has_its_power(seen: View) -> None:
    compared = [r for r in seen.rows if r.ratio is not None]
    assert len(compared) > 3
    assert all(r.ratio is not None and r.ratio.detectable is not None for r in compared)
    assert '"detectable":' in seen.model_dump_json()
