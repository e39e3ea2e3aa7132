"""Exported pages on disk: ``memory/<group>/<task>.md`` and ``patterns.md`` under a folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from warpsmith.errors import BadInput
from warpsmith.knowledge.markdown import read_page
from warpsmith.knowledge.memory import Attempt, merge
from warpsmith.knowledge.patterns import Trial, merge_trials
from warpsmith.store.files import write_atomic

MEMORY, PATTERNS = "memory", "patterns.md"


@dataclass(frozen=True)
class Pages:
    """Exported pages that were read back from some folders."""

    attempts: tuple[Attempt, ...]
    trials: tuple[Trial, ...]
    problems: tuple[str, ...]
    unreadable: frozenset[Path]


def read_pages(folders: Iterable[Path]) -> Pages:
    """The pages under some folders, merged; those that cannot be read are named, and never written over."""
    attempts: list[tuple[Attempt, ...]] = []
    tried: list[tuple[Trial, ...]] = []
    problems: list[str] = []
    unreadable: set[Path] = set()
    for path in (p for f in folders for p in (f / PATTERNS, *sorted((f / MEMORY).glob("*/*.md")))):
        try:
            page = read_page(path.read_bytes().decode(), str(path))
        except FileNotFoundError:
            continue
        except (BadInput, OSError, UnicodeDecodeError) as error:
            problems.append(str(error) if isinstance(error, BadInput) else f"{path}: {error}")
            unreadable.add(path)
            continue
        attempts.append(page.attempts)
        tried.append(page.trials)
    return Pages(merge(*attempts), merge_trials(*tried), tuple(problems), frozenset(unreadable))


def by_task(attempts: Iterable[Attempt]) -> dict[str, tuple[Attempt, ...]]:
    """The attempts of each task, tasks in order."""
    found: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        found.setdefault(attempt.task, []).append(attempt)
    return {task: tuple(found[task]) for task in sorted(found)}


def write_pages(pages: dict[Path, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Write what differs; returns the pages that were written and those that were equal. Raises BadInput."""
    written, unchanged = [], []
    for path, text in pages.items():
        try:
            if path.is_file() and path.read_bytes() == text.encode():
                unchanged.append(str(path))
                continue
            write_atomic(path, text)
        except OSError as error:
            raise BadInput(
                f"{path}: {error.strerror or error}.", "Make the folder writable, or name another."
            ) from None
        written.append(str(path))
    return tuple(written), tuple(unchanged)
