"""Names of models, and the keys that go with them. Owns the only places where a key is read or rubbed out.

    anthropic:claude-opus-5-5                             key from ANTHROPIC_API_KEY
    openai:gpt-6.2-sol                                    key from OPENAI_API_KEY
    openai:qwen3-coder@http://localhost:8000/v1           any OpenAI-compatible server; no key is sent
    openai:qwen3-coder@https://gateway.example/v1#MY_KEY  key from the variable MY_KEY

A key belongs to a host: at a URL only a variable that the name itself gives is used, so that a provider's key never
goes to somebody else's server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from warpsmith.errors import BadInput
from warpsmith.propose.llm.asking import NoKey

STANDARD = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}
"""Provider to the variable of its own key."""
SECRETS = frozenset({*STANDARD.values(), "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN", "WARPSMITH_NOTIFY_URLS"})
"""Variables that no process of a candidate may ever see."""
_NAME = re.compile(r"(?P<provider>[a-z]+):(?P<name>[^@#\s]+)(@(?P<url>https?://[^#\s]+))?(#(?P<variable>\w+))?")


@dataclass(frozen=True)
class ModelName:
    """A model as the settings name it."""

    provider: str
    name: str
    url: str | None = None
    variable: str | None = None
    """Where its key is; None: the server wants none."""

    def __str__(self) -> str:
        return f"{self.provider}:{self.name}" + (f"@{self.url}" if self.url else "")

    def key(self, environment: Mapping[str, str]) -> str:
        """Its key; empty where it needs none. Raises NoKey."""
        if self.variable is None:
            return ""
        if key := environment.get(self.variable, "").strip():
            return key
        raise NoKey(
            f"{self} needs a key, and the environment variable {self.variable} does not hold one.",
            "Set it, name another model under [models] in warpsmith.toml, or use '--proposer sweep', which needs none.",
        )


def parse(text: str, where: str = "a model") -> ModelName:
    """The model that ``text`` names. Raises BadInput naming ``where`` it was said."""
    found = _NAME.fullmatch(text.strip())
    if found is None or found["provider"] not in STANDARD:
        raise BadInput(
            f"{where}: {text!r} names no model.",
            f"Write PROVIDER:NAME, PROVIDER:NAME@URL or PROVIDER:NAME@URL#VARIABLE; providers: {', '.join(STANDARD)}.",
        )
    if found["url"] and "@" in found["url"]:
        raise BadInput(
            f"{where}: a URL must not hold a password.", "Put the key into a variable, and append #VARIABLE."
        )
    variable = found["variable"] or (None if found["url"] else STANDARD[found["provider"]])
    return ModelName(found["provider"], found["name"], found["url"], variable)


def without_keys(environment: Mapping[str, str], models: Iterable[str] = ()) -> dict[str, str]:
    """``environment`` without the variables that hold keys: those of the providers, and those that ``models`` name."""
    named = {text.rpartition("#")[2] for text in models if "#" in text}
    return {k: v for k, v in environment.items() if k not in SECRETS and k not in named}


def rub_out(text: str, keys: Iterable[str]) -> str:
    """``text`` with every key replaced: what a server says may repeat the key that it was sent."""
    for key in keys:
        if key:
            text = text.replace(key, "(key)")
    return text
