"""From a model's name to its wire. The SDKs are imported here and not before: they take seconds."""

from __future__ import annotations

from typing import cast

from warpsmith.errors import BadInput
from warpsmith.propose.llm.names import ModelName
from warpsmith.propose.llm.wire import Timeouts, Wire


def connect(name: ModelName, key: str, timeouts: Timeouts, lifetime: str) -> Wire:
    """A wire to the model. ``lifetime``: how long prompts stay cached, 5m or 1h. Raises Missing, BadInput."""
    if name.provider == "openai":
        from warpsmith.propose.llm.openai import OpenAIWire

        return OpenAIWire(name.name, key, name.url, timeouts)
    from warpsmith.propose.llm.anthropic import AnthropicWire, Lifetime

    if lifetime not in ("5m", "1h"):
        raise BadInput(f"models.cache: {lifetime!r} is not known.", "Use 5m or 1h.")
    return AnthropicWire(name.name, key, name.url, timeouts, cast("Lifetime", lifetime))
