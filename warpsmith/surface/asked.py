"""Asking models, as the surfaces see it: who is asked for a campaign, and what that cost in a sentence."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from warpsmith.analyse.costs import Costs
from warpsmith.errors import BadInput
from warpsmith.propose import habits
from warpsmith.propose.llm.names import without_keys as strip

if TYPE_CHECKING:
    from warpsmith.model.campaign import Budget
    from warpsmith.propose.llm.asking import Asker
    from warpsmith.settings import Settings

PENDING, TRANSCRIPT = "asks", "transcript"
"""Folders of a campaign: asks of steps under way, and all of them for good."""


@dataclass(frozen=True)
class Recording:
    """What becomes of asks and answers beside the ledger."""

    transcript: bool = False
    """Keep them all in the campaign's folder."""
    replay: Path | None = None
    """A folder with a transcript that answers in the place of models."""


def asker_for(settings: Settings, campaign: Path, budget: Budget, recording: Recording) -> Asker | None:
    """Whoever asks for the campaign in the folder ``campaign``; None for a proposer that asks no model.

    Raises NoKey, Missing or BadInput before anything begins.
    """
    if not habits(settings.proposer).models:
        if recording != Recording():
            raise BadInput(
                f"--proposer {settings.proposer} asks no model, so there is nothing to record or to replay.",
                "Leave --transcript and --replay out, or use '--proposer llm'.",
            )
        return None
    from warpsmith.propose.llm.sitting import Keeping, open_asker

    kept = campaign / TRANSCRIPT if recording.transcript else None
    return open_asker(settings, budget, Keeping(campaign / PENDING, kept), os.environ, replay=recording.replay)


def without_keys(environment: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """``environment`` without the keys of providers and of the models in ``settings``: for processes of the judge."""
    named = (value for name, value in vars(settings).items() if name.startswith("models_"))
    return strip(environment, named)


def sentence(costs: Costs) -> str:
    """What asking cost, for people; empty where nothing was asked."""
    total = costs.total
    if not total.asks:
        return ""
    from warpsmith.propose.llm.prices import cents

    usage = total.usage
    money = "" if total.unpriced == total.asks else f", {cents(total.money)}"
    read = f"{usage.prompt:,} tokens read ({total.cached:.0%} from the cache), {usage.output:,} written"
    told = [f"{_count(total.asks, 'ask')} in {_count(total.calls, 'request')}: {read}{money}"]
    if money and len(costs.roles) > 1:
        told.append(", ".join(f"{role} {cents(spent.money)}" for role, spent in costs.roles.items()))
    if money and (each := total.over(len(costs.candidates))) is not None:
        told.append(f"{cents(each)} per candidate")
    if money and (each := total.over(len(costs.gains))) is not None:
        told.append(f"{cents(each)} per accepted gain")
    if total.unpriced:
        told.append(f"{_count(total.unpriced, 'ask')} without a known price")
    if costs.replayed:
        told.append(f"{_count(costs.replayed, 'ask')} answered from a transcript, paid when it was recorded")
    return "; ".join(told)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
