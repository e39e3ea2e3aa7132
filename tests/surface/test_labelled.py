"""One labelled evaluation of a harness task: measured, recorded with its tag, shown, drawn; it decides nothing."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.fakes import COMMAND, campaign, measured
from tests.propose.test_rhythm import EMPTY, SETTING
from warpsmith.analyse.standing import standing
from warpsmith.campaign import plan
from warpsmith.model.base import short
from warpsmith.model.campaign import Benched, Opened
from warpsmith.model.evaluation import Effort
from warpsmith.model.step import Measure
from warpsmith.store.history import History, fold
from warpsmith.store.ledger import Ledger, LedgerBusy, read_events
from warpsmith.surface import api, cli
from warpsmith.surface.labelled import keep
from warpsmith.surface.view import view
from warpsmith.surface.workspace import Workspace

TASK = """
kind = "command"
name = "own/sleep"
title = "A command that says how fast it was"
hardware = "cpu"
command = ["sh", "-c", "echo {\\\\\\"rate\\\\\\": $RATE, \\\\\\"wait\\\\\\": 0.5}"]
environment.RATE = "10"
metrics.rate = { unit = "1/s", direction = "maximize" }
metrics.wait = { unit = "s", direction = "minimize" }
objective = { metric = "rate", direction = "maximize" }
guardrails = [{ metric = "wait", limit = 0.1 }]
"""
FASTER = """
toolchain = "overlay"
entry = "command"
[environment]
RATE = "20"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tasks/own/sleep"
    (folder / "faster").mkdir(parents=True)
    (folder / "task.toml").write_text(TASK)
    (folder / "faster/candidate.toml").write_text(FASTER)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_labelled_runs_come_back_from_the_ledger_and_decide_nothing(tmp_path: Path) -> None:
    c = campaign(COMMAND, baseline=EMPTY.id, entry=EMPTY.id)
    step = Measure(candidate=SETTING.id, rival=EMPTY.id, effort=Effort.screen, round=0)
    h = History() + Opened(campaign=c, candidates=(EMPTY, SETTING), at=0)
    found = measured(COMMAND, step, h, lambda one: 0.5 if one.id == SETTING.id else 1.0)
    made = Benched(name="latest", notes="half", candidates=(SETTING, EMPTY), evaluations=(found,), at=0.0)
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        keep(ledger, c, (EMPTY,), made)
        keep(ledger, c, (EMPTY,), made)
    h = fold(read_events(tmp_path / "ledger.jsonl"))
    assert h.opened == 1 and h.benched == (made, made)
    assert h.evaluations == {} and SETTING.id not in h.candidates
    first, _ = view(h, None).labelled
    assert (first.label, first.verdict, first.at) == ("half", "faster", "1970-01-01 00:00:00Z")
    assert abs((first.speedup or 0) - 2) < 0.01
    other = c.model_copy(update={"task": "1" * 64})
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        keep(ledger, other, (EMPTY,), made)
    assert len(fold(read_events(tmp_path / "ledger.jsonl")).benched) == 1, "those of another task are another scope's"


@pytest.mark.slow
def test_a_labelled_run_is_recorded_shown_and_drawn(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label = ("--tag", "t1", "--effort", "screen", "--no-webhook")
    assert cli.run(["bench", "own/sleep", *label, "--notes", "baseline"]) == 2
    assert cli.run(["bench", "own/sleep", "faster", *label, "--notes", "twice | the *rate*"]) == 0
    said = capsys.readouterr().out
    folder = project / ".warpsmith/campaigns/own/sleep/t1"
    assert str(folder / "ledger.jsonl") in said and str(folder / "report.html") in said
    space = Workspace()
    h = space.history("own/sleep", "t1")
    assert [b.notes for b in h.benched] == ["baseline", "twice | the *rate*"]
    assert h.opened == 1 and h.evaluations == {} and h.campaign is not None
    assert standing(h).best == h.campaign.baseline and len(plan(h.campaign, h, 1)) == 1, "it decides nothing"
    faster = api.history("own/sleep", tag="t1").labelled[1]
    assert (faster.label, faster.verdict, round(faster.speedup or 0, 3)) == ("twice | the *rate*", "faster", 2.0)
    assert [(m.name, m.unit, m.candidate, m.rival) for m in faster.metrics] == [
        ("rate", "1/s", 20, 10), ("wait", "s", 0.5, 0.5),
    ]  # fmt: skip
    assert cli.run(["history", "own/sleep", "--tag", "t1"]) == 0
    assert "rate: 20, 10 1/s" in capsys.readouterr().out
    page, text = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    assert "Labelled runs" in page and short(faster.candidate) in page and "twice | the *rate*" in page
    assert "twice \\| the \\*rate\\*" in text
    drawn = {p.name for p in folder.glob("*.png")}
    assert drawn == ({"best-so-far.png", "metrics.png", "labelled.png"} if find_spec("matplotlib") else set())


@pytest.mark.slow
def test_without_a_tag_nothing_is_recorded_and_a_running_campaign_is_not_disturbed(project: Path) -> None:
    answer = api.bench("own/sleep", effort="screen", no_webhook=True)
    assert (answer.tag, answer.files) == ("", {})
    space = Workspace()
    assert space.tags("own/sleep") == []
    with Ledger(space.ledger("own/sleep", "t1")), pytest.raises(LedgerBusy, match="working on this campaign"):
        api.bench("own/sleep", effort="screen", tag="t1", no_webhook=True)
