"""Agents: worktrees with real git, commands, environments, time-outs, folders of candidates, plateaus."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.agents import KEYS, STUB, TASK, agent, git, repository, tree
from warpsmith.errors import BadInput, Missing
from warpsmith.mark import MARK, mark
from warpsmith.propose import agent_run
from warpsmith.propose.agent_folder import manifest, write_candidate
from warpsmith.propose.agent_run import Job, Running, command, environment, require, template, write_mcp_config
from warpsmith.propose.agent_worktree import begun, prepare
from warpsmith.store.blobs import Blobs
from warpsmith.store.folders import load_candidate

ROOT = Path(__file__).parent.parent.parent


def job(folder: Path, name: str = "claude", **said: object) -> Job:
    made: dict[str, object] = {
        "agent": name, "role": "implementer", "run": f"r{time.time_ns()}", "prompt": "the card", "folder": folder,
        "mcp_config": folder / "mcp.json", "project": folder, "log": folder / "logs" / "agent.log", **said,
    }  # fmt: skip
    return Job(**made)  # type: ignore[arg-type]


def test_a_worktree_is_made_and_nothing_else_changes(tmp_path: Path) -> None:
    root = repository(tmp_path / "project")
    before, status = tree(root), git(root, "status", "--porcelain")
    made = prepare(root, root / "tasks" / TASK, tmp_path / "trees", "r1")
    assert (made.path / "tasks" / TASK / "task.toml").is_file()
    assert git(made.path, "rev-parse", "--abbrev-ref", "HEAD").strip() == "warpsmith/r1"
    assert made.dirty() == ()
    assert (tree(root), git(root, "status", "--porcelain")) == (before, status)
    assert git(root, "rev-parse", "--abbrev-ref", "HEAD").strip() == "main"
    made.work.mkdir(parents=True)
    (made.work / "a.c").write_text("int a;\n")
    started = begun(made)
    assert started.start != started.base == made.base
    assert prepare(root, root / "tasks" / TASK, tmp_path / "trees", "r1") == started
    (started.work / "a.c").write_text("int b;\n")
    (started.path / "stray.txt").write_text("x")
    assert started.outside(started.start) == ("stray.txt",)
    assert "+int b;" in started.diff(started.start)
    started.commit("more")
    started.reset(started.start)
    assert (started.work / "a.c").read_text() == "int a;\n"
    assert started.changed(started.start) == ()


def test_what_git_cannot_give_is_a_clear_error(tmp_path: Path) -> None:
    root = repository(tmp_path / "project")
    git(
        root,
        "branch",
        "empty",
        git(root, "commit-tree", "-m", "empty", git(root, "mktree", "--missing").strip()).strip(),
    )
    task, trees = root / "tasks" / TASK, tmp_path / "trees"
    for run, base, message in [
        ("r1", "empty", "empty does not hold tasks/my/axpy/task.toml"),
        ("r1", "nowhere", "'nowhere' names no commit"),
        ("../r1", "", "cannot name a run"),
        ("--force", "", "cannot name a run"),
    ]:
        with pytest.raises(BadInput, match=message):
            prepare(root, task, trees, run, base)
    assert not trees.exists()
    (trees / "taken").mkdir(parents=True)
    with pytest.raises(BadInput, match="no worktree of warpsmith/taken"):
        prepare(root, task, trees, "taken")
    bare = tmp_path / "bare"
    (bare / "tasks").mkdir(parents=True)
    with pytest.raises(BadInput, match="no git repository"):
        prepare(bare, bare / "tasks", trees, "r1")


def test_a_captured_task_that_no_commit_holds_is_taken_along(tmp_path: Path) -> None:
    root = repository(tmp_path / "project")
    task = root / "tasks" / "captured" / "late"
    task.mkdir(parents=True)
    (task / "task.toml").write_text('name = "captured/late"\n')
    before = (tree(root), git(root, "log", "main", "--format=%H"))
    with pytest.raises(BadInput, match="does not hold tasks/captured/late"):
        prepare(root, task, tmp_path / "trees", "r1")
    made = prepare(root, task, tmp_path / "trees", "r1", captured=True)
    assert (made.path / made.task / "task.toml").read_text() == (task / "task.toml").read_text()
    assert (made.dirty(), made.changed(made.base)) == ((), ())
    assert prepare(root, task, tmp_path / "trees", "r1", captured=True) == made
    assert (tree(root), git(root, "log", "main", "--format=%H")) == before


def test_a_hook_of_the_repository_does_not_run(tmp_path: Path) -> None:
    root = repository(tmp_path / "project")
    hook = root / ".git/hooks/post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    prepare(root, root / "tasks" / TASK, tmp_path / "trees", "r1")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("folder", ["cpu/sgemm/src", "cpu/rmsnorm/src", "cuda/rmsnorm/src", "cpu/sgemm/baseline"])
def test_a_candidate_that_is_written_reads_back_as_the_same(folder: str, tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    original = load_candidate(ROOT / "tasks" / folder, blobs)
    points = list(original.space.points())
    for candidate in (original, original.at(points[-1], "the last point") if points else original):
        write_candidate(candidate, tmp_path / "made", blobs)
        again = load_candidate(tmp_path / "made", blobs)
        assert again.id == candidate.id
        assert again.space.tunables.keys() == candidate.space.tunables.keys()
        assert manifest(again) == manifest(candidate)


def test_the_commands_of_the_shipped_agents(tmp_path: Path) -> None:
    claude = command(template("claude"), job(tmp_path, model="opus", effort="high"), tmp_path / "reply")
    assert claude[:2] == ["claude", "-p"]
    assert claude[claude.index("--mcp-config") + 1] == str(tmp_path / "mcp.json")
    assert claude[claude.index("--model") + 1] == "opus"
    assert claude[claude.index("--effort") + 1] == "high"
    plain = command(template("claude"), job(tmp_path), tmp_path / "reply")
    assert not {"--model", "--effort"} & set(plain)
    reviewer = command(template("claude"), job(tmp_path, role="reviewer"), tmp_path / "reply")
    assert json.loads(reviewer[reviewer.index("--settings") + 1]) == {"disableAllHooks": True}
    assert not any("Edit" in word for word in reviewer)
    codex = command(template("codex"), job(tmp_path, "codex", role="reviewer", effort="high"), tmp_path / "reply")
    assert codex[:4] == ["codex", "exec", "--cd", str(tmp_path)]
    assert codex[codex.index("--sandbox") + 1] == "read-only"
    assert {"features.hooks=false", 'model_reasoning_effort="high"'} <= set(codex)
    assert "the card" not in " ".join(codex + claude), "the prompt goes to standard input"


def test_a_template_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('command = ["mine", "--run", "{run}"]\nmodel = ["-m", "{model}"]\n')
    mine = template(str(tmp_path / "mine.toml"))
    assert command(mine, job(tmp_path, run="r7", model="m"), tmp_path) == ["mine", "--run", "r7", "-m", "m"]
    (tmp_path / "bad.toml").write_text('comand = ["mine"]\n')
    with pytest.raises(BadInput, match="no template"):
        template(str(tmp_path / "bad.toml"))
    with pytest.raises(BadInput, match="nowhere"):
        command(template("mine {nowhere}"), job(tmp_path), tmp_path)
    with pytest.raises(Missing, match="no-such-agent"):
        require("no-such-agent --flag")


def test_an_agent_sees_its_own_key_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, key in {**KEYS, "MY_GATEWAY": "gw-secret"}.items():
        monkeypatch.setenv(name, key)
    models = ("openai:qwen@https://gateway.example/v1#MY_GATEWAY",)
    seen = environment(template("claude"), job(tmp_path, models=models))
    assert seen["ANTHROPIC_API_KEY"] == KEYS["ANTHROPIC_API_KEY"]
    assert not {"OPENAI_API_KEY", "MY_GATEWAY"} & set(seen)
    assert seen[MARK].startswith("implementer:")
    write_mcp_config(job(tmp_path))
    assert not any(key in (tmp_path / "mcp.json").read_text() for key in KEYS.values())
    stub = Running(job(tmp_path, agent("idle")))
    stub.job.mcp_config.touch()
    ended = stub.wait()
    assert ended.how == "failed", "the stub needs a card"
    assert not any(key in stub.job.log.read_text() for key in (*KEYS.values(), "gw-secret"))


def _alive(words: str) -> list[int]:
    found = subprocess.run(["pgrep", "-f", words], capture_output=True, text=True, check=False).stdout
    return [int(line) for line in found.split()]


def test_a_time_out_ends_all_that_an_agent_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_run, "GRACE_S", 0.5)
    script = tmp_path / "late.sh"
    word = f"sleep 31415.{os.getpid()}"
    script.write_text(f"#!/bin/bash\ntrap '' TERM\nsetsid {word} &\n{word} &\n{word}\n")
    script.chmod(0o755)
    running = Running(job(tmp_path, str(script), timeout_s=1.0))
    began = time.monotonic()
    ended = running.wait()
    assert ended.how == "timed_out"
    assert time.monotonic() - began < 120
    assert not _alive(word)


def test_no_agent_starts_inside_an_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARK, mark("reviewer", "r1", "1")[MARK])
    with pytest.raises(BadInput, match="no agent is started inside an agent's run"):
        Running(job(tmp_path, f"cat {STUB}"))
