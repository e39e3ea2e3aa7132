"""The launch verb and the agent proposer: real git, real processes, a stub agent that works through MCP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.agents import KEYS, TASK, agent, environment, git, measured, repository, tree
from tests.projects import calibrate
from tests.propose.server import KEY, Received, Server
from tests.propose.speaking import Scripted
from tests.propose.test_llm_campaign import ROOT
from tests.propose.test_llm_campaign import small_sgemm as sgemm
from tests.stub_agent import FAST
from warpsmith.analyse.costs import costs
from warpsmith.analyse.standing import standing
from warpsmith.mark import MARK
from warpsmith.model.campaign import Submitted
from warpsmith.store.history import fold
from warpsmith.store.ledger import read_events, writer
from warpsmith.surface.workspace import Workspace

PROGRAM = (sys.executable, "-P", "-m", "warpsmith.surface.cli")


def run(root: Path, *words: str, **more: str) -> tuple[int, dict[str, Any], str]:
    """Exit status, JSON answer, standard error."""
    done = subprocess.run(
        [*PROGRAM, *words, "--json"], cwd=root, capture_output=True, text=True, check=False, env=environment(**more)
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


def no_key_anywhere(*folders: Path) -> None:
    """No file, and no name of one, holds a key."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes()
                assert not any(key.encode() in content for key in KEYS.values()), path


def test_prepare_only_makes_worktree_branch_and_card_and_touches_nothing_else(tmp_path: Path) -> None:
    root = repository(tmp_path / "project")
    before = (
        tree(root),
        git(root, "status", "--porcelain", "--", ":!.warpsmith"),
        git(root, "log", "--all", "--format=%H"),
    )
    status, answer, _ = run(root, "launch", TASK, "--run", "r1")
    assert status == 0
    (one,) = answer["launched"]
    worktree = Path(one["worktree"])
    assert worktree == root / ".warpsmith/worktrees/r1"
    assert git(worktree, "rev-parse", "--abbrev-ref", "HEAD").strip() == one["branch"] == "warpsmith/r1"
    assert git(worktree, "status", "--porcelain") == "", "card and skills ignore themselves"
    card = Path(one["card"]).read_text()
    for words in ("# my/axpy: make it faster", "## K:", "## R:", "## W:", "def reference", "weight 0.25", "submit("):
        assert words in card, words
    assert (worktree / "tasks/my/axpy/candidate/candidate.toml").is_file()
    for skills in (".claude/skills", ".agents/skills"):
        assert (worktree / skills / "warpsmith/SKILL.md").read_text().startswith("---\nname: warpsmith")
    attached = json.loads((worktree / ".warpsmith/agent/mcp.json").read_text())["mcpServers"]["warpsmith"]
    assert attached["env"].pop(MARK).startswith("implementer:r1:")
    assert attached["env"] == {"WARPSMITH_PROJECT": str(root)}
    assert set(one["commands"]) == {"claude", "codex"}
    assert all(str(worktree) in said for said in one["commands"].values())
    after = (
        tree(root),
        git(root, "status", "--porcelain", "--", ":!.warpsmith"),
        git(root, "log", "main", "--format=%H"),
    )
    assert after == before
    no_key_anywhere(root, worktree)
    again = run(root, "launch", TASK, "--run", "r1")[1]
    assert again["launched"][0]["base"] == one["base"], "the same run goes on"


@pytest.mark.slow
def test_what_cannot_be_launched_is_said_before_anything_is_made(tmp_path: Path) -> None:
    root = repository(tmp_path / "project")
    (root / "tasks/my/late").mkdir()
    for path in (root / "tasks" / TASK).rglob("*"):
        target = root / "tasks/my/late" / path.relative_to(root / "tasks" / TASK)
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(path.read_text().replace(TASK, "my/late"))
    for words, status, message in [
        (["my/late"], 3, "the current commit does not hold tasks/my/late/task.toml"),
        ([TASK, "--base", "nowhere"], 3, "names no commit"),
        ([TASK, "--agent", "no-such-agent"], 4, "'no-such-agent' is not here"),
        ([TASK, "--agent", "true", "--reviewer", "no-such-agent"], 4, "'no-such-agent' is not here"),
        ([TASK, "--reviewer", "claude"], 3, "nothing to review"),
        ([TASK, "--agent", "true", "--max", "0"], 3, "--max"),
        (["no/such"], 3, "there is no task"),
        ([], 3, "no task is named"),
    ]:
        given, answer, _ = run(root, "launch", *words)
        assert (given, message in answer["error"]) == (status, True), (words, answer)
        assert answer["remedy"]
    assert not (root / ".warpsmith/worktrees").exists()
    assert git(root, "branch", "--list", "warpsmith/*") == ""
    inside, refused, _ = run(root, "launch", TASK, **{MARK: "implementer:r1"})
    assert inside == 3
    assert "refused inside an agent's run" in refused["error"]


