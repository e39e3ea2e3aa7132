"""A model that mends what does not hold in an application: the fixer of ``integrate --fix``."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from warpsmith.errors import BadInput

if TYPE_CHECKING:
    from warpsmith.app.integrate import Fixer, Trouble
    from warpsmith.propose.llm.asking import Ask, Block
    from warpsmith.surface.integrating import Chosen
    from warpsmith.surface.workspace import Workspace

PROMPT = Path(__file__).parent / "templates" / "mend.md"
MOST = 24_000
"""Characters of a file that are shown."""
_FENCE = re.compile(r"^(?P<f>`{3,})[^\n`]*\n(?P<body>.*?)^(?P=f)\s*$", re.M | re.S)


def fixer_for(space: Workspace, chosen: Chosen, folder: Path, budget: str) -> tuple[Fixer, Callable[[], None]]:
    """Who mends, and how to end asking. What asking costs goes into the ledger that knows the candidate.

    Raises NoKey, Missing, and BadInput for a candidate of no campaign, since the money is counted in its ledger.
    """
    from warpsmith.model.campaign import Consulted
    from warpsmith.propose.llm.asking import AskError
    from warpsmith.propose.llm.purse import Purse, Spent
    from warpsmith.propose.llm.sitting import Keeping, open_asker
    from warpsmith.store.ledger import Ledger
    from warpsmith.surface.budgets import budget_of

    if chosen.history is None or chosen.ledger is None:
        raise BadInput(f"--fix: no campaign knows the candidate of {chosen.of}.", "Hand it in: 'warpsmith submit'.")
    limits = budget_of(budget, space.settings)
    path, h = chosen.ledger, chosen.history
    asker = open_asker(space.settings, limits, Keeping(folder), os.environ, roles=("fix",))
    purse = Purse(limits, Spent(h.money, h.tokens, h.calls))

    def mend(trouble: Trouble) -> str | None:
        about = f"integrate: {trouble.kind}"
        try:
            answer, record = asker.callers["fix"].call(ask_of(trouble), purse, asker.stop)
        except AskError as error:  # spent, declined or unreachable: what there is fails, and the tree goes back
            records, answer = error.asks, ""
        else:
            records = (record,)
        with Ledger(path) as ledger:
            ledger.append(Consulted(asks=records, about=about, at=time.time()))
        return section_of(answer)

    return mend, asker.close


def ask_of(trouble: Trouble) -> Ask:
    """What is said to a model of one failure."""
    from warpsmith.propose.llm.asking import Ask, Block, Message

    rules = Block(name="rules", text=PROMPT.read_text(encoding="utf-8"), stable=True)
    return Ask(role="fix", system=(rules,), messages=(Message(role="user", blocks=_blocks(trouble)),))


def section_of(reply: str) -> str | None:
    """The section in a reply: its last fence; None where there is none."""
    found = [m["body"] for m in _FENCE.finditer(reply)]
    return found[-1] if found and found[-1].strip() else None


def _blocks(trouble: Trouble) -> tuple[Block, ...]:
    from warpsmith.propose.llm.asking import Block

    parts = {
        "failure": f"{trouble.kind} failed (fix {trouble.attempt}):\n\n{trouble.said[-MOST:]}",
        "section": f"The section, in {trouble.path}:\n\n```\n{trouble.section}```",
        "file": f"The file as it was before:\n\n```\n{trouble.original[:MOST]}\n```",
        **{f"context {n}": f"{n}:\n\n```\n{t[:MOST]}\n```" for n, t in trouble.context.items()},
    }
    return tuple(Block(name=name, text=text) for name, text in parts.items())
