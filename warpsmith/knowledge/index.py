"""Search: one full-text index (SQLite FTS5) of everything that is known. A cache, rebuilt when stale, never the truth.

What a person types is taken as words only; no query syntax reaches SQLite. Where the cache cannot be kept (a read-only
folder, a full disk) the index is built in memory and the answer is the same.
"""

from __future__ import annotations

import os
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path

from warpsmith.errors import BadInput, Missing
from warpsmith.model.base import Record

MOST_WORDS = 64
"""Words of a query: more of them exceed what an expression of FTS5 may hold."""
WEIGHTS = "0.0, 4.0, 8.0, 1.0, 0.0, 0.0"
"""Of a match in kind, id, title, body, confidence, place."""
TABLE = """create virtual table pages using fts5(
    kind unindexed, id, title, body, confidence unindexed, place unindexed,
    tokenize = 'porter unicode61 remove_diacritics 2')
"""


class Document(Record):
    """One thing that can be found."""

    kind: str
    """``skill``, ``glossary``, ``memory``, ``pattern`` or ``wiki``."""
    id: str
    """What ``knowledge show`` takes."""
    title: str
    body: str
    confidence: str = ""
    """The grade that a page of a wiki states."""
    place: str = ""
    """Where it comes from."""


class Hit(Record):
    """One answer."""

    kind: str
    id: str
    title: str
    snippet: str
    """Where it matches; the words stand in square brackets."""
    confidence: str
    place: str
    score: float
    """bm25, higher is better; of use for the order within one search only."""


class Found(Record):
    """The answers to one query."""

    hits: tuple[Hit, ...]
    all_words: bool = True
    """Whether each hit holds all words; where none does, those that hold some are given."""
    notes: tuple[str, ...] = ()
    """Why the index could not be kept."""


def words_of(query: str) -> tuple[str, ...]:
    """The words of a query, each once. Raises BadInput for none or too many."""
    words = tuple(dict.fromkeys(re.findall(r"\w+", query.lower())))
    searchable = tuple(w for w in words if any(c.isalnum() for c in w))
    if not searchable:
        raise BadInput(f"{ascii(query)[:80]} holds no word to search for.", "Give words, such as: bank conflicts.")
    if len(searchable) > MOST_WORDS:
        raise BadInput(f"the query has {len(searchable)} words; at most {MOST_WORDS}.", "Give the words that matter.")
    return searchable


class Index:
    """The index in one file; ``fingerprint`` says what it was made from, ``documents`` makes it anew."""

    def __init__(self, path: Path, fingerprint: str, documents: Callable[[], Iterable[Document]]) -> None:
        self.path, self.fingerprint, self.documents = path, fingerprint, documents

    def search(self, query: str, kinds: Sequence[str] = (), limit: int = 10) -> Found:
        """The best matches, best first. Raises BadInput for a query without words, Missing where SQLite lacks FTS5."""
        words = words_of(query)
        connection, notes = self._open()
        with closing(connection):
            for joint in (" AND ", " OR "):
                expression = joint.join(f'"{word}"' for word in words)
                hits = _ask(connection, expression, kinds, limit)
                if hits:
                    return Found(hits=hits, all_words=joint == " AND ", notes=notes)
        return Found(hits=(), notes=notes)

    def _open(self) -> tuple[sqlite3.Connection, tuple[str, ...]]:
        if (fresh := self._fresh()) is not None:
            return fresh, ()
        try:
            self._rebuild()
            if (fresh := self._fresh()) is not None:
                return fresh, ()
            reason = "it changed while it was read"
        except OSError as error:
            reason = error.strerror or str(error)
        except sqlite3.Error as error:
            reason = str(error)
        connection = sqlite3.connect(":memory:")
        self._fill(connection)
        return connection, (f"the index could not be kept in {self.path} ({reason}); it was made in memory",)

    def _fresh(self) -> sqlite3.Connection | None:
        """The kept index, if it is whole and made from what there is now."""
        if not self.path.is_file():
            return None
        connection = None
        try:
            connection = sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True)
            (kept,) = connection.execute("select fingerprint from made_from").fetchone()
            connection.execute("select count(*) from pages where pages match 'a'").fetchone()
        except (sqlite3.Error, TypeError, ValueError):
            kept = None
        if kept == self.fingerprint:
            return connection
        if connection is not None:
            connection.close()
        return None

    def _rebuild(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        os.close(descriptor)
        try:
            with closing(sqlite3.connect(temporary)) as connection:
                self._fill(connection)
            os.replace(temporary, self.path)
        finally:
            Path(temporary).unlink(missing_ok=True)

    def _fill(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute(TABLE)
        except sqlite3.OperationalError as error:
            if "fts5" in str(error):
                raise Missing("this Python's SQLite has no FTS5.", "Use a Python whose sqlite3 has it.") from None
            raise
        rows = ((d.kind, d.id, d.title, d.body, d.confidence, d.place) for d in self.documents())
        connection.executemany("insert into pages values (?, ?, ?, ?, ?, ?)", rows)
        connection.execute("create table made_from (fingerprint text)")
        connection.execute("insert into made_from values (?)", (self.fingerprint,))
        connection.commit()


def _ask(connection: sqlite3.Connection, expression: str, kinds: Sequence[str], limit: int) -> tuple[Hit, ...]:
    chosen = f"and kind in ({', '.join('?' * len(kinds))})" if kinds else ""
    rows = connection.execute(
        "select kind, id, title, snippet(pages, 3, '[', ']', ' ... ', 20), confidence, place,"
        f" -bm25(pages, {WEIGHTS}) as score from pages where pages match ? {chosen} order by score desc, id limit ?",
        (expression, *kinds, limit),
    )
    names = ("kind", "id", "title", "snippet", "confidence", "place", "score")
    return tuple(Hit(**dict(zip(names, row, strict=True))) for row in rows)
