"""A campaign as a folder to read: one sub-folder per answered ask, and a short report. A view of the ledger.

report.md                 every iteration in a line
004-propose/README.md     what was asked from what, what came of it, how often the model was told back
004-propose/reply-1.md    each reply as it came, with what was wrong with it before it
004-propose/profile.md    what 'explain' says of the parent's profile, with the record of the rules
004-propose/<id>/         each candidate: its files, candidate.toml, memo.txt, and best.diff against the best then
"""

from __future__ import annotations

import textwrap
from pathlib import Path

from warpsmith.analyse.standing import standing
from warpsmith.errors import BadInput
from warpsmith.model.base import short
from warpsmith.model.campaign import Event, Finished
from warpsmith.model.candidate import Candidate
from warpsmith.model.step import Proposal, Propose
from warpsmith.propose.llm.reply import manifest
from warpsmith.store.blobs import Blobs
from warpsmith.store.files import write_atomic
from warpsmith.store.folders import CANDIDATE_FILE
from warpsmith.store.history import History
from warpsmith.surface.candidates import unified
from warpsmith.surface.explanations import Explanations
from warpsmith.surface.view import Row, View

REPORT, PROFILE = "report.md", "profile.md"
CODE = "    "
"""Before each line of what is shown as it stands: no line of a candidate's source ends that."""


def write_run(
    events: list[Event], seen: View, blobs: Blobs, folder: Path, explanations: Explanations
) -> tuple[str, ...]:
    """Write the folder of a campaign; returns the report and the iterations' folders.

    Raises BadInput where ``folder`` holds something else.
    """
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / REPORT).is_file())):
        raise BadInput(f"--folder: {folder} is not empty, and holds no run.", "Name a new folder.")
    rows = {r.id: r for r in seen.rows}
    h, written, lines = History(), [], []
    for event in events:
        h = h + event
        if isinstance(event, Finished) and isinstance(event.outcome, Proposal) and isinstance(event.step, Propose):
            made = folder / f"{event.step.round:03d}-{event.step.role}"
            _iteration(made, event.step, event.outcome, h, rows, blobs)
            if told := explanations(h, event.step.parent):
                write_atomic(made / PROFILE, f"# {short(event.step.parent)}\n\n{textwrap.indent(told, CODE)}")
            written.append(str(made))
            lines += _lines(event.step, event.outcome, rows)
    head = f"# {seen.task}, {seen.tag}: {seen.proposer}\n\nBest: {short(seen.best)}"
    gain = f", {seen.ratio.speedup:.3f}x over the baseline" if seen.ratio else ""
    table = "| iteration | candidate | memo | outcome |\n|---|---|---|---|\n" + "".join(lines)
    write_atomic(folder / REPORT, f"{head}{gain}. Asking cost ${seen.costs.total.money:.2f}.\n\n{table}")
    return (str(folder / REPORT), *written)


def _iteration(made: Path, step: Propose, answer: Proposal, h: History, rows: dict[str, Row], blobs: Blobs) -> None:
    best = h.candidates[standing(h).best]
    told = [f"{step.role} from {short(step.parent)}; the best then was {short(best.id)}", answer.notes]
    told += [f"- {short(c.id)}: {_outcome(rows, c.id)}: {c.memo}" for c in answer.candidates]
    asks = [f"- {a.model}, {a.role}: {a.usage.prompt} tokens read, {a.usage.output} written" for a in answer.asks]
    write_atomic(made / "README.md", "\n".join([*filter(None, told), *asks]) + "\n")
    for number, draft in enumerate(answer.drafts, 1):
        problems = "".join(f"> told back: {p}\n" for p in draft.problems)
        write_atomic(made / f"reply-{number}.md", problems + blobs.get(draft.reply).decode(errors="replace"))
    for candidate in answer.candidates:
        _candidate(made / short(candidate.id), candidate, best, blobs)


def _candidate(made: Path, candidate: Candidate, best: Candidate, blobs: Blobs) -> None:
    files = {**blobs.texts(candidate), CANDIDATE_FILE: manifest(candidate)}
    for path, text in files.items():
        write_atomic(made / path, text)
    write_atomic(made / "memo.txt", candidate.memo + "\n")
    write_atomic(made / "best.diff", unified({**blobs.texts(best), CANDIDATE_FILE: manifest(best)}, files))


def _lines(step: Propose, answer: Proposal, rows: dict[str, Row]) -> list[str]:
    where = f"{step.round:03d}-{step.role}"
    if not answer.candidates:
        return [f"| {where} | none | {_cell(answer.notes)} | |\n"]
    told = ((short(c.id), _cell(c.memo), _cell(_outcome(rows, c.id))) for c in answer.candidates)
    return [f"| {where} | {identity} | {memo} | {outcome} |\n" for identity, memo, outcome in told]


def _outcome(rows: dict[str, Row], identity: str) -> str:
    row = rows.get(identity)
    if row is None:
        return "of an earlier scope"
    return (f"{row.speedup:.3f}x, " if row.speedup else "") + (row.why or row.status)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())[:200]
