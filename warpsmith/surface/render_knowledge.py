"""Answers of the ``knowledge`` verbs as text for a terminal; importing this registers them with :mod:`render`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from warpsmith.surface import answers_knowledge
from warpsmith.surface.render import render

LISTED = 20
"""Files or warnings that a terminal shows of each kind; ``--json`` holds all."""


@render.register
def _(answer: answers_knowledge.KnowledgeAnswer, out: Console) -> None:
    out.print(Text(f"{len(answer.skills)} skills:"))
    for line in answer.skills:
        out.print(Text(f"  {line}"), soft_wrap=True)
    if answer.tasks:
        attempts = sum(sum(counts.values()) for counts in answer.tasks.values())
        out.print(Text(f"{attempts} attempts, {answer.own} of them in ledgers of this machine:"))
        for task, counts in answer.tasks.items():
            out.print(Text(f"  {task}: {_counts(counts)}"), soft_wrap=True)
    for pattern in answer.patterns:
        out.print(Text(f"pattern {pattern.line}"), soft_wrap=True)
    for rate in answer.rates:
        share = f"{rate.hits} of {rate.tries} predictions came true ({rate.low:.0%} to {rate.high:.0%})"
        out.print(Text(f"rule {rate.rule} on {rate.device}: {share}"), soft_wrap=True)
    for wiki in answer.wikis:
        out.print(Text(f"wiki {wiki.name}: {_counts(wiki.pages)} (from {wiki.source})"), soft_wrap=True)
    _list("problem", answer.problems, out)


@render.register
def _(answer: answers_knowledge.SearchAnswer, out: Console) -> None:
    found = answer.found
    if found.hits and not found.all_words:
        out.print("nothing holds all of these words; these hold some:")
    table = Table("what", "title", "where it matches", "confidence")
    for hit in found.hits:
        table.add_row(Text(hit.id), Text(hit.title), Text(" ".join(hit.snippet.split())), Text(hit.confidence or "-"))
    if found.hits:
        out.print(table)
    else:
        out.print(Text(f"nothing is known of {answer.query!r}"))
    _list("note", found.notes, out)


@render.register
def _(answer: answers_knowledge.KnowledgeShowAnswer, out: Console) -> None:
    document = answer.document
    grade = f"  confidence: {document.confidence}" if document.confidence else ""
    out.print(Text(f"{document.id}: {document.title}{grade}\n\n{document.body.strip()}"), soft_wrap=True)


@render.register
def _(answer: answers_knowledge.KnowledgeImportAnswer, out: Console) -> None:
    done = answer.imported
    if done.attempts or done.trials:
        new = f"{done.attempts} attempts, {done.new_attempts} of them new; {done.trials} trials, {done.new_trials} new"
        out.print(Text(new))
    if (wiki := done.wiki) is not None:
        changes = {"added": wiki.added, "changed": wiki.changed, "removed": wiki.removed, "kept as it was": wiki.kept}
        counts = ", ".join(f"{len(paths)} {what}" for what, paths in changes.items() if paths)
        out.print(Text(f"wiki {wiki.name}: {counts or 'nothing new'}, {wiki.unchanged} unchanged"))
        for what, paths in changes.items():
            _list(what, paths, out)
    _list("refused", tuple(f"{r.path}: {r.reason}" for r in done.refused), out)
    _list("warning", done.warnings, out)


@render.register
def _(answer: answers_knowledge.KnowledgeExportAnswer, out: Console) -> None:
    done = answer.done
    out.print(Text(f"{done.attempts} attempts, {done.trials} trials"))
    for path in done.written:
        out.print(Text(f"wrote {path}"), soft_wrap=True)
    for path in done.unchanged:
        out.print(Text(f"unchanged {path}"), soft_wrap=True)
    _list("problem", done.problems, out)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {what}" for what, n in counts.items()) or "nothing"


def _list(what: str, lines: tuple[str, ...], out: Console) -> None:
    for line in lines[:LISTED]:
        out.print(Text(f"{what}: {line}"), soft_wrap=True)
    if len(lines) > LISTED:
        out.print(Text(f"{what}: and {len(lines) - LISTED} more (--json lists all)"))
