"""Prompts: what is said, in which block, within which budget. Texts are the templates of ``prompts/``.

The blocks of the system are made once per run, and cached by the provider; the rest is the user's. A block is cut by
whole items, the least pressing last; where a prompt is too long all the same, blocks give way in the order of
``GIVES_WAY``. Source, rules, contract and what is asked are never cut: without them there is no answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from warpsmith.model.candidate import Candidate
from warpsmith.model.task import RELATIVE_RMS_LIMIT, KernelTask
from warpsmith.propose.llm.asking import Block, Message
from warpsmith.propose.llm.tokens import estimate

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "prompts"
STABLE = {"task": 1300, "catalogue": 800, "patterns": 300, "past": 700, "hints": 250}
"""Tokens of the cached blocks that can be cut."""
CHANGING = {
    "context": 250, "timings": 350, "findings": 900, "advice": 350, "skills": 2700, "attempts": 1100, "directives": 300,
    "round": 700,
}  # fmt: skip
"""Tokens of the others."""
STABLE_GIVES_WAY = {"catalogue": 0, "patterns": 80, "past": 250}
"""Cut further, in this order, where the entry's source leaves no room for the rest; each to so many tokens at least, so
that a long source does not make a run forget all that was learnt before; once per run.
"""
GIVES_WAY = (
    ("advice", 2), ("skills", 2), ("attempts", 6), ("findings", 6), ("advice", 0), ("skills", 1), ("timings", 2),
    ("attempts", 2), ("findings", 3), ("skills", 0), ("attempts", 1), ("timings", 0), ("findings", 1), ("attempts", 0),
    ("context", 0), ("findings", 0), ("directives", 1), ("round", 3), ("directives", 0),
)  # fmt: skip
"""Cut further, in this order, each to so many items."""
ROOM = 1000
"""Tokens that the cached blocks leave for what changes, beside the source."""


@dataclass(frozen=True)
class Part:
    """A block before it is text: its items, the most pressing first."""

    name: str
    items: tuple[object, ...]
    more: tuple[tuple[str, object], ...] = ()
    """What else its template wants."""

    @cached_property
    def text(self) -> str:
        """As it is sent; empty without items."""
        return render(self.name, items=self.items, **dict(self.more)) if self.items else ""

    @cached_property
    def tokens(self) -> int:
        """Estimated."""
        return estimate(self.text)

    def cut(self, budget: int) -> Part:
        """With as many items, from the first on, as the budget has room for."""
        part = self
        while part.items and part.tokens > budget:
            part = replace(part, items=part.items[:-1])
        return part


def render(template: str, /, **told: object) -> str:
    """A template's text. Raises jinja2.UndefinedError where it wants what it is not told."""
    return _environment().get_template(f"{template}.md.j2").render(told).strip()


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # nothing is HTML here, and templates are ours: what candidates and models say comes in as values
    return Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def system(
    task: KernelTask,
    entry: Candidate,
    parts: tuple[Part, ...],
    source_tokens: int,
    limit: int,
    *,
    tunes: bool,
    stated: bool = False,
) -> tuple[Block, ...]:
    """The cached blocks of a run.

    Args:
        task: Its arguments and tolerance are stated.
        entry: Names language, toolchain and entry.
        parts: Blocks of ``STABLE``.
        source_tokens: Of the entry's source, which will stand in the user's part.
        limit: Of the whole prompt.
        tunes: Whether a search follows the model.
        stated: Whether the task's own texts give the arguments.
    """
    device, file = bool(entry.launch), entry.sources[0].path
    told = {"device": device, "toolchain": entry.toolchain, "entry": entry.entry, "alignment": task.alignment}
    fixed = [
        Block(
            name="rules",
            text=render("rules", language=language(file), file=file, device=device, tunables=tunes),
            stable=True,
        ),
        Block(name="contract", text=render("contract", **told), stable=True),
        Block(name="arguments", text=render("arguments", items=_arguments(task, stated)), stable=True),
    ]
    cut = {p.name: p.cut(STABLE[p.name]) for p in parts}
    room = limit - ROOM - source_tokens - sum(estimate(b.text) for b in fixed)
    for name, least in STABLE_GIVES_WAY.items():
        over = sum(p.tokens for p in cut.values()) - room
        if over > 0 and name in cut:
            shorter = _names_only(cut[name]) if name == "catalogue" else cut[name]
            cut[name] = shorter.cut(max(least, cut[name].tokens - over))
    return (*fixed, *(Block(name=p.name, text=p.text, stable=True) for p in cut.values() if p.text))


def _names_only(catalogue: Part) -> Part:
    """The catalogue in one line: names say most of what its lines say."""
    names = ", ".join(str(line).partition(":")[0].removeprefix("- ") for line in catalogue.items)
    return replace(catalogue, items=(names,) if names else ())


def user(parts: tuple[Part, ...], order: str, used: int, limit: int) -> Message:
    """The changing part: ``parts`` in their order and what is asked, within what ``used`` leaves of ``limit``."""
    cut = {p.name: p.cut(CHANGING.get(p.name, limit)) for p in parts}
    room = limit - used - estimate(order)
    for name, least in GIVES_WAY:
        while name in cut and len(cut[name].items) > least and sum(p.tokens for p in cut.values()) > room:
            cut[name] = replace(cut[name], items=cut[name].items[:-1])
    blocks = [Block(name=p.name, text=p.text) for p in cut.values() if p.text]
    return Message(role="user", blocks=(*blocks, Block(name="order", text=order)))


def source(files: Mapping[str, str], where: str, what: str, *, fix: bool) -> Part:
    """The files of a candidate, whole, its manifest among them; ``what`` calls them a source, or an overlay."""
    more = (("where", where), ("what", what), ("fix", fix), ("fence", fence(files)))
    return Part("source", tuple(files.items()), more)


def fence(files: Mapping[str, str]) -> str:
    """A fence that no file holds."""
    ticks = "```"
    while any(ticks in text for text in files.values()):
        ticks += "`"
    return ticks


def language(path: str) -> str:
    """What a fence calls the language of a file."""
    known = {".c": "c", ".cu": "cuda", ".py": "python", ".ptx": "ptx", ".cpp": "cpp"}
    return known.get(path[path.rfind(".") :], "text")


def _arguments(task: KernelTask, stated: bool) -> tuple[str, ...]:
    lines = []
    for a in () if stated else task.arguments:
        shape = f" [{', '.join(map(str, a.shape or ()))}]" if a.is_tensor else ""
        lines.append(f"- {a.name}: {a.role.value}, {a.element.value}{shape}")
    limits = {
        a.name: task.tolerance.relative_rms or RELATIVE_RMS_LIMIT.get(a.element.value)
        for a in task.arguments
        if a.role.value == "output"
    }
    lines += [f"- {n}: relative RMS error at most {v:g}, per tensor and per row" for n, v in limits.items() if v]
    lines.append("- Workloads: " + "; ".join(f"{w.name} (weight {w.weight:g})" for w in task.workloads))
    if task.shapes:
        lines.append(f"- Also verified with other extents of {', '.join(task.shapes)}: none, one, prime, odd, larger.")
    return tuple(lines)