@pytest.mark.slow
def test_a_stub_agent_reaches_a_gain_through_mcp_from_its_worktree(tmp_path: Path) -> None:
    space = measured(tmp_path / "project")
    before = tree(space.root)
    status, answer, errors = run(space.root, "launch", TASK, "--agent", agent("gain"), "--run", "r1")
    (one,) = answer["launched"]
    log = (space.home / "agents/r1/agent.log").read_text()
    assert status == 0, (answer, errors, log)
    assert one["gained"], one
    assert "optimize refused: True" in log
    assert "launch refused: True" in log
    assert "check: passed" in log
    assert "submit: best=True" in log
    assert "ANTHROPIC_API_KEY is not here" in log
    assert tree(space.root) == before
    events = read_events(space.ledger(TASK, "main"))
    assert [e.by for e in events if isinstance(e, Submitted)] == ["stub"]
    h = fold(events)
    s = standing(h)
    assert h.origins[s.best] == "submitted"
    assert h.candidates[s.best].memo == "[loop] the plain loop"
    assert s.estimates[s.best] < -0.2
    assert [a.record.role for a in h.asked] == ["agent"]
    assert git(Path(one["worktree"]), "status", "--porcelain") == ""
    no_key_anywhere(space.home, Path(one["worktree"]))


@pytest.mark.slow
def test_a_stub_agent_reaches_a_gain_on_sgemm(tmp_path: Path) -> None:
    root = tmp_path / "project"
    sgemm(root)
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "tasks")
    calibrate(root)
    words = ["launch", "cpu/sgemm", "--agent", agent(f"copy={ROOT}/tasks/cpu/sgemm/src"), "--run", "r1"]
    status, answer, errors = run(root, *words)
    space = Workspace(root)
    log = (space.home / "agents/r1/agent.log").read_text()
    assert status == 0, (answer, errors, log)
    assert "submit: best=True" in log
    h = fold(read_events(space.ledger("cpu/sgemm", "main")))
    s = standing(h)
    assert h.origins[s.best] == "submitted" and s.published[s.best].comparison.verdict.value == "faster"
    no_key_anywhere(space.home, Path(answer["launched"][0]["worktree"]))


@pytest.mark.slow
def test_a_reviewer_that_always_stalls_ends_the_loop_at_three(tmp_path: Path) -> None:
    space = measured(tmp_path / "project")
    words = ["launch", TASK, "--agent", agent("comment"), "--reviewer", agent("review-stalled"), "--run", "r1"]
    status, answer, errors = run(space.root, *words)
    (one,) = answer["launched"]
    assert status == 2
    assert [r["verdict"] for r in one["rounds"]] == ["STALLED"] * 3
    assert [r["plan"] for r in one["rounds"]] == [1, 1, 2]
    assert "3 rounds in a row without progress" in one["ended"]
    assert "round 3: STALLED" in errors
    kept = Path(one["kept"])
    assert "Do something else altogether" in (kept / "plan-2.md").read_text()
    assert (kept / "03/contract.md").read_text().startswith("# Round 3 of 12")
    assert "+/* " in (kept / "01/changes.patch").read_text()
    no_key_anywhere(space.home, Path(one["worktree"]))


