"""The library of one project: everything that is known, from where it lies, in one view.

Memory comes from the ledgers, from the committed pages under ``knowledge/``, and from pages that were imported; merged,
so that nothing counts twice. A source that cannot be read is named among the problems and the rest is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from warpsmith.analyse.calibration import HitRate, hit_rates, trust
from warpsmith.analyse.calibration import Outcome as Prediction
from warpsmith.errors import BadInput, LedgerError, WarpsmithError
from warpsmith.knowledge.folder import Read, Refused, read_folder
from warpsmith.knowledge.index import Document, Found, Index
from warpsmith.knowledge.markdown import Exported, kind_of, memory_page, patterns_page, read_page
from warpsmith.knowledge.memory import Attempt, merge, overlay
from warpsmith.knowledge.pages import MEMORY, PATTERNS, Pages, by_task, read_pages, write_pages
from warpsmith.knowledge.patterns import Pattern, Trial, aggregate, merge_trials, overlay_trials, trials
from warpsmith.knowledge.recall import remember
from warpsmith.knowledge.skill import GLOSSARY, SKILLS, glossary, load_skills
from warpsmith.knowledge.wiki import Page, Wikis, WikiUpdate
from warpsmith.model.base import Record, digest, short
from warpsmith.model.campaign import Event
from warpsmith.store.blobs import Blobs
from warpsmith.store.ledger import read_events

COMMITTED = "knowledge"
"""Folder of the exported pages, under the project's root."""
SCHEMA = "1"
"""Of the index; another one makes the kept index stale."""
KINDS = ("skill", "glossary", "memory", "pattern", "wiki")


class Imported(Record):
    """What an import did."""

    wiki: WikiUpdate | None = None
    """None where the folder held exported pages only."""
    attempts: int = 0
    """Attempts in pages of memory."""
    new_attempts: int = 0
    """Those that nothing here knew before."""
    trials: int = 0
    new_trials: int = 0
    refused: tuple[Refused, ...] = ()
    warnings: tuple[str, ...] = ()


class Written(Record):
    """What an export did."""

    written: tuple[str, ...]
    unchanged: tuple[str, ...]
    attempts: int
    trials: int
    problems: tuple[str, ...]
    """Sources that could not be read; pages among them were left as they are."""


