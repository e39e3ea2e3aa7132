"""The ``submit`` verb: a candidate from outside goes into the campaign's inbox, and its verdict is waited for.

A running campaign takes it up by itself. Where none runs, this process opens the campaign with nothing to ask for,
which measures what is untried and ends. Either way the ledger has one writer.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from warpsmith.analyse.standing import standing
from warpsmith.campaign import Watcher
from warpsmith.errors import BadInput
from warpsmith.model.base import digest
from warpsmith.model.campaign import Budget, Submitted
from warpsmith.model.candidate import Candidate, SourceFile
from warpsmith.model.harness import HarnessTask
from warpsmith.model.task import KernelTask
from warpsmith.store.files import write_atomic
from warpsmith.store.folders import CANDIDATE_FILE, check_overlay, check_plan, load_candidate
from warpsmith.store.history import fold
from warpsmith.store.ledger import LedgerBusy, read_events, writer
from warpsmith.surface.answers import NO, NOTHING_GAINED, YES, SubmitAnswer
from warpsmith.surface.campaigns import run_campaign
from warpsmith.surface.overlays import overlaid
from warpsmith.surface.view import view
from warpsmith.surface.workspace import Known, Workspace

POLL_S = 0.5


def submit_candidate(
    space: Workspace, known: Known, files: tuple[str, ...], memo: str, settings: tuple[str, ...], tag: str, by: str,
    watch: Watcher | None = None, environment: tuple[str, ...] = (),
) -> SubmitAnswer:  # fmt: skip
    """Put the candidate into the inbox, have it measured, and return its row. ``watch`` sees the campaign's events,
    where no other process runs it.
    """
    candidate = _candidate(space, known, files, memo, settings, environment)
    name = known.loaded.head.name
    inbox = space.campaign_folder(name, tag) / "inbox"
    event = Submitted(candidate=candidate, by=by, at=time.time())
    write_atomic(inbox / f"{digest([candidate.id, event.at])[:16]}.json", event.model_dump_json())
    ledger = space.ledger(name, tag)
    while not _judged(ledger, candidate.id):
        if writer(ledger) is not None:
            time.sleep(POLL_S)
            continue
        try:
            run_campaign(space, known, tag, Budget(rounds=0), watch)
        except LedgerBusy:
            continue  # a campaign began in between: it takes the submission up
    seen = view(space.history(name, tag), known.loaded.kernel)
    row = next(r for r in seen.rows if r.id == candidate.id)
    best = seen.best == candidate.id
    lost = row.verdict in (None, "slower")
    return SubmitAnswer(exit_status=YES if best else NO if lost else NOTHING_GAINED, task=name, row=row, best=best)


def _judged(ledger: Path, identity: str) -> bool:
    """Whether the campaign has nothing more to do for the candidate."""
    h = fold(read_events(ledger))
    if h.campaign is None or identity not in h.candidates:
        return False
    s = standing(h)
    running = any(getattr(step, "candidate", None) == identity for step in h.running.values())
    return identity not in s.untried and identity not in s.contenders and not running


def _candidate(
    space: Workspace,
    known: Known,
    files: tuple[str, ...],
    memo: str,
    settings: tuple[str, ...],
    environment: tuple[str, ...],
) -> Candidate:
    if not (files or settings or environment):
        raise BadInput("submit: nothing was handed in.", "Give a folder with candidate.toml, source files, or --set.")
    task = known.loaded.task
    first = Path(files[0]) if files else None
    if first is not None and first.is_dir():
        if len(files) > 1:
            raise BadInput(f"submit: {first} is a folder.", "Give one folder, or source files.")
        candidate = load_candidate(first, space.blobs, known.loaded.head)
    elif isinstance(task, HarnessTask):
        sources = overlaid(space, known, task, files)
        candidate = known.entry.model_copy(update={"sources": sources, "memo": ""})
    else:
        candidate = known.entry.model_copy(update={"sources": _sources(space, known.entry, files), "memo": ""})
    if environment and not isinstance(task, HarnessTask):
        raise BadInput("--env: a kernel is launched without an environment.", "Use --set for its tunables.")
    point = candidate.space.resolve({**candidate.parameters, **_values(settings)})
    variables = {**candidate.environment, **_variables(environment)}
    told = {"parameters": point, "memo": memo or candidate.memo, "parent": known.entry.id, "environment": variables}
    candidate = candidate.model_copy(update=told)
    if isinstance(task, KernelTask):
        check_plan(candidate, task, str(first or CANDIDATE_FILE))
    if isinstance(task, HarnessTask):
        check_overlay(candidate, task, str(first or "submit"))
    return candidate


def _sources(space: Workspace, entry: Candidate, files: tuple[str, ...]) -> tuple[SourceFile, ...]:
    """The entry's sources with ``files`` in place of those of the same name (a single file replaces a single
    source).
    """
    given = {}
    for name in files:
        path = Path(name)
        if not path.is_file():
            raise BadInput(f"submit: {path} is no file.", "Give existing files.")
        given[path.name] = space.blobs.put(path.read_bytes())
    wanted = [s.path for s in entry.sources]
    if len(wanted) == len(given) == 1:
        return (SourceFile(path=wanted[0], content=next(iter(given.values()))),)
    if unknown := set(given) - {Path(w).name for w in wanted}:
        raise BadInput(
            f"submit: {sorted(unknown)} do not replace a source of the entry ({', '.join(wanted)}).",
            f"Name files like the entry's sources, or give a folder with {CANDIDATE_FILE}.",
        )
    return tuple(SourceFile(path=s.path, content=given.get(Path(s.path).name, s.content)) for s in entry.sources)


def _variables(environment: tuple[str, ...]) -> dict[str, str]:
    values = {}
    for setting in environment:
        name, equals, value = setting.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise BadInput(f"--env: {setting!r} is not NAME=VALUE.", "Such as --env OMP_NUM_THREADS=4.")
        values[name] = value
    return values


def _values(settings: tuple[str, ...]) -> dict[str, int]:
    values = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        try:
            values[name] = int(value)
        except ValueError:
            raise BadInput(f"--set: {setting!r} is not NAME=INTEGER.", "Such as --set VEC=8.") from None
    return values
