"""What the ``knowledge`` verbs answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from warpsmith.knowledge.index import Document, Found
from warpsmith.knowledge.library import Imported, Written
from warpsmith.knowledge.patterns import Pattern
from warpsmith.model.base import Record
from warpsmith.surface.answers import Answer


class WikiCount(Record):
    """An imported wiki, in numbers."""

    name: str
    source: str
    pages: dict[str, int]
    """By grade of confidence."""


class RuleRate(Record):
    """How often the predictions of a rule came true on a device."""

    rule: str
    device: str
    hits: int
    tries: int
    low: float
    high: float
    """One-sided 95 % bounds on the share (Clopper-Pearson)."""


class KnowledgeAnswer(Answer):
    """What is known, in numbers."""

    skills: tuple[str, ...]
    """One line each."""
    tasks: dict[str, dict[str, int]]
    """Attempts of each task by outcome."""
    own: int
    """Attempts that the ledgers of this machine hold; the others come from pages."""
    patterns: tuple[Pattern, ...]
    rates: tuple[RuleRate, ...]
    """Rules whose advice was followed and checked."""
    wikis: tuple[WikiCount, ...]
    problems: tuple[str, ...]


class SearchAnswer(Answer):
    """What matches some words."""

    query: str
    found: Found


class KnowledgeShowAnswer(Answer):
    """One thing that is known."""

    document: Document


class KnowledgeImportAnswer(Answer):
    """What an import did."""

    source: str
    imported: Imported


class KnowledgeExportAnswer(Answer):
    """What an export wrote."""

    done: Written


def counted(values: Iterable[str]) -> dict[str, int]:
    """How often each value occurs, in order of the values."""
    return dict(sorted(Counter(str(v) for v in values).items()))
