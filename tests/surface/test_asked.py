"""Asking models from the surface: who is asked, what the judge's processes may see, what people read of it."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from tests.fakes import BASELINE, ENTRY, KERNEL
from tests.propose.askers import opened, step
from tests.propose.test_money import finished, record
from warpsmith.errors import BadInput
from warpsmith.model.campaign import Budget
from warpsmith.model.step import Proposal
from warpsmith.propose.llm.asking import NoKey
from warpsmith.settings import Settings
from warpsmith.surface.asked import Recording, asker_for
from warpsmith.surface.budgets import budget_of
from warpsmith.surface.view import view
from warpsmith.surface.workspace import Workspace


def test_a_proposer_that_asks_nobody_has_no_asker_and_no_transcript(tmp_path: Path) -> None:
    assert asker_for(Settings(), tmp_path, Budget(), Recording()) is None
    for recording in (Recording(transcript=True), Recording(replay=tmp_path)):
        with pytest.raises(BadInput, match="--proposer sweep asks no model"):
            asker_for(Settings(), tmp_path, Budget(), recording)


def test_without_a_key_the_sweep_is_offered_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with pytest.raises(NoKey, match="ANTHROPIC_API_KEY") as caught:
        asker_for(Settings(proposer="llm"), tmp_path, Budget(), Recording())
    assert "--proposer sweep" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_processes_of_the_judge_get_no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "MY_GATEWAY"):
        monkeypatch.setenv(name, "secret-value")
    space = Workspace(tmp_path, {"models_fix": "openai:m@https://h/v1#MY_GATEWAY"})
    environment = space.session("x").environment
    assert environment is not None
    assert "secret-value" not in environment.values()
    assert environment["PATH"]


def test_budgets_of_money_tokens_and_calls_can_be_said(tmp_path: Path) -> None:
    said = budget_of("money=1.10,tokens=200000,calls=40", Workspace(tmp_path).settings)
    assert (said.money, said.tokens, said.calls) == (Decimal("1.10"), 200_000, 40)
    with pytest.raises(BadInput, match="--budget: money"):
        budget_of("money=lots", Workspace(tmp_path).settings)
    with pytest.raises(BadInput, match="tokens, calls"):
        budget_of("cents=5", Workspace(tmp_path).settings)


def test_a_view_carries_money_to_the_last_digit() -> None:
    h = opened() + finished(step(), Proposal(candidates=(), asks=(record("0.000001"), record("0.1"))))
    seen = json.loads(view(h, KERNEL).model_dump_json())
    assert seen["costs"]["total"]["money"] == "0.100001"
    assert seen["costs"]["roles"]["propose"]["usage"]["output"] == 100
    assert {BASELINE.id, ENTRY.id}.isdisjoint(seen["costs"]["candidates"])
