"""The cached blocks of a prompt for overlays, and what of them gives way where they do not all fit.

The mutable files get what the rest leaves: whole files in the order of the task's patterns, the smallest of each first;
one that does not fit is listed by name and size. Next patterns give way, then the past, then the task's texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warpsmith.model.harness import HarnessTask
from warpsmith.propose.llm import facts, prompt
from warpsmith.propose.llm.asking import Block
from warpsmith.propose.llm.prompt import Part
from warpsmith.propose.llm.tokens import estimate

PROGRAM = "program.md"
STABLE = {"task": 2700, "patterns": 300, "past": 700}
"""Tokens of the blocks that can be cut, beside the files."""
GIVES_WAY = {"patterns": 0, "past": 250, "task": 500}
"""Cut further, in this order, once no file is shown any more; each to so many tokens at least."""
ROOM = 1500
"""Tokens that the cached blocks leave for what changes, beside the entry's overlay."""
LISTED = 40
"""Files that are listed where they are not shown."""


@dataclass(frozen=True)
class Told:
    """What the blocks are made of."""

    task: HarnessTask
    contract: Mapping[str, Any]
    """As :func:`warpsmith.propose.harness.contract` says it."""
    folder: Path
    """The task's."""
    texts: Mapping[str, str | None]
    """The mutable files in their order; None for what is no text, or too long to be read."""
    sizes: Mapping[str, int]
    """Of the same, in bytes."""
    patterns: tuple[str, ...]
    past: tuple[str, ...]


def system(told: Told, source_tokens: int, limit: int, *, tunes: bool) -> tuple[Block, ...]:
    """The cached blocks of a run, where the entry's overlay takes ``source_tokens`` of ``limit``."""
    shown = [path for path, text in told.texts.items() if text is not None]
    first = shown[0] if shown else next(iter(told.texts), "PATH")
    rules = prompt.render("overlay_rules", language=prompt.language(first), file=first, tunables=tunes)
    fixed = (
        Block(name="rules", text=rules, stable=True),
        Block(name="contract", text=prompt.render("overlay_contract", **told.contract), stable=True),
    )
    named = (("name", told.task.name), ("title", told.task.title))
    texts = _task_texts(told.folder) or (told.task.description or told.task.title,)
    whole = (Part("task", texts, named), Part("patterns", told.patterns), Part("past", told.past))
    parts = {p.name: p.cut(STABLE[p.name]) for p in whole}
    room = limit - ROOM - source_tokens - sum(estimate(b.text) for b in fixed)
    listed = _files(told, 0)
    for name, least in GIVES_WAY.items():
        over = sum(p.tokens for p in parts.values()) + listed.tokens - room
        if over > 0:
            parts[name] = parts[name].cut(max(least, parts[name].tokens - over))
    files = _files(told, room - sum(p.tokens for p in parts.values()))
    ordered = (parts["task"], files, parts["patterns"], parts["past"])
    return (*fixed, *(Block(name=p.name, text=p.text, stable=True) for p in ordered if p.text))


def _files(told: Told, budget: int) -> Part:
    """The block of the mutable files: each that fits into what those before it left."""
    shown: dict[str, str] = {}
    left = budget - _block(told, {}).tokens
    for path, text in told.texts.items():
        cost = estimate(f"\n\n``` {path}\n{text}```")
        if text is not None and text.strip() and cost <= left:
            shown[path] = text
            left -= cost
    return _block(told, shown)


def _block(told: Told, shown: Mapping[str, str]) -> Part:
    hidden = [f"{path} {told.sizes[path]}" for path in told.texts if path not in shown]
    more = [f"and {len(hidden) - LISTED} more"] if len(hidden) > LISTED else []
    items = tuple((path, f"{text.rstrip()}\n") for path, text in shown.items())
    fence = prompt.fence(shown)
    listed = (*hidden[:LISTED], *more)
    return Part("workspace", items or ((("", None),) if hidden else ()), (("fence", fence), ("hidden", listed)))


def _task_texts(folder: Path) -> tuple[str, ...]:
    """What the task says for models, then its programme section by section: the last ones give way first."""
    path = folder / PROGRAM
    if not path.is_file():
        return facts.task_texts(folder)
    first, *rest = path.read_text(encoding="utf-8").strip().split("\n## ")
    return (*facts.task_texts(folder), first.strip(), *(f"## {section.strip()}" for section in rest))
