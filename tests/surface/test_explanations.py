"""What is said of a kept profile comes from one source: ``explain`` and the folder of a run say the same."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.fakes import ENTRY
from tests.knowledge.things import GIFT, ledger_folder
from tests.knowledge.things import run as elsewhere
from tests.machines import no_gpu
from tests.profilers.test_captured import H200, run, space
from tests.propose.test_rhythm import timeline
from tests.surface import test_harness_profiles as harness
from tests.surface.test_limits import explained
from warpsmith.analyse.standing import standing
from warpsmith.model.campaign import Finished, Started
from warpsmith.model.step import Proposal, Propose
from warpsmith.model.target import Target
from warpsmith.store.ledger import Ledger
from warpsmith.surface import cli
from warpsmith.surface.explanations import explanations
from warpsmith.surface.view import view
from warpsmith.surface.workspace import Workspace

__all__ = ["space"]
ELSEWHERE = ("report: ", "escalate: ")
"""Lines of explain that are of this machine, or of the campaign as it is now."""


def ask(space: Workspace, task: str, parent: str) -> None:
    """One more ask of the campaign, from ``parent``, that brought nothing."""
    step = Propose(round=9, parent=parent, count=1)
    with Ledger(space.ledger(task, "main")) as ledger:
        ledger.append(Started(step=step, at=0.0))
        ledger.append(Finished(step=step, outcome=Proposal(candidates=(), notes="nothing"), seconds=0.0, at=0.0))


def written(space: Workspace, task: str) -> str:
    """The page of that ask, as ``history --folder`` writes it."""
    assert cli.run(["history", task, "--folder", "run"]) == 0
    page = (space.root / "run/009-propose/profile.md").read_text()
    head, _, body = page.partition("\n\n")
    assert head.startswith("# ")
    assert all(line.startswith("    ") or not line.strip() for line in body.splitlines()), "nothing of it is Markdown"
    return textwrap.dedent(body)


def follow(root: Path, target: Target) -> None:
    """Another campaign on a device, in which the advice of a rule was followed once, and nothing moved."""
    folder = ledger_folder(root)
    elsewhere(folder, target=target)
    with Ledger(folder / "ledger.jsonl") as ledger:
        for identity in (ENTRY.id, GIFT.id):
            ledger.append(explained(identity))


def test_the_folder_of_a_run_carries_the_record_of_the_rules(space: Workspace, tmp_path: Path) -> None:
    known, h = run(space)
    best = standing(h).best
    before = explanations(space, known)(h, best)
    assert "poor_coalescing" in before and "came true" not in before
    assert explanations(space, known)(h, known.baseline.id) == "", "it was not profiled"
    follow(tmp_path, H200)
    ask(space, "captured/t", best)
    page = written(space, "captured/t")
    (record,) = (line for line in page.splitlines() if "came true" in line and "next edit" not in line)
    assert "poor_coalescing" in record and "came true 0 of 1 times on this device" in record
    assert page == explanations(space, known)(h, best) != before


def test_what_another_device_showed_is_not_told(space: Workspace, tmp_path: Path) -> None:
    known, h = run(space)
    follow(tmp_path, H200.model_copy(update={"device": "another"}))
    assert "came true" not in explanations(space, known)(h, standing(h).best)


def test_the_record_decides_the_next_edit(space: Workspace, tmp_path: Path) -> None:
    known, h = run(space)
    best = standing(h).best
    with Ledger(space.ledger("captured/t", "main")) as ledger:
        ledger.append(explained(best))
    h = space.history("captured/t", "main")
    assert "next edit (poor_coalescing, " in explanations(space, known)(h, best)
    follow(tmp_path, H200)
    assert "next edit (stall_barrier, " in explanations(space, known)(h, best)


@pytest.mark.skipif(not no_gpu(), reason="this machine would profile anew")
def test_the_folder_says_what_the_verb_prints(
    space: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, h = run(space)
    follow(tmp_path, H200)
    ask(space, "captured/t", standing(h).best)
    page = written(space, "captured/t")
    capsys.readouterr()
    assert cli.run(["explain", "captured/t"]) == 0
    printed = capsys.readouterr().out
    assert page.splitlines() == [line for line in printed.splitlines() if not line.startswith(ELSEWHERE)]
    assert "came true 0 of 1 times on this device" in printed


def test_a_timeline_is_told_as_the_verb_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tasks/own/rate").mkdir(parents=True)
    (tmp_path / "tasks/own/rate/task.toml").write_text(harness.COMMAND)
    monkeypatch.chdir(tmp_path)
    space = Workspace()
    *_, best = harness.led(space, "own/rate", timeline(attention=3, mlp=7), timeline(attention=6, mlp=4))
    ask(space, "own/rate", best.id)
    page = written(space, "own/rate")
    assert "attention" in page and "60.0%" in page and "30.0%" in page, "beside the best before it"
    capsys.readouterr()
    assert cli.run(["explain", "own/rate"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert page.splitlines() == [line for line in printed if not line.startswith(ELSEWHERE)]
    seen = view(space.history("own/rate", "main"), None)
    assert seen.limits is not None and [(p.label, p.share) for p in seen.limits.places] == [
        ("attention", 0.6), ("mlp", 0.4),
    ]  # fmt: skip
    assert cli.run(["report", "own/rate"]) == 0
    folder = space.campaign_folder("own/rate", "main")
    for name in ("report.md", "report.html"):
        said = (folder / name).read_text()
        assert "No\nleader was profiled" not in said and "No leader was profiled" not in said
        assert "attention" in said and "time goes" in said
