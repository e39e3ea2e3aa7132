"""Reviewers beside a campaign: what they cost is in its ledger, and a model that reviews is under its budget."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from warpsmith.model.asks import AskRecord
from warpsmith.model.campaign import Budget, Consulted
from warpsmith.propose.llm.asking import Ask, AskError, Block, said
from warpsmith.propose.llm.purse import Purse, Spent
from warpsmith.propose.llm.sitting import Keeping, open_asker
from warpsmith.store.history import fold
from warpsmith.store.ledger import Ledger, LedgerBusy

if TYPE_CHECKING:
    from warpsmith.surface.workspace import Workspace

POLL_S = 0.5
ROLE = "You review performance work. Be brief and exact."


def ask_model(space: Workspace, path: Path, text: str, budget: Budget, about: str) -> str:
    """What the model of the role review says to ``text``; what that cost goes into the ledger at ``path``.

    Raises NoKey before anything is asked, BudgetSpent where the budget has no room for the ask, AskError where there
    is no answer. Waits while another process writes the ledger.
    """
    asker = open_asker(space.settings, budget, Keeping(path.parent / "asks"), os.environ, roles=("review",))
    ask = Ask(role="review", system=(Block(name="role", text=ROLE, stable=True),), messages=(said("user", text),))
    try:
        with _held(path) as ledger:
            h = fold(ledger.events())
            purse = Purse(budget, Spent(h.money, h.tokens, h.calls))
            try:
                answer, record = asker.callers["review"].call(ask, purse, asker.stop)
            except AskError as error:
                if any(one.tries for one in error.asks):
                    ledger.append(Consulted(asks=error.asks, about=about, at=time.time()))
                raise
            ledger.append(Consulted(asks=(record,), about=about, at=time.time()))
    finally:
        asker.close()
    return answer


def note(path: Path, record: AskRecord, about: str) -> None:
    """Put what a reviewing agent says that it spent into the ledger at ``path``."""
    with _held(path) as ledger:
        ledger.append(Consulted(asks=(record,), about=about, at=time.time()))


def _held(path: Path) -> Ledger:
    """The ledger, once nobody else writes it: a candidate handed in from outside may be measured meanwhile."""
    while True:
        try:
            return Ledger(path)
        except LedgerBusy:
            time.sleep(POLL_S)
