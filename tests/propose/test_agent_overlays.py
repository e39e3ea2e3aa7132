"""Agents on harness tasks: the card, a stub that hands an overlay in through MCP, rounds of plan and review."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agents import agent, git
from tests.propose.overlaying import Bench
from tests.propose.server import KEY, Received, Server
from tests.propose.sorting import BINARY, INSERTION, TASK, TOML, reply, sorting
from tests.propose.speaking import Scripted
from tests.surface.test_launch import no_key_anywhere, run
from warpsmith.analyse.standing import standing
from warpsmith.errors import BadInput
from warpsmith.model.evaluation import Effort
from warpsmith.propose.agent_card import approach, facts, say
from warpsmith.propose.agent_folder import write_candidate
from warpsmith.store.folders import load_candidate
from warpsmith.store.history import History, fold
from warpsmith.store.ledger import read_events
from warpsmith.surface.launching_shop import open_shop
from warpsmith.surface.workspace import Workspace

CANDIDATE = 'toolchain = "overlay"\nsources = ["sort.c"]\n\n[environment]\nDEPTH = "2"\n'


def repository(root: Path, toml: str = TOML) -> Workspace:
    """A committed project with the sorting task."""
    sorting(root, toml)
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "tasks")
    return Workspace(root)


def overlay(folder: Path) -> Path:
    """An overlay as a folder."""
    folder.mkdir()
    (folder / "sort.c").write_text(BINARY)
    (folder / "candidate.toml").write_text(CANDIDATE)
    return folder


def gained(space: Workspace) -> History:
    """The history of the campaign, whose best is the binary search."""
    h = fold(read_events(space.ledger(TASK, "main")))
    best = h.candidates[standing(h).best]
    assert {s.path: space.blobs.get(s.content).decode() for s in best.sources} == {"sort.c": BINARY}
    return h


def test_the_card_says_what_may_change_and_how_to_hand_it_in(tmp_path: Path) -> None:
    space = repository(tmp_path)
    known = space.task(TASK)
    told = facts(known.loaded.task, known.loaded.folder, known.entry, None)
    card = say("card.md.j2", **told, run="r1", folder=f"tasks/{TASK}/candidate", tag="main")
    for words in (
        "# my/sorting: make it faster", f"Work in `tasks/{TASK}/candidate` only", "submit(task=", "LD_*",
        "list its path under `sources`", "copy it from `workspace/` of the task's folder", "`sort.c`, `tables/*`",
        "`sort.c (", "comparisons: THE OBJECTIVE", "moves: guardrail", "`wrong` in the document is 0", "GAP: one of",
        "Read program.md", "hundred (weight 1): N = 100",
    ):  # fmt: skip
        assert words in card, words
    assert "oracle" not in card.lower() and "float64" not in card
    plan = say("plan.md.j2", **told, version=1, approach=approach(known.loaded.task))
    assert "Settings first" in plan and "moves: guardrail" in plan


def test_a_plateau_sends_an_agent_to_the_profile_of_the_command(tmp_path: Path) -> None:
    b = Bench(repository(tmp_path).root, lambda ask: "", TASK)
    for n, seconds in enumerate((0.5, 0.501, 0.502, 0.503)):
        given = b.known.entry.model_copy(update={"environment": {"DEPTH": str(n)}, "memo": f"[depth] {n}"})
        b.h.candidates[given.id], b.h.origins[given.id] = given, "submitted"
        b.measure(given, seconds, Effort.screen if n else Effort.confirm)
    told = facts(b.known.loaded.task, b.known.loaded.folder, b.known.entry, b.h)
    card = say("card.md.j2", **told, run="r1", folder="x", tag="main")
    assert "Profile first (`profile`)" in card and "`explain`" not in card


def test_an_overlay_that_is_written_to_a_folder_reads_back_as_the_same(tmp_path: Path) -> None:
    space = repository(tmp_path)
    task = space.task(TASK).loaded.task
    given = load_candidate(overlay(tmp_path / "overlay"), space.blobs, task)
    moved = given.model_copy(update={"parameters": {"GAP": 3}})
    write_candidate(moved, tmp_path / "made", space.blobs)
    again = load_candidate(tmp_path / "made", space.blobs, task)
    assert again.id == moved.id and again.environment == {"DEPTH": "2"}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_stub_agent_hands_an_overlay_in_through_mcp(tmp_path: Path) -> None:
    space = repository(tmp_path / "project")
    mode = f"copy={overlay(tmp_path / 'overlay')}"
    status, answer, errors = run(space.root, "launch", TASK, "--agent", agent(mode), "--run", "r1")
    (one,) = answer["launched"]
    log = (space.home / "agents/r1/agent.log").read_text()
    assert status == 0 and one["gained"], (answer, errors, log)
    assert "check: passed" in log and "submit: best=True" in log and "optimize refused: True" in log
    h = gained(space)
    assert h.origins[standing(h).best] == "submitted" and h.candidates[standing(h).best].environment == {"DEPTH": "2"}
    worktree = Path(one["worktree"])
    assert (worktree / "tasks" / TASK / "workspace/sort.c").is_file(), "the workspace is there to be read"
    assert "list its path under `sources`" in Path(one["card"]).read_text()
    assert git(worktree, "status", "--porcelain") == ""
    no_key_anywhere(space.home, worktree)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_agent_proposer_on_a_harness_task(tmp_path: Path) -> None:
    space = repository(tmp_path / "project")
    told = {"WARPSMITH_AGENT": f"cp {overlay(tmp_path / 'overlay')}/sort.c tasks/{TASK}/candidate/"}
    words = ("optimize", TASK, "--proposer", "agent", "--budget", "rounds=1")
    status, answer, errors = run(space.root, *words, **told)
    h = fold(read_events(space.ledger(TASK, "main")))
    assert status == 2, (answer, errors)
    assert "not listed in candidate.toml: sort.c" in h.rounds[0].notes, (
        "what is not listed is no part of it, and is said"
    )
    told = {
        "WARPSMITH_AGENT": f"cp -r {tmp_path / 'overlay'}/. tasks/{TASK}/candidate/",
        "WARPSMITH_AGENT_RUN": "second",
    }
    status, answer, errors = run(space.root, *words[:-1], "rounds=2", **told)
    assert status == 0, (answer, errors)
    assert gained(space).campaign is not None


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_models_implement_and_review_overlays(tmp_path: Path) -> None:
    space = repository(tmp_path / "project")

    def answer(received: Received) -> Scripted:
        if "You review one round of work" in received.prompt:
            return Scripted(text="VERDICT: ADVANCED\nREASON: the facts show it.\nNEXT: search by halves.")
        second = "search by halves" in received.prompt
        return Scripted(text=reply("halves" if second else "insertion", {"sort.c": BINARY if second else INSERTION}))

    with Server(answer=answer) as server:
        models = {f"WARPSMITH_MODELS_{r}": server.anthropic() for r in ("PROPOSE", "FIX", "COMPACT", "REVIEW")}
        words = ["launch", TASK, "--agent", "llm", "--reviewer", "model", "--max", "2", "--run", "r1"]
        status, answered, errors = run(space.root, *words, TEST_KEY=KEY, **models)
        reviews = [r.last for r in server.requests if "You review one round of work" in r.prompt]
    (one,) = answered["launched"]
    assert status == 0, (answered, errors)
    assert [r["verdict"] for r in one["rounds"]] == ["ADVANCED"] * 2
    assert "moves: guardrail" in reviews[0] and "+    for (int i = 1; i < n; i++) {" in reviews[0]
    gained(space)
    worktree = Path(one["worktree"])
    assert (worktree / "tasks" / TASK / "candidate/sort.c").read_text() == BINARY
    assert git(worktree, "status", "--porcelain") == ""


def test_a_server_that_is_not_ours_cannot_be_launched(tmp_path: Path) -> None:
    toml = """
name = "my/sorting"
kind = "serving"
title = "there already"
hardware = "cpu"
objective = { metric = "single.tok_s", direction = "maximize" }
server = { url = "http://127.0.0.1:1" }
[[scenarios]]
name = "single"
requests = 1
concurrency = 1
"""
    space = repository(tmp_path / "project", toml)
    with pytest.raises(BadInput, match="runs already, and no candidate can change it"):
        open_shop(space, TASK, "main", "r1", "none", "none")
    assert not (space.home / "worktrees").exists()