class Library:
    """Everything that is known in one project. A snapshot: what it read once it keeps."""

    def __init__(self, home: Path, root: Path, blobs: Blobs) -> None:
        self.home, self.committed = home / "knowledge", root / COMMITTED
        self.campaigns = home / "campaigns"
        self.skills = load_skills()
        self.wikis = Wikis(self.home / "wikis", blobs)

    @cached_property
    def ledgers(self) -> tuple[dict[Path, list[Event]], tuple[str, ...]]:
        """The events of every ledger that can be read, and what is wrong with the others."""
        events: dict[Path, list[Event]] = {}
        problems = []
        for path in sorted(self.campaigns.glob("*/*/*/ledger.jsonl")):
            try:
                events[path] = read_events(path)
            except (WarpsmithError, OSError) as error:
                problems.append(str(error))
        return events, tuple(problems)

    @cached_property
    def _own(self) -> tuple[Attempt, ...]:
        return merge(*(remember(events) for events in self.ledgers[0].values()))

    @cached_property
    def _pages(self) -> Pages:
        return read_pages((self.committed, self.home))

    @cached_property
    def attempts(self) -> tuple[Attempt, ...]:
        """Everything that was tried, by task, campaign and candidate."""
        return overlay(self._own, self._pages.attempts)

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """Everything that patterns count."""
        return overlay_trials(trials(self.attempts), self._pages.trials)

    @cached_property
    def patterns(self) -> tuple[Pattern, ...]:
        """The pattern library."""
        return aggregate(self.trials)

    @cached_property
    def hit_rates(self) -> dict[tuple[str, str], HitRate]:
        """How often the predictions of each rule came true on each device."""
        return hit_rates(
            Prediction(c.rule, a.device, a.candidate, c.metric, c.before, c.after, c.hit)
            for a in self.attempts
            for c in a.checked
        )

    def trust(self, device: str) -> dict[str, float]:
        """What ``analyse.diagnose`` weighs the findings of each rule with on a device."""
        return trust(self.hit_rates, device)

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read."""
        return (*self.ledgers[1], *self._pages.problems, *self.wikis.all()[1])

    @property
    def own(self) -> int:
        """How many attempts this machine's ledgers hold."""
        return len(self._own)

    def tasks(self) -> dict[str, tuple[Attempt, ...]]:
        """The attempts of each task."""
        return by_task(self.attempts)

    def search(self, query: str, kinds: Sequence[str] = (), limit: int = 10) -> Found:
        """What matches some words, best first. Raises BadInput for a query without words or an unknown kind."""
        if unknown := [k for k in kinds if k not in KINDS]:
            raise BadInput(f"--kind: {unknown[0]!r} is not known.", f"Choose among: {', '.join(KINDS)}.")
        if limit < 1:
            raise BadInput(f"--limit: {limit} is not positive.", "Give a number from 1 on.")
        return Index(self.home / "index.sqlite", self._fingerprint(), self.documents).search(query, kinds, limit)

    def show(self, identity: str) -> Document:
        """One thing, whole, by its id or an id's unmistakable end. Raises BadInput for none or several."""
        tasks = self.tasks()
        task = identity.removeprefix("memory/")
        if task in tasks:
            page = memory_page(task, tasks[task])
            return Document(kind="memory", id=f"memory/{task}", title=f"What was tried on {task}", body=page)
        found = [d for d in self.documents() if d.id == identity] or [
            d for d in self.documents() if d.id.endswith(f"/{identity}") or _candidate_of(d).startswith(identity)
        ]
        if len(found) == 1:
            return found[0]
        problem = f"could be any of {', '.join(d.id for d in found[:5])}" if found else "names nothing that is known"
        raise BadInput(f"{identity!a} {problem}.", "Take an id from 'warpsmith knowledge search QUERY'.")

    def import_folder(self, path: Path, name: str = "") -> Imported:
        """Take in a folder: exported pages become memory and patterns, other Markdown a wiki called ``name``.

        Raises BadInput where nothing could be taken at all, or the name is bad or taken.
        """
        read = read_folder(path)
        pages = {p: read.texts.pop(p) for p in list(read.texts) if kind_of(read.texts[p])}
        exported, warnings = _parse(pages, read)
        if not (read.texts or exported or read.refused):
            raise BadInput(f"{path} holds no Markdown.", "Give a folder with .md files.")
        known, counted = {a.key for a in self.attempts}, {t.key for t in self.trials}
        attempts = merge(*(e.attempts for e in exported))
        tried = merge_trials(*(e.trials for e in exported))
        wiki = None
        if read.texts or (not exported and self._has_wiki(name or path.resolve().name)):
            wiki = self.wikis.update(name or path.resolve().name, path.resolve(), read, named=bool(name))
        refused = (*read.refused, *self._keep(attempts, tried))
        return Imported(
            wiki=wiki,
            attempts=len(attempts),
            new_attempts=sum(a.key not in known for a in attempts),
            trials=len(tried),
            new_trials=sum(t.key not in counted for t in merge_trials(trials(attempts), tried)),
            refused=tuple(sorted(refused, key=lambda r: r.path)),
            warnings=(*warnings, *(wiki.warnings if wiki else ())),
        )

    def export(self, folder: Path | None = None) -> Written:
        """Write memory, one page per task, and the pattern library into ``folder`` (the committed one by default).

        What the pages there hold already is merged in; a page that cannot be read is left as it is. Raises BadInput
        where the folder cannot be written.
        """
        target = folder or self.committed
        there = read_pages((target,)) if target != self.committed else self._pages
        attempts = overlay(self.attempts, there.attempts)
        tried = overlay_trials(trials(attempts), merge_trials(self.trials, there.trials))
        pages = {target / MEMORY / f"{task}.md": memory_page(task, told) for task, told in by_task(attempts).items()}
        if tried:
            pages[target / PATTERNS] = patterns_page(tried)
        written, unchanged = write_pages({p: t for p, t in pages.items() if p not in there.unreadable})
        problems = tuple(dict.fromkeys((*self.ledgers[1], *there.problems)))
        return Written(
            written=written, unchanged=unchanged, attempts=len(attempts), trials=len(tried), problems=problems
        )

    def documents(self) -> Iterator[Document]:
        """Everything that can be found or shown."""
        for skill in self.skills.values():
            yield Document(kind="skill", id=f"skill/{skill.id}", title=skill.title, body=skill.body, place="skills")
        for term, meaning in glossary().items():
            yield Document(kind="glossary", id=f"glossary/{term}", title=term, body=meaning, place=GLOSSARY.name)
        yield from (_of_attempt(a) for a in self.attempts)
        for pattern in self.patterns:
            tasks = f"on {', '.join(pattern.tasks)}"
            place = f"{sum(pattern.outcomes.values())} trials"
            yield Document(kind="pattern", id=f"pattern/{pattern.id}", title=pattern.line, body=tasks, place=place)
        for wiki in self.wikis.all()[0]:
            for page in wiki.pages:
                yield Document(
                    kind="wiki",
                    id=f"wiki/{wiki.name}/{page.path}",
                    title=page.title,
                    body=self._text(page),
                    confidence=page.confidence,
                    place=wiki.source,
                )

    def _text(self, page: Page) -> str:
        try:
            return self.wikis.text(page)
        except LedgerError as error:
            return f"(this page is lost: {error.message} Import the wiki again.)"

    def _has_wiki(self, name: str) -> bool:
        return any(w.name == name for w in self.wikis.all()[0])

    def _keep(self, attempts: tuple[Attempt, ...], tried: tuple[Trial, ...]) -> tuple[Refused, ...]:
        """Merge what was imported into the pages of this machine, which are not committed; what stands in the way
        because it cannot be read is named and left as it is.
        """
        there = read_pages((self.home,))
        pages = {}
        before = by_task(there.attempts)
        for task, told in by_task(attempts).items():
            pages[self.home / MEMORY / f"{task}.md"] = memory_page(task, merge(told, before.get(task, ())))
        if tried:
            pages[self.home / PATTERNS] = patterns_page(merge_trials(tried, there.trials))
        write_pages({p: t for p, t in pages.items() if p not in there.unreadable})
        reason = "a page of this name was imported before and can no longer be read; remove it"
        return tuple(Refused(path=str(p), reason=reason) for p in pages if p in there.unreadable)

    def _fingerprint(self) -> str:
        """What the index depends on, by the state of every file: cheap, and different whenever one was replaced."""
        files = [GLOSSARY, *SKILLS.glob("*.md"), *self.campaigns.glob("*/*/*/ledger.jsonl")]
        for folder in (self.committed, self.home):
            files += [folder / PATTERNS, *(folder / MEMORY).glob("*/*.md")]
        files += [*self.wikis.folder.glob("*.json")]
        return digest([SCHEMA, sorted(_state(path) for path in files)])


