"""What a person says a campaign may spend: ``NAME=NUMBER`` separated by commas, over the proposer's habits."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from warpsmith.errors import BadInput
from warpsmith.model.campaign import Budget
from warpsmith.propose import habits
from warpsmith.settings import Settings


def budget_of(text: str, settings: Settings, *, leave_out: tuple[str, ...] = ()) -> Budget:
    """The budget that ``text`` says; ``leave_out`` names limits that cannot be set here. Raises BadInput."""
    own = habits(settings.proposer)
    said: dict[str, Any] = {
        "rounds": own.rounds if settings.rounds < 0 else settings.rounds,
        "patience": own.patience if settings.patience < 0 else settings.patience,
    }
    known = [name for name in Budget.model_fields if name not in leave_out]
    for part in filter(None, (p.strip() for p in text.split(","))):
        key, equals, value = part.partition("=")
        if not equals or key not in known:
            raise BadInput(
                f"--budget: {part!r} is not understood.",
                f"Use NAME=NUMBER, separated by commas; names: {', '.join(known)}.",
            )
        said[key] = value.removesuffix("s") if key == "seconds" else value
    try:
        return Budget.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(f"--budget: {first['loc'][0]}: {first['msg']}.", "Give a number.") from None
