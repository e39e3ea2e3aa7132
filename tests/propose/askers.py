"""Askers for tests: real SDKs against the server of server.py, without waiting."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Any

from tests.fakes import BASELINE, ENTRY, KERNEL, campaign
from tests.propose.server import KEY, Server
from warpsmith.model.asks import Role
from warpsmith.model.campaign import Budget, Opened, Started
from warpsmith.model.step import Propose
from warpsmith.propose.llm.asking import Ask, Block, Message
from warpsmith.propose.llm.caller import Pace
from warpsmith.propose.llm.sitting import CampaignAsker, Keeping, open_asker
from warpsmith.settings import Settings
from warpsmith.store.history import History

ENVIRONMENT = {"TEST_KEY": KEY}
RULES = "Write whole files. " * 60


class Still:
    """A pace that waits for nothing and remembers for how long it would have."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def pace(self, **changes: Any) -> Pace:
        return Pace(wait=lambda event, seconds: self.waits.append(seconds), **changes)


def ask(
    text: str = "Make it faster.",
    *,
    rules: str = RULES,
    role: Role = "propose",
    max_tokens: int = 2000,
    facts: str = "",
) -> Ask:
    """An ask with a stable block, perhaps one that changes, and one message."""
    system = [Block(name="rules", text=rules, stable=True)]
    system += [Block(name="facts", text=facts)] if facts else []
    message = Message(role="user", blocks=(Block(name="user", text=text),))
    return Ask(role=role, system=tuple(system), messages=(message,), max_tokens=max_tokens)


def settings(model: str, **changes: Any) -> Settings:
    """Settings that name ``model`` for every role."""
    named = {f"models_{role}": model for role in ("propose", "fix", "compact", "review")}
    return Settings(**{**named, **changes})


def asker(
    model: str | Server,
    folder: Path,
    budget: Budget | None = None,
    *,
    transcript: bool = False,
    replay: Path | None = None,
    pace: Pace | None = None,
    environment: Mapping[str, str] = ENVIRONMENT,
    **changes: Any,
) -> CampaignAsker:
    """An asker whose roles are all ``model``, or the Anthropic default of a server."""
    name = model.anthropic() if isinstance(model, Server) else model
    keeping = Keeping(folder / "asks", folder / "transcript" if transcript else None)
    told = settings(name, **changes)
    quick = pace or Still().pace()
    return open_asker(told, budget or Budget(), keeping, environment, replay=replay, pace=quick)


def opened(budget: Budget | None = None, **changes: Any) -> History:
    """The history of a campaign that has just begun."""
    told = campaign(KERNEL, **({"budget": budget} if budget else {}), **changes)
    return History() + Opened(campaign=told, candidates=(BASELINE, ENTRY), at=0.0)


def step(number: int = 0) -> Propose:
    return Propose(round=number, parent=ENTRY.id, count=1)


def started(history: History, what: Propose) -> History:
    return history + Started(step=what, at=0.0)


NEVER = Event()
"""Nobody stops anything."""
