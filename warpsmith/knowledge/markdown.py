"""Memory and patterns as Markdown that people read and commit, and back.

A page is made from its record alone, which stands at its end, one JSON line per attempt or trial: equal records give
equal bytes, a line changes only where an attempt does, and reading back what was written gives the same records.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from warpsmith.errors import BadInput
from warpsmith.knowledge.frontmatter import first, split
from warpsmith.knowledge.memory import Attempt, Outcome
from warpsmith.knowledge.patterns import Pattern, Trial, aggregate, values_of
from warpsmith.model.base import Record, short

MARK = "warpsmith"
"""Key of the front matter that says what a page is."""
VERSION = "1"
SHOWN = 40
"""Attempts of one outcome that the readable part lists; the record holds all."""
LONGEST_CELL = 160
_Told = TypeVar("_Told", bound=Record)
_OF_CAMPAIGN = ("task", "campaign", "tag", "hardware", "device", "architecture")
_OPEN, _CLOSE = "\n## Record\n\n```json\n", "```\n"


class Exported(Record):
    """A page that was read back."""

    kind: Literal["memory", "patterns"]
    attempts: tuple[Attempt, ...] = ()
    trials: tuple[Trial, ...] = ()
    edited: bool = False
    """Whether the readable part is not what the record gives: somebody changed it, and that is not read."""


def kind_of(text: str) -> str:
    """``memory`` or ``patterns`` for a page that was exported, else an empty string."""
    return first(split(text)[0], MARK)


def memory_page(task: str, attempts: Sequence[Attempt]) -> str:
    """The page of one task. ``attempts`` are all of that task, in the order of :func:`memory.merge`."""
    lines = [
        *_head("memory", f"task: {task}"),
        f"# What was tried on {task}",
        "",
        "Written by `warpsmith knowledge export` from the ledgers; only the record at the end is read back.",
        "",
    ]
    lines += [f"{len(attempts)} attempts: " + ", ".join(f"{n} {o.value}" for o, n in _counted(attempts)) + ".", ""]
    for outcome, _ in _counted(attempts):
        lines += _section(outcome, [a for a in attempts if a.outcome is outcome])
    lines += _tunables(attempts)
    campaigns = {a.campaign: {k: getattr(a, k) for k in _OF_CAMPAIGN} for a in attempts}
    told = [{"of": "campaign", **campaigns[c]} for c in sorted(campaigns)]
    told += [_line_of(a) for a in attempts]
    return _page(lines, told)


def patterns_page(given: Sequence[Trial]) -> str:
    """The one library of patterns, from all trials in the order of :func:`patterns.merge_trials`."""
    found = aggregate(given)
    lines = [
        *_head("patterns", f"trials: {len(given)}"),
        "# Which kinds of edit helped",
        "",
        "Written by `warpsmith knowledge export` from the ledgers; only the record at the end is read back. An edit",
        "helped where it was accepted or deployed. The bounds are one-sided 95 % bounds (Clopper-Pearson); speed-ups",
        "are over the rival.",
        "",
        "| edit | on | under | tried | helped | share, 95 % bounds | median | best | other outcomes | tasks |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_pattern_row(p) for p in found),
        "",
    ]  # fmt: skip
    return _page(lines, [{"of": "trial", **t.model_dump(mode="json", exclude_defaults=True)} for t in given])


def read_page(text: str, where: str) -> Exported:
    """An exported page, from its record. Raises BadInput naming the place; never reads the rest as data."""
    head, _ = split(text)
    kind = first(head, MARK)
    if kind not in ("memory", "patterns"):
        raise BadInput(
            f"{where}: not a page of memory or patterns.", f"Its head must say '{MARK}: memory' or patterns."
        )
    if first(head, "version") != VERSION:
        raise BadInput(f"{where}: version {first(head, 'version')!r}.", f"This warpsmith reads version {VERSION}.")
    _, opened, record = text.partition(_OPEN)
    if not opened or not record.endswith(_CLOSE):
        raise BadInput(f"{where}: no whole record.", "A page ends in '## Record' with one json block; restore it.")
    lines = record.removesuffix(_CLOSE).split("\n")[:-1]
    rows = [_row(line, f"{where}, record line {n}") for n, line in enumerate(lines, 1)]
    if kind == "patterns":
        trials = tuple(_validated(Trial, row, place, "trial") for row, place in rows)
        return Exported(kind="patterns", trials=trials, edited=patterns_page(trials) != text)
    attempts = _attempts(rows)
    task = first(head, "task")
    if other := {a.task for a in attempts} - {task}:
        raise BadInput(f"{where}: the head says {task!r}, the record {sorted(other)}.", "One page holds one task.")
    return Exported(kind="memory", attempts=attempts, edited=memory_page(task, attempts) != text)


def _head(kind: str, *more: str) -> list[str]:
    return ["---", f"{MARK}: {kind}", f"version: {VERSION}", *more, "---", ""]


def _page(lines: Iterable[str], record: Iterable[dict[str, Any]]) -> str:
    told = [json.dumps(row, sort_keys=True, separators=(",", ":")) for row in record]
    return "\n".join([*lines, "## Record", "", "```json", *told, "```", ""])


def _line_of(attempt: Attempt) -> dict[str, Any]:
    own = attempt.model_dump(mode="json", exclude_defaults=True, exclude=set(_OF_CAMPAIGN) - {"campaign"})
    return {"of": "attempt", **own}


def _row(line: str, place: str) -> tuple[dict[str, Any], str]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{place}: not JSON ({error}).", "Restore the page, or export it anew.") from None
    if not isinstance(row, dict):
        raise BadInput(f"{place}: not an object.", "Restore the page, or export it anew.")
    return row, place


def _attempts(rows: list[tuple[dict[str, Any], str]]) -> tuple[Attempt, ...]:
    campaigns: dict[str, dict[str, Any]] = {}
    attempts = []
    for row, place in rows:
        if row.get("of") == "campaign":
            campaigns[str(row.get("campaign"))] = {k: v for k, v in row.items() if k != "of"}
        else:
            of_campaign = campaigns.get(str(row.get("campaign")), {})
            attempts.append(_validated(Attempt, {**of_campaign, **row}, place, "attempt"))
    return tuple(attempts)


def _validated(record: type[_Told], row: dict[str, Any], place: str, of: str) -> _Told:
    if row.get("of") != of:
        raise BadInput(f"{place}: {row.get('of')!r} where an {of} was expected.", "Restore the page.")
    try:
        return record.model_validate({k: v for k, v in row.items() if k != "of"})
    except ValidationError as error:
        first_error = error.errors()[0]
        field = ".".join(str(part) for part in first_error["loc"])
        raise BadInput(f"{place}: {field}: {first_error['msg']}.", "Restore the page, or export it anew.") from None


def _counted(attempts: Sequence[Attempt]) -> list[tuple[Outcome, int]]:
    return [(o, n) for o in Outcome if (n := sum(a.outcome is o for a in attempts))]


def _section(outcome: Outcome, attempts: list[Attempt]) -> list[str]:
    ranked = sorted(attempts, key=lambda a: (-(a.over_baseline or 0.0), a.campaign, a.candidate))
    lines = [
        f"## {outcome.value} ({len(attempts)})",
        "",
        "| candidate | over baseline | over its rival | edit and changes | findings cited | why | on | campaign |",
        "|---|---|---|---|---|---|---|---|",
        *(_attempt_row(a) for a in ranked[:SHOWN]),
    ]
    rest = len(ranked) - SHOWN
    return [*lines, *([f"\nand {rest} more in the record."] if rest > 0 else []), ""]


def _tunables(attempts: Sequence[Attempt]) -> list[str]:
    rows = values_of(attempts)
    if not rows:
        return []
    return [
        "## Tunables",
        "",
        "Speed-up over the baseline by value, whatever the others were.",
        "",
        "| tunable | value | tried | median | best |",
        "|---|---|---|---|---|",
        *(f"| {r.name} | {r.value} | {r.tried} | {r.median:.3f}x | {r.best:.3f}x |" for r in rows),
        "",
    ]


def _attempt_row(a: Attempt) -> str:
    over = f"{a.over_baseline:.3f}x" if a.over_baseline else "-"
    ratio = f"{a.speedup:.3f}x" if a.speedup else "-"
    if a.low is not None and a.high is not None:
        ratio += f" [{a.low:.3f}, {a.high:.3f}]"
    changed = " ".join(f"{n}: {before} -> {after}" for n, (before, after) in sorted(a.changed.items()))
    cells = (short(a.candidate), over, ratio, a.memo or changed, ", ".join(a.rules), a.why, a.device, a.tag)
    return "| " + " | ".join(_cell(c) for c in cells) + " |"


def _pattern_row(p: Pattern) -> str:
    others = ", ".join(f"{n} {o.value}" for o, n in p.outcomes.items() if not o.helped)
    median = f"{p.median_speedup:.3f}x" if p.median_speedup else "-"
    best = f"{p.best_speedup:.3f}x" if p.best_speedup else "-"
    share = f"{p.helped / p.tried:.0%} [{p.low:.1%}, {p.high:.1%}]"
    cells = (p.edit, p.architecture, p.under or "all", str(p.tried), str(p.helped), share, median, best, others)
    return "| " + " | ".join(_cell(c) for c in (*cells, ", ".join(p.tasks))) + " |"


def _cell(text: str) -> str:
    """Text that cannot break out of its cell, whatever a memo holds."""
    plain = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    cut = plain if len(plain) <= LONGEST_CELL else plain[: LONGEST_CELL - 3] + "..."
    return cut.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "'") or "-"
