"""The reviewing model: its cost is in the campaign's ledger, under the campaign's budget."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest

from tests.fakes import KERNEL
from tests.propose.askers import opened
from tests.propose.server import KEY, Server, fails
from warpsmith.analyse.costs import costs
from warpsmith.analyse.standing import standing
from warpsmith.campaign import spent
from warpsmith.model.campaign import Budget, Consulted, Opened
from warpsmith.propose.agent import account
from warpsmith.propose.agent_run import Job, Running
from warpsmith.propose.llm.asking import BudgetSpent, NoKey, Refused
from warpsmith.store.history import History, fold
from warpsmith.store.ledger import Ledger, read_events
from warpsmith.surface import reviewing
from warpsmith.surface.asked import sentence
from warpsmith.surface.budgets import budget_of
from warpsmith.surface.reviewing import ask_model, note
from warpsmith.surface.view import view
from warpsmith.surface.workspace import Workspace

PRICE = {"input": "4", "cache_write": "5", "cache_read": "0.20", "output": "20"}
"""claude-opus-5-5, US dollars per million tokens: the provider's list, not our table."""


def begun(folder: Path) -> Path:
    """The ledger of a campaign that has just begun."""
    path = folder / "ledger.jsonl"
    h = opened()
    assert h.campaign is not None
    with Ledger(path) as ledger:
        ledger.append(Opened(campaign=h.campaign, candidates=tuple(h.candidates.values()), at=0.0))
    return path


def known(path: Path) -> History:
    return fold(read_events(path))


def space(folder: Path, server: Server) -> Workspace:
    return Workspace(folder, {"models_review": server.anthropic("claude-opus-5-5")})


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)


def test_what_a_review_cost_is_in_the_ledger_and_in_every_view_of_it(tmp_path: Path) -> None:
    path = begun(tmp_path)
    with Server(["VERDICT: ADVANCED"]) as server:
        said = ask_model(space(tmp_path, server), path, "the round", Budget(), "run r1")
        bill = server.bill(**PRICE)
    assert said == "VERDICT: ADVANCED"
    (event,) = [e for e in read_events(path) if isinstance(e, Consulted)]
    assert event.about == "run r1"
    h = known(path)
    assert h.money == bill > 0
    assert (h.calls, len(h.rounds)) == (1, 0)
    found = costs(h, standing(h))
    assert set(found.roles) == {"review"} and found.roles["review"].money == bill
    both = found.model_copy(update={"roles": {"propose": found.total, **found.roles}})
    assert "propose $0.0" in sentence(both) and "review $0.0" in sentence(both)
    assert found.after.money == bill, "it led to no gain yet"
    assert view(h, KERNEL).costs.total.asks == 1
    assert not any(KEY.encode() in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


def test_reviews_count_against_the_same_hard_budget(tmp_path: Path) -> None:
    path = begun(tmp_path)
    with Server(answer=lambda received: fails(500)) as unused, Server(["VERDICT: STALLED"] * 3) as server:
        here = space(tmp_path, server)
        limits = Budget(calls=2)
        for _ in range(2):
            ask_model(here, path, "the round", limits, "run r1")
        with pytest.raises(BudgetSpent, match="2 calls"):
            ask_model(here, path, "the round", limits, "run r1")
        assert len(server.requests) == 2
        assert spent(limits, known(path)) == "2 calls were made"
        with pytest.raises(BudgetSpent, match="left of"):
            ask_model(here, path, "the round", Budget(money=Decimal("0.0001") + known(path).money), "run r1")
        with pytest.raises(BudgetSpent, match="tokens"):
            ask_model(here, path, "the round", Budget(tokens=known(path).tokens + 10), "run r1")
        assert len(server.requests) == 2, "nothing was sent that could go beyond"
        assert not unused.requests
    assert known(path).calls == 2


def test_a_review_that_failed_is_paid_for_all_the_same(tmp_path: Path) -> None:
    path = begun(tmp_path)
    with Server([fails(400)]) as server, pytest.raises(Refused):
        ask_model(space(tmp_path, server), path, "the round", Budget(), "run r1")
    (asked,) = known(path).asked
    assert asked.record.error and asked.round is None and len(asked.record.tries) == 1


def test_a_review_waits_while_another_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = begun(tmp_path)
    monkeypatch.setattr(reviewing, "POLL_S", 0.01)
    with Server(["VERDICT: STALLED"]) as server, ThreadPoolExecutor(1) as beside:
        with Ledger(path):
            asked = beside.submit(ask_model, space(tmp_path, server), path, "the round", Budget(), "run r1")
            with pytest.raises(TimeoutError):
                asked.result(timeout=0.4)
            assert not server.requests
        assert asked.result(timeout=10) == "VERDICT: STALLED"
    assert known(path).calls == 1


def test_what_a_reviewing_agent_says_that_it_cost_is_there_too(tmp_path: Path) -> None:
    path = begun(tmp_path)
    said = {"result": "VERDICT: STALLED", "total_cost_usd": 0.25, "usage": {"input_tokens": 7, "output_tokens": 3}}
    (tmp_path / "said.json").write_text(json.dumps(said))
    mine = tmp_path / "mine.toml"
    mine.write_text(
        f"command = ['cat', '{tmp_path}/said.json']\nreply = 'json'\n[json]\ntext = 'result'\n"
        "money = 'total_cost_usd'\ninput = 'usage.input_tokens'\noutput = 'usage.output_tokens'\n"
    )
    job = Job(
        agent=str(mine), role="reviewer", run="r1", prompt="the round", folder=tmp_path, project=tmp_path,
        mcp_config=tmp_path / "mcp.json", log=tmp_path / "logs/reviewer.log",
    )  # fmt: skip
    ended = Running(job).wait()
    assert ended.reply == "VERDICT: STALLED"
    note(path, account(job, ended), "run r1")
    h = known(path)
    assert (h.money, h.tokens) == (Decimal("0.25"), 10)
    assert set(costs(h, standing(h)).roles) == {"review"}
    assert spent(Budget(money=Decimal("0.2")), h) == "$0.2 were spent"


def test_nobody_is_asked_without_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = begun(tmp_path)
    with Server(["unused"]) as server:
        monkeypatch.delenv("TEST_KEY")
        with pytest.raises(NoKey, match="TEST_KEY"):
            ask_model(space(tmp_path, server), path, "the round", Budget(), "run r1")
        assert not server.requests


def test_the_budget_of_a_launch_has_no_rounds(tmp_path: Path) -> None:
    settings = Workspace(tmp_path).settings
    assert budget_of("calls=3", settings, leave_out=("rounds",)).calls == 3
    with pytest.raises(Exception, match="'rounds=3' is not understood"):
        budget_of("rounds=3", settings, leave_out=("rounds",))
