"""External wikis: folders of Markdown, imported and kept as blobs by hash, with the grades of confidence they state.

An import is an update: it says what was added, changed and removed, and what it refused. A page that was fine before
and is refused now stays as it was. Links and unknown grades are warned of, never a reason to refuse.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from pydantic import ValidationError

from warpsmith.errors import BadInput
from warpsmith.knowledge.folder import Read, Refused
from warpsmith.knowledge.frontmatter import Head, first, split
from warpsmith.model.base import Digest, Record
from warpsmith.store.blobs import Blobs
from warpsmith.store.files import write_atomic

LARGEST_PAGE = 1 << 20
LONGEST_TITLE = 120
UNGRADED = "ungraded"
_GRADE = re.compile(r"[a-z0-9][a-z0-9 _.\-]{0,39}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}")
_LINK = re.compile(r"\[[^\[\]\n]{0,300}\]\(<?([^()\s<>]{1,500})")
_CODE = re.compile(r"^(?:```|~~~)", re.MULTILINE)


class Page(Record):
    """One page of a wiki."""

    path: str
    content: Digest
    bytes: int
    title: str
    confidence: str
    """As the page states it, such as ``verified`` or ``source-reported``; ``ungraded`` where it states none."""
    warnings: tuple[str, ...] = ()


class Wiki(Record):
    """A folder that was imported."""

    name: str
    source: str
    """Where it lay."""
    pages: tuple[Page, ...]


class WikiUpdate(Record):
    """What an import did."""

    name: str
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: int = 0
    kept: tuple[str, ...] = ()
    """Pages that are refused now and stay as they were."""
    warnings: tuple[str, ...] = ()


class Wikis:
    """The wikis of one project, as a folder of manifests beside the blobs."""

    def __init__(self, folder: Path, blobs: Blobs) -> None:
        self.folder, self.blobs = folder, blobs

    def all(self) -> tuple[tuple[Wiki, ...], tuple[str, ...]]:
        """Every wiki by name, and what is wrong with manifests that cannot be read."""
        wikis, problems = [], []
        for path in sorted(self.folder.glob("*.json")):
            try:
                wikis.append(Wiki.model_validate_json(path.read_bytes()))
            except (OSError, ValidationError) as error:
                problems.append(f"{path}: not a wiki's manifest ({str(error).splitlines()[0]}); import it again")
        return tuple(wikis), tuple(problems)

    def update(self, name: str, source: Path, read: Read, *, named: bool) -> WikiUpdate:
        """Keep what was read as the wiki ``name``.

        Raises BadInput for a bad name, or where a wiki of that name came from elsewhere and the name was not given on
        purpose (``named``).
        """
        if not _NAME.fullmatch(name):
            raise BadInput(f"--name: {name!r} cannot name a wiki.", "Use letters, digits, '_', '-' and '.'.")
        wikis, _ = self.all()
        known = next((w for w in wikis if w.name == name), None)
        if known is not None and known.source != str(source) and not named:
            raise BadInput(
                f"the wiki {name!r} was imported from {known.source}.",
                f"Give --name {name} to update it from {source}, or another --name for a second wiki.",
            )
        pages = self._pages(read)
        before = {p.path: p for p in known.pages} if known else {}
        refused = {r.path for r in read.refused}
        kept = {path: p for path, p in before.items() if not refused.isdisjoint(_above(path))}
        after = {**kept, **pages}
        wiki = Wiki(name=name, source=str(source), pages=tuple(after[path] for path in sorted(after)))
        write_atomic(self.folder / f"{name}.json", wiki.model_dump_json(indent=1) + "\n")
        return WikiUpdate(
            name=name,
            added=tuple(sorted(pages.keys() - before.keys())),
            changed=tuple(sorted(p for p in pages.keys() & before.keys() if pages[p].content != before[p].content)),
            removed=tuple(sorted(before.keys() - after.keys())),
            unchanged=sum(pages[p].content == before[p].content for p in pages.keys() & before.keys()),
            kept=tuple(sorted(kept)),
            warnings=tuple(f"{p.path}: {w}" for p in wiki.pages for w in p.warnings if p.path in pages),
        )

    def text(self, page: Page) -> str:
        """The whole text of a page. Raises LedgerError where its blob is missing or was changed."""
        return self.blobs.get(page.content).decode()

    def _pages(self, read: Read) -> dict[str, Page]:
        large = [path for path, text in read.texts.items() if len(text.encode()) > LARGEST_PAGE]
        read.refused += [Refused(path=p, reason=f"more than {LARGEST_PAGE >> 20} MiB for a page") for p in large]
        texts = {path: text for path, text in read.texts.items() if path not in large}
        ids = {i for path, text in texts.items() for i in (first(split(text)[0], "id"), Path(path).stem) if i}
        return {path: self._page(path, text, read.files, ids) for path, text in texts.items()}

    def _page(self, path: str, text: str, files: Collection[str], ids: Collection[str]) -> Page:
        head, body = split(text)
        content = text.encode()
        grade, complaint = _grade(head)
        warnings = [*complaint, *_links(path, body, files)]
        warnings += [f"relates to {i!r}, which is no page" for i in head.get("related", ()) if i not in ids]
        return Page(
            path=path,
            content=self.blobs.put(content),
            bytes=len(content),
            title=_title(head, body, path),
            confidence=grade,
            warnings=tuple(dict.fromkeys(warnings)),
        )


def _above(path: str) -> Iterator[str]:
    """The path and the folders that it lies in."""
    yield path
    yield from (str(parent) for parent in PurePosixPath(path).parents)


def _grade(head: Head) -> tuple[str, list[str]]:
    said = first(head, "confidence").strip().lower()
    if not said or _GRADE.fullmatch(said):
        return said or UNGRADED, []
    return UNGRADED, [f"its confidence {said[:40]!r} is no grade"]


def _title(head: Head, body: str, path: str) -> str:
    heading = next((line[2:] for line in body.splitlines() if line.startswith("# ")), "")
    plain = " ".join((first(head, "title") or heading or Path(path).stem).split())
    return "".join(c if c.isprintable() else " " for c in plain)[:LONGEST_TITLE]


def _links(path: str, body: str, files: Collection[str]) -> Iterator[str]:
    """What is wrong with the links of a page, code blocks left out. Links into the network are not followed."""
    for number, part in enumerate(_CODE.split(body)):
        for target in _LINK.findall(part) if number % 2 == 0 else ():
            scheme, colon, _ = target.partition(":")
            place = unquote(target.partition("#")[0].partition("?")[0])
            inside = posixpath.normpath(posixpath.join(posixpath.dirname(path), place))
            if colon and scheme.isalnum():
                if scheme.lower() not in ("http", "https", "mailto"):
                    yield f"a link with the scheme {scheme[:20]!r}"
            elif place.startswith("/") or inside.startswith(".."):
                yield f"a link that leaves the folder: {target[:100]}"
            elif place and inside not in files:
                yield f"a link to {target[:100]}, which is not there"
