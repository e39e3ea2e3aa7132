"""The ``reject`` verb: negative knowledge goes into the ledger, where a history, memory and patterns read it."""

from __future__ import annotations

import time

from warpsmith.errors import BadInput
from warpsmith.model.campaign import Decided
from warpsmith.store.history import fold
from warpsmith.store.ledger import Ledger
from warpsmith.surface.answers_ship import RejectAnswer
from warpsmith.surface.workspace import Known, Workspace


def reject_candidate(
    space: Workspace, known: Known, candidate: str, claim: str, why: str, evidence: tuple[str, ...], blocker: str,
    tag: str,
) -> RejectAnswer:  # fmt: skip
    """Append the decision. Raises BadInput for a candidate that the campaign does not know, or empty words."""
    name = known.loaded.head.name
    for flag, said in (("--claim", claim), ("--why", why)):
        if not said.strip():
            raise BadInput(f"{flag} is empty.", "Say it in a sentence: whoever tries it next reads this.")
    chosen = space.candidate(known, candidate, tag)
    space.history(name, tag)
    with Ledger(space.ledger(name, tag)) as ledger:
        if chosen.id not in fold(ledger.events()).candidates:
            raise BadInput(f"the campaign {tag!r} of {name} does not know {candidate!r}.", "Submit it first.")
        ledger.append(
            Decided(
                candidate=chosen.id,
                decision="reject",
                result="rejected",
                reason=why,
                at=time.time(),
                claim=claim,
                evidence=evidence,
                blocker=blocker,
            )
        )
    return RejectAnswer(task=name, candidate=chosen.id, claim=claim, evidence=evidence, why=why, next_blocker=blocker)
