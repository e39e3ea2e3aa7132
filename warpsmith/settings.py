"""One frozen Settings: defaults < warpsmith.toml < WARPSMITH_* < flags. Imports the error tree only."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from warpsmith.errors import BadInput

FILE = "warpsmith.toml"
PREFIX = "WARPSMITH_"
_ELSEWHERE = {
    "WARPSMITH_CC",
    "WARPSMITH_CHOSEN",
    "WARPSMITH_CUDA_COMPILER",
    "WARPSMITH_DISABLE",
    "WARPSMITH_INJECT",
    "WARPSMITH_PROFILED",
    "WARPSMITH_NESTED",
    "WARPSMITH_PROJECT",
    "WARPSMITH_WATCH",
}
"""Variables that are read where they are used, before any settings exist."""


@dataclass(frozen=True)
class Settings:
    """Everything that can be set. Each field is a key of ``warpsmith.toml`` and, in capitals, a
    ``WARPSMITH_`` variable.
    """

    home: str = ".warpsmith"
    """Where ledgers, blobs, caches and step folders live, relative to the project's root."""
    gpu: str = ""
    """UUID (``GPU-...`` or ``MIG-...``) of the one GPU that every step uses; empty: a free one is chosen, and said."""
    proposer: str = "sweep"
    rounds: int = -1
    """Asks; negative takes the proposer's own: 12 of the sweep, 6 of a model, 24 of both."""
    batch: int = -1
    """Candidates per ask; negative takes the proposer's own: 8 of the sweep, 1 of a model."""
    patience: int = -1
    """Rounds in a row without a new best after which asking ends; negative takes the proposer's own: 4, 8 of both."""
    asks: int = -1
    """Asks in flight at once; negative takes the proposer's own: 1 of the sweep, 2 of a model."""
    prompt_tokens: int = 7900
    """Estimated tokens of one prompt; less pressing blocks are cut to it (docs/llm.md says in what order)."""
    memory_tokens: int = 700
    """Estimated tokens of this run's attempts in a prompt beyond which a cheap model compacts the older ones."""
    models_propose: str = "anthropic:claude-opus-5-5"
    """Model that writes kernels: PROVIDER:NAME, PROVIDER:NAME@URL or PROVIDER:NAME@URL#KEY_VARIABLE; the providers are
    anthropic, and openai for every server that speaks its format. Keys come from the environment only.
    """
    models_fix: str = "anthropic:claude-sonnet-5-5"
    """Model that mends what failed."""
    models_compact: str = "anthropic:claude-haiku-5-5"
    """Model that compacts memory."""
    models_review: str = "anthropic:claude-sonnet-5-5"
    """Model that reviews: another one than the author."""
    models_cache: str = "5m"
    """How long Anthropic keeps the stable part of a prompt after its last use: 5m, or 1h, which costs more to write."""
    prices: str = ""
    """TOML file with prices of models that go over those of the package (propose/llm/prices.toml)."""
    seed: int = 0
    min_gain: float = -1.0
    """Share below which nothing is promotable; negative takes the task's own gate (2 % by default)."""
    cold: bool = True
    """Evict caches before every timed call."""
    call_timeout_s: float = 20.0
    """Longest time one call of a candidate may take."""
    step_timeout_s: float = 600.0
    """Longest time one measurement may take."""
    attempts: int = 3
    """Faults after which a step is given up."""
    explain: bool = True
    """Profile every new best, where this machine has the profiler for it."""
    agent: str = "claude"
    """Coding agent of '--proposer agent': claude, codex, a template (.toml) or a command; see docs/agents.md."""
    agent_model: str = ""
    """Its model; empty takes its own default."""
    agent_effort: str = ""
    """How hard it thinks, in its own words; empty takes its own default."""
    agent_timeout_s: float = 5400.0
    """Longest time it may take; then all that it started is ended."""
    agent_base: str = ""
    """Branch or commit that its worktree begins at; empty: what is checked out."""
    agent_worktrees: str = "worktrees"
    """Folder of worktrees, relative to ``home``."""
    agent_run: str = ""
    """Names worktree and branch; empty: after task and campaign."""
    releases: str = "releases"
    """Folder of the releases, committed; relative to the project's root."""
    evidence: str = ".warpsmith/evidence"
    """Where profilers' reports go, by hash, that are too large to be committed; relative to the project's root."""
    signing_key: str = ""
    """File of an ed25519 private key (PEM) that signs releases; empty: they are unsigned, and say so."""
    trusted_keys: str = ""
    """Public keys (PEM) whose signatures count: a file, or a folder of ``*.pem``."""
    load_tools: str = ""
    """Folders with the programs aiperf, guidellm and vllm of ``load --tool``, with colons between; empty: PATH."""
    load_tokenizer: str = ""
    """Tokenizer that those measure their prompts by: a folder or a name; empty: that of the task's snapshot."""
    notify_urls: tuple[str, ...] = field(default=(), repr=False)
    """Where notifications go, as apprise writes it (docs/notify.md): a list, or in one string with blanks between.
    They hold secrets, so they belong in the environment or in ``notify_file``.
    """
    notify_file: str = ""
    """File with more of them, one per line, best outside of the repository; relative to the project's root."""
    notify_every_s: float = 60.0
    """Least time between two messages of a kind that comes often (new bests, benchmarks) of one campaign."""


def load(root: Path, flags: Mapping[str, object], environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of the project at ``root``; a flag that is None was not given. Raises BadInput naming the place."""
    settings = Settings()
    path = root / FILE
    if path.is_file():
        try:
            said = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadInput(f"{path}: not TOML: {error}.", "Mend the syntax at that place.") from None
        settings = _merge(settings, said, str(path))
    variables = os.environ if environment is None else environment
    named = {k: v for k, v in variables.items() if k.startswith(PREFIX) and k not in _ELSEWHERE}
    settings = _merge(settings, {k.removeprefix(PREFIX).lower(): v for k, v in named.items()}, "the environment")
    return _merge(settings, {k: v for k, v in flags.items() if v is not None}, "the command line")


def _merge(settings: Settings, said: Mapping[str, object], where: str) -> Settings:
    kinds = get_type_hints(Settings)
    known = {f.name for f in fields(Settings)}
    changes: dict[str, Any] = {}
    for key, value in _flat(said, known).items():
        if key not in known:
            raise BadInput(f"{where}: unknown setting {key!r}.", f"Known: {', '.join(sorted(known))}.")
        changes[key] = _convert(value, kinds[key], f"{where}: {key}")
    return replace(settings, **changes)


def _flat(said: Mapping[str, object], known: set[str]) -> dict[str, object]:
    """``said`` with its tables spelled out: [models] propose is models_propose."""
    flat: dict[str, object] = {}
    for key, value in said.items():
        if isinstance(value, dict) and key not in known:
            flat |= {f"{key}_{inner}": x for inner, x in value.items()} or {key: value}
        else:
            flat[key] = value
    return flat


def _convert(value: object, kind: type, where: str) -> object:
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false", "1", "0"):
        return value.lower() in ("true", "1")
    if kind in (int, float) and isinstance(value, str):
        try:
            return kind(value)
        except ValueError:
            pass
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind == tuple[str, ...]:
        if isinstance(value, str):
            return tuple(value.split())
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            return tuple(value)
        raise BadInput(f"{where}: not a list of strings.", "Give one.")  # and not what it is: it may be secret
    if type(value) is kind:
        return value
    raise BadInput(f"{where}: {value!r} is not a {kind.__name__}.", "Give a value of that type.")