def _state(path: Path) -> tuple[str, int, int, int]:
    try:
        seen = path.stat()
    except OSError:
        return str(path), 0, 0, 0
    return str(path), seen.st_size, seen.st_mtime_ns, seen.st_ino


def _parse(pages: dict[str, str], read: Read) -> tuple[list[Exported], list[str]]:
    """The exported pages among what was read; those that are damaged go to the refused."""
    exported, warnings = [], []
    for path, text in pages.items():
        try:
            page = read_page(text, path)
        except BadInput as error:
            read.refused.append(Refused(path=path, reason=str(error)))
            continue
        exported.append(page)
        if page.edited:
            warnings.append(f"{path}: changed by hand, or written by another version; only its record was read")
    return exported, warnings


def _of_attempt(a: Attempt) -> Document:
    ratio = f", {a.speedup:.3f}x over its rival" if a.speedup else ""
    base = f", {a.over_baseline:.3f}x over the baseline" if a.over_baseline else ""
    lines = [a.memo, f"{a.outcome.value} ({a.status}{ratio}{base}): {a.why}"]
    lines += [" ".join(f"{n}: {before} -> {after}" for n, (before, after) in sorted(a.changed.items()))]
    lines += [f"findings: {', '.join(a.rules)}"] if a.rules else []
    lines += [f"on {a.device} ({a.architecture}), campaign {a.tag}, {a.origin}, candidate {a.candidate}"]
    return Document(
        kind="memory",
        id=f"memory/{a.task}/{short(a.candidate)}@{a.campaign[:6]}",
        title=f"{a.outcome.value} on {a.task}: {a.memo.splitlines()[0] if a.memo.strip() else 'no memo'}",
        body="\n".join(filter(None, lines)),
        place=f"{a.task} {a.tag}",
    )


def _candidate_of(document: Document) -> str:
    """The candidate's id, as far as the id of a document of memory shows it."""
    return document.id.rpartition("/")[2] if document.kind == "memory" else ""