@pytest.mark.slow
def test_what_an_agent_may_not_touch_voids_the_round_and_is_taken_back(tmp_path: Path) -> None:
    space = measured(tmp_path / "project")
    for mode, reason in (("outside", "files outside of"), ("plan", "the plan was edited")):
        words = ["--agent", agent(mode), "--reviewer", agent("review-gain"), "--run", mode, "--max", "1", "--tag", mode]
        _, answer, _ = run(space.root, "launch", TASK, *words)
        (one,) = answer["launched"]
        assert one["rounds"][0]["verdict"] == "STALLED"
        assert reason in one["rounds"][0]["reason"]
        assert git(Path(one["worktree"]), "status", "--porcelain") == ""
        assert "return x" not in (Path(one["worktree"]) / "tasks/my/axpy/reference.py").read_text()
        assert "again < 24" in (Path(one["worktree"]) / "tasks/my/axpy/candidate/kernel.c").read_text()
        plan = (Path(one["worktree"]) / ".warpsmith/agent/plan.md").read_text()
        assert plan == (Path(one["kept"]) / "plan-1.md").read_text()


@pytest.mark.slow
def test_a_reviewer_can_neither_go_on_by_itself_nor_leave_anything(tmp_path: Path) -> None:
    space = measured(tmp_path / "project")
    words = ["--agent", agent("forget"), "--reviewer", agent("review-curious"), "--run", "r1", "--max", "1"]
    status, answer, _ = run(space.root, "launch", TASK, *words)
    (one,) = answer["launched"]
    assert status == 0, "what was not handed in is proposed from the folder"
    assert one["rounds"][0]["verdict"] == "ADVANCED"
    review = (Path(one["kept"]) / "01/review.md").read_text()
    for verb in ("launch", "optimize", "submit"):
        assert f"tried {verb}: 3" in review
    assert not (Path(one["worktree"]) / "left-behind.txt").exists()
    assert not any(isinstance(e, Submitted) for e in read_events(space.ledger(TASK, "main")))
    assert [a.record.role for a in fold(read_events(space.ledger(TASK, "main"))).asked] == ["agent", "review"]


@pytest.mark.slow
def test_several_tasks_side_by_side(tmp_path: Path) -> None:
    space = measured(tmp_path / "project")
    repository(space.root, "my/other")
    status, answer, errors = run(space.root, "launch", TASK, "my/other", "--agent", agent("forget"))
    assert status == 0, (answer, errors)
    assert [one["task"] for one in answer["launched"]] == [TASK, "my/other"]
    assert all(one["gained"] for one in answer["launched"])
    assert len({one["worktree"] for one in answer["launched"]}) == 2


@pytest.mark.slow
def test_the_agent_proposer_in_a_campaign(tmp_path: Path) -> None:
    space = measured(tmp_path / "project")
    told = {"WARPSMITH_AGENT": agent("gain")}
    status, answer, errors = run(space.root, "optimize", TASK, "--proposer", "agent", "--budget", "rounds=1", **told)
    assert status == 0, (answer, errors)
    h = fold(read_events(space.ledger(TASK, "main")))
    assert h.campaign is not None
    assert h.campaign.proposer == "agent"
    assert len(h.rounds) == 1
    assert "finished after" in h.rounds[0].notes
    best = standing(h).best
    assert h.origins[best] == "submitted", "it was measured while the agent was at work"
    no_key_anywhere(space.home)
    missing, refused, _ = run(space.root, "optimize", TASK, "--proposer", "agent", WARPSMITH_AGENT="no-such-agent")
    assert missing == 4
    assert "--proposer sweep" in refused["remedy"]


