"""The road in stages: cached by what each reads, resumed where it stopped; and all of it on a C application."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.agents import git
from tests.app.products import product, tree
from tests.judge import apptask
from tests.projects import calibrate
from warpsmith.app.loading import load_app
from warpsmith.app.stages import Name, Result, Road, walk
from warpsmith.errors import BadInput, Missing
from warpsmith.model.campaign import Decided
from warpsmith.store.ledger import read_events
from warpsmith.surface.journey import Journey, made
from warpsmith.surface.workspace import Workspace

PROGRAM = Path(sys.executable).parent / "warpsmith"


@dataclass
class Step:
    """A stage that counts how often it ran."""

    name: Name
    reads: tuple[str, ...] = ()
    gives: dict[str, str] = field(default_factory=dict)
    why_not: str = ""
    stop: str = ""
    own: str = ""
    breaks: bool = False
    changes: list[Step] = field(default_factory=list)
    """Stages that read what this one changes, as integrate does the source."""
    ran: int = 0

    def not_applicable(self, given: Mapping[str, str]) -> str:
        return self.why_not

    def inputs(self, given: Mapping[str, str]) -> Mapping[str, str]:
        return {"own": self.own, **{name: given.get(name, "") for name in self.reads}}

    def run(self, given: Mapping[str, str]) -> Result:
        self.ran += 1
        if self.breaks:
            raise Missing("it broke")
        for other in self.changes:
            other.own = f"changed by run {self.ran} of {self.name}"
        return Result(said="ran", gives=self.gives, stop=self.stop, exit_status=2 if self.stop else 0)


def road() -> list[Step]:
    return [
        Step("observe", gives={"seen": "a"}),
        Step("capture", reads=("seen",), gives={"task": "t"}),
        Step("optimize", reads=("task",), gives={"candidate": "c"}),
        Step("integrate", reads=("candidate",)),
    ]


def states(found: Road) -> list[str]:
    return [r.state for r in found.reports]


def test_a_stage_runs_again_only_where_what_it_reads_changed(tmp_path: Path) -> None:
    stages = road()
    assert states(walk(stages, tmp_path)) == ["done"] * 4
    assert states(walk(stages, tmp_path)) == ["cached"] * 4
    stages[1].own = "changed"
    assert states(walk(stages, tmp_path)) == ["cached", "done", "cached", "cached"], "it gave the same"
    stages[1].own, stages[1].gives = "changed again", {"task": "other"}
    assert states(walk(stages, tmp_path)) == ["cached", "done", "done", "cached"]
    assert states(walk(stages, tmp_path, again=["observe"])) == ["done", "cached", "cached", "cached"]
    assert [s.ran for s in stages] == [2, 3, 2, 1]


def test_a_road_that_broke_goes_on_where_it_broke(tmp_path: Path) -> None:
    stages = road()
    stages[2].breaks = True
    with pytest.raises(Missing):
        walk(stages, tmp_path)
    stages[2].breaks = False
    assert states(walk(stages, tmp_path)) == ["cached", "cached", "done", "done"]


def test_a_stage_that_is_left_out_says_why_and_the_road_goes_on(tmp_path: Path) -> None:
    stages = road()
    stages[0].why_not = "no device"
    found = walk(stages, tmp_path, skip=["capture"], given={"task": "given"})
    assert states(found) == ["not_applicable", "skipped", "done", "done"]
    assert found.reports[0].said == "no device" and stages[1].ran == 0
    with pytest.raises(BadInput, match="no stage 'captur'"):
        walk(stages, tmp_path, skip=["captur"])


def test_a_stage_that_ends_the_road_ends_it_again(tmp_path: Path) -> None:
    stages = road()
    stages[2].stop = "nothing gained"
    for _ in range(2):
        found = walk(stages, tmp_path)
        assert states(found)[-1] == "stopped" and len(found.reports) == 3 and found.exit_status == 2
    assert (stages[2].ran, stages[3].ran) == (1, 0)


def test_what_a_road_kept_in_the_source_does_not_begin_it_again(tmp_path: Path) -> None:
    stages = road()
    stages[3].changes = stages[:2]
    assert states(walk(stages, tmp_path)) == ["done"] * 4
    assert states(walk(stages, tmp_path)) == ["cached"] * 4, "the source is what integrate made of it"
    stages[0].own = "changed by its owner"
    assert states(walk(stages, tmp_path)) == ["done", "cached", "cached", "cached"]


def test_an_edit_while_the_road_is_gone_begins_it_again(tmp_path: Path) -> None:
    """The source's owner edits it while it is optimised; that integrate then writes it too does not hide that."""
    stages = road()
    stages[2].changes, stages[3].changes = stages[:1], stages[:2]
    walk(stages, tmp_path)
    assert states(walk(stages, tmp_path)) == ["done", "cached", "cached", "cached"]


