"""``doctor --judge``: what is planted is found, and a judge that is wrong is reported as such."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.projects import calibrate
from warpsmith.judge.machine import detect
from warpsmith.surface import api, doctor, plants
from warpsmith.surface.plants import PLANTS, Plant, judge_plants
from warpsmith.surface.workspace import CALIBRATION, Workspace

TIMED = ("identical", "faster", "slow")


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    calibrate(tmp_path, noise_floor=0.01)
    monkeypatch.chdir(tmp_path)
    return Workspace(tmp_path)


@pytest.mark.parametrize("hardware", ["cpu", "cuda"])
def test_every_plant_has_its_folder_and_the_other_way_round(hardware: str, space: Workspace) -> None:
    folder = CALIBRATION / f"{hardware}-plants"
    assert {p.name for p in PLANTS} == {p.name for p in (folder / "plants").iterdir()}
    assert space.packaged(f"{hardware}-plants").loaded.kernel is not None


def test_the_wrong_and_the_cheating_are_found(
    space: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from warpsmith.surface.render import show

    monkeypatch.setattr(plants, "PLANTS", tuple(p for p in PLANTS if p.name not in TIMED))
    monkeypatch.setattr(doctor, "_targets", lambda _: (detect("cpu"),))
    answer = api.doctor(judge=True)
    assert answer.exit_status == 0, answer.plants
    assert [(p.name, p.given) for p in answer.plants] == [
        ("wrong", "wrong_values"), ("imprecise", "wrong_values"), ("keeps", "wrong_values"), ("mutates", "cheated"),
        ("crashes", "crashed"),
    ]  # fmt: skip
    show(answer)
    assert "the judge found all 5" in capsys.readouterr().out


@pytest.mark.slow
def test_a_judge_that_is_wrong_is_reported(
    space: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from warpsmith.surface.render import show

    wrong_reason = Plant("mutates", ("cheated",), "changed its input 'z'")
    monkeypatch.setattr(plants, "PLANTS", (Plant("wrong", ("faster",)), wrong_reason, PLANTS[-1]))
    monkeypatch.setattr(doctor, "_targets", lambda _: (detect("cpu"),))
    answer = api.doctor(judge=True)
    assert answer.exit_status == 1
    assert [p.right for p in answer.plants] == [False, False, True]
    show(answer)
    assert "the judge misjudged 2 of 3" in capsys.readouterr().out


@pytest.mark.slow
def test_all_of_them_on_this_machine(space: Workspace) -> None:
    assert [p.name for p in judge_plants(space, detect("cpu")) if not p.right] == []
