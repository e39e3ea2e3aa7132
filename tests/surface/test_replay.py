"""``optimize --transcript``, then ``--replay``: from the command line, with real processes, compiler and judge."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agents import TASK, measured
from tests.propose.server import KEY, Server, fails
from tests.stub_agent import FAST
from tests.surface.test_launch import run
from warpsmith.store.history import History, fold
from warpsmith.store.ledger import read_events
from warpsmith.surface.workspace import Workspace

LIMITS = ("--proposer", "llm", "--budget", "rounds=1", "--batch", "1")


def reply(memo: str, text: str) -> str:
    return f"[{memo}] {memo}\n\n```c file=kernel.c\n{text}```\n"


def known(space: Workspace) -> History:
    return fold(read_events(space.ledger(TASK, "main")))


@pytest.mark.slow
def test_a_recorded_campaign_runs_again_from_the_command_line_without_key_or_network(tmp_path: Path) -> None:
    broken = FAST.replace("int64_t i = 0", "int64_t i = zero")
    script = [fails(529, 0.0), reply("broken", broken), reply("fix", FAST)]
    first = measured(tmp_path / "first")
    with Server(script) as server:
        models = {f"WARPSMITH_MODELS_{r}": server.anthropic() for r in ("PROPOSE", "FIX", "COMPACT", "REVIEW")}
        models |= {"WARPSMITH_ASKS": "1"}
        status, answer, errors = run(first.root, "optimize", TASK, *LIMITS, "--transcript", TEST_KEY=KEY, **models)
        sent = len(server.requests)
        assert sent == 3 and not server.script, (answer, errors)
    transcript = first.ledger(TASK, "main").parent / "transcript"
    assert list(transcript.iterdir()), "prompts and replies are kept"
    recorded = known(first)
    again = measured(tmp_path / "again")
    replayed_status, replayed, errors = run(
        again.root, "optimize", TASK, *LIMITS, "--replay", str(transcript), **models
    )  # the server is gone, and there is no key
    assert len(server.requests) == sent
    assert replayed_status == status == 0, (replayed, errors)
    assert replayed["view"]["best"] == answer["view"]["best"]
    h = known(again)
    assert [r.candidates for r in h.rounds] == [r.candidates for r in recorded.rounds]
    assert h.asked and all(a.record.replayed for a in h.asked) and not any(a.record.replayed for a in recorded.asked)
    assert h.money == recorded.money
    missing, refused, _ = run(again.root, "optimize", TASK, *LIMITS, "--tag", "none", **models)
    assert missing == 4 and "TEST_KEY" in refused["error"], "without the transcript there is no key"
    lost, refused, _ = run(again.root, "optimize", TASK, *LIMITS, "--tag", "none", "--replay", str(tmp_path / "no"))
    assert lost == 3 and "there is no transcript" in refused["error"]
    for root in (first.root, again.root):
        assert not any(KEY.encode() in p.read_bytes() for p in root.rglob("*") if p.is_file() and not p.is_symlink())