@pytest.mark.slow
def test_models_implement_and_review(tmp_path: Path) -> None:
    space = measured(tmp_path / "project")

    def answer(received: Received) -> Scripted:
        if "You review one round of work" in received.prompt:
            return Scripted(text="VERDICT: ADVANCED\nREASON: the facts show it.\nNEXT: unroll it by two.")
        second = "unroll it by two" in received.prompt
        source = f"/* {second} */\n" + (FAST.replace("i++)", "i += 1)") if second else FAST)
        return Scripted(text=f"[loop] the plain loop\n\n```c file=kernel.c\n{source}```\n")

    with Server(answer=answer) as server:
        models = {f"WARPSMITH_MODELS_{r}": server.anthropic() for r in ("PROPOSE", "FIX", "COMPACT", "REVIEW")}
        words = ["launch", TASK, "--agent", "llm", "--reviewer", "model", "--max", "2", "--run", "r1"]
        status, answered, errors = run(space.root, *words, TEST_KEY=KEY, **models)
        proposing = [r for r in server.requests if "You review one round" not in r.prompt]
        assert "# Round 1 of 2: my/axpy" in proposing[0].last and "The plan:" in proposing[0].last
        assert "submit" not in proposing[0].last.partition("# The round")[2]
        assert any("# Round 2 of 2" in r.last and "unroll it by two" in r.last for r in proposing)
        assert any("You review one round of work" in r.prompt for r in server.requests)
        assert all(r.key == KEY for r in server.requests)
    (one,) = answered["launched"]
    assert status == 0, (answered, errors)
    assert one["rounds"][0]["verdict"] == "ADVANCED" and len(one["rounds"]) == 2
    assert "alpha * x[i] + y0[i]" in (Path(one["worktree"]) / "tasks/my/axpy/candidate/kernel.c").read_text()
    assert "FACTS" not in (Path(one["kept"]) / "01/facts.md").read_text()
    h = fold(read_events(space.ledger(TASK, "main")))
    spending = costs(h, standing(h))
    assert spending.roles["review"].asks >= 1 and spending.roles["propose"].asks >= 2
    assert spending.total.asks == len(h.asked)
    assert one["spent"].startswith(f"{len(h.asked)} asks")
    assert git(Path(one["worktree"]), "status", "--porcelain") == ""
    for folder in (space.home, Path(one["worktree"])):
        assert not any(KEY.encode() in p.read_bytes() for p in folder.rglob("*") if p.is_file())
    missing, refused, _ = run(space.root, "launch", TASK, "--agent", "true", "--reviewer", "model", **models)
    assert missing == 4
    assert "TEST_KEY" in refused["error"]
    missing, refused, _ = run(space.root, "launch", TASK, "--agent", "llm", "--run", "r2", **models)
    assert missing == 4 and "TEST_KEY" in refused["error"]
    assert not (space.home / "worktrees/r2").exists(), "nothing is made for a model that cannot be asked"


@pytest.mark.slow
def test_a_budget_ends_rounds_of_models_where_it_is_spent(tmp_path: Path) -> None:
    space = measured(tmp_path / "project")
    with Server(answer=lambda r: Scripted(text="VERDICT: STALLED" if "You review" in r.prompt else "No.")) as server:
        models = {f"WARPSMITH_MODELS_{r}": server.anthropic() for r in ("PROPOSE", "FIX", "COMPACT", "REVIEW")}
        words = ["launch", TASK, "--agent", "llm", "--reviewer", "model", "--budget", "calls=2", "--run", "r1"]
        status, answered, errors = run(space.root, *words, TEST_KEY=KEY, **models)
        assert len(server.requests) == 2, "none beyond"
    (one,) = answered["launched"]
    assert status == 2, (answered, errors)
    assert len(one["rounds"]) == 1 and "calls" in one["ended"], one
    assert fold(read_events(space.ledger(TASK, "main"))).calls == 2
    alone, answered, errors = run(space.root, "launch", TASK, "--agent", "llm", "--run", "r1", "--budget", "calls=2",
                                  TEST_KEY=KEY, **models)  # fmt: skip
    assert alone == 2 and "not begun: the budget of calls leaves no room" in answered["launched"][0]["ended"], (
        answered,
        errors,
    )


@pytest.mark.slow
def test_ctrl_c_ends_the_agent_and_the_ledger_is_whole(tmp_path: Path) -> None:
    space = measured(tmp_path / "project")
    running = subprocess.Popen(
        [*PROGRAM, "launch", TASK, "--agent", agent("late"), "--run", "r1"], cwd=space.root, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    mark = f"{MARK}=implementer:r1:".encode()

    def marked() -> list[Path]:
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in path.read_bytes():
                    found.append(path.parent)
            except OSError:
                continue
        return found

    until = time.monotonic() + 60
    while len(marked()) < 3:
        assert running.poll() is None and time.monotonic() < until, running.communicate()
        time.sleep(0.1)
    os.kill(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=40)
    assert running.returncode == 130, errors
    assert not marked()
    ledger = Workspace(space.root).ledger(TASK, "main")
    assert writer(ledger) is None
    assert fold(read_events(ledger)).campaign is not None