def test_what_is_kept_and_cannot_be_read_is_not_used(tmp_path: Path) -> None:
    stages = road()
    walk(stages, tmp_path)
    (tmp_path / "capture.json").write_text('{"format":1,"inp')
    assert states(walk(stages, tmp_path)) == ["cached", "done", "cached", "cached"]


def run(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    told = (str(PROGRAM), "run", "app.toml", "--json", *words)
    return subprocess.run(told, cwd=root, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
def test_the_whole_road_of_a_c_application(tmp_path: Path) -> None:
    root = product(tmp_path)
    calibrate(root)
    before = tree(root)
    done = run(root, "--budget", "rounds=1,seconds=15")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    told = {s["name"]: s["state"] for s in answer["stages"]}
    assert told["observe"] == told["trial"] == "not_applicable" and told["optimize"] == told["integrate"] == "done"
    assert "processor" in answer["stages"][0]["said"]
    assert answer["integration"]["outcome"] == "kept"
    after = {k: v for k, v in tree(root).items() if not k.startswith(".warpsmith")}
    assert {n for n in after if before.get(n) != after[n]} == {"src/product.c"}
    ledger = root / ".warpsmith/campaigns/apps/c-product/main/ledger.jsonl"
    decided = [e for e in read_events(ledger) if isinstance(e, Decided)]
    assert [(d.decision, d.result) for d in decided] == [("integrate", "deployed")]
    assert decided[0].candidate == answer["integration"]["candidate"]

    again = json.loads(run(root, "--budget", "rounds=1,seconds=15").stdout)
    assert {s["state"] for s in again["stages"]} == {"not_applicable", "cached"}
    assert again["integration"]["id"] == answer["integration"]["id"]

    # and a worse one of the same campaign: below the gate, without a build
    (root / "src/product.c").write_text((root / "src/product.c").read_text())
    told_ids = [str(PROGRAM), "integrate", "baseline", "--app", "app.toml", "--json"]
    below = subprocess.run(told_ids, cwd=root, capture_output=True, text=True, check=False)
    assert below.returncode == 2, below.stderr
    assert json.loads(below.stdout)["integration"]["outcome"] == "short_circuit"
    assert [e.result for e in read_events(ledger) if isinstance(e, Decided)] == ["deployed", "short_circuit"]


@pytest.mark.slow
def test_an_agent_of_ones_own_optimises_what_was_captured_a_moment_ago(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage on a captured task that no commit holds, with a command for an agent; the repository is as it was."""
    root, better = tmp_path / "project", tmp_path / "better"
    apptask.make(root)
    calibrate(root)
    waste = "    for (volatile int r = 0; r < 9 * n; ++r) {}\n"
    slow = apptask.ORIGINAL.replace("    for (int64_t i", f"{waste}    for (int64_t i")
    apptask.candidate(root, "src", slow)
    apptask.candidate(root, "baseline", slow)
    better.mkdir()
    (better / "k.c").write_text(apptask.ORIGINAL)
    (better / "candidate.toml").write_text(apptask.CANDIDATE)
    (root / "k.c").write_text("void k(float *a) { a[0] = 1; }\n")
    (root / "app.toml").write_text(
        'name = "c"\nsource = "k.c"\nkernel = "k"\nbuild = "true"\nrun = "true"\nverify = "true"\nhardware = "cpu"\n'
    )
    git(root, "init", "--quiet")
    git(root, "add", "k.c", "app.toml")
    git(root, "commit", "--quiet", "-m", "the application")
    before = (git(root, "status", "--porcelain"), git(root, "rev-parse", "HEAD"))
    monkeypatch.setenv("WARPSMITH_AGENT", f"cp -r {better}/. tasks/captured/gather/candidate")
    space = Workspace(root, {"proposer": "agent"})
    stage = made("optimize", Journey(space, load_app(root), budget="rounds=1,seconds=60"))
    result = stage.run({"task": str(root / "tasks/captured/gather")})
    assert (result.stop, result.exit_status) == ("", 0)
    h = space.history("captured/gather", "main")
    chosen = h.candidates[result.gives["candidate"]]
    assert space.blobs.texts(chosen) == {"k.c": apptask.ORIGINAL} and chosen.parent in h.candidates
    assert (git(root, "status", "--porcelain"), git(root, "rev-parse", "HEAD")) == before
