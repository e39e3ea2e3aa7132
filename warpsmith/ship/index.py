"""``releases/index.jsonl``: append-only lines, each chained to the one before; ``index.json`` is derived from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from warpsmith.errors import BadInput
from warpsmith.model.base import digest_bytes
from warpsmith.model.release import NOTHING_BEFORE, IndexEntry

INDEX, DERIVED = "index.jsonl", "index.json"
RESTORE = "Restore releases/ from version control: an index is only ever appended to."


class IndexBroken(BadInput):
    """The index was changed by something else than a promotion."""


def read(folder: Path) -> tuple[IndexEntry, ...]:
    """The entries of the index in ``folder``; none where there is no index. Raises IndexBroken."""
    path = folder / INDEX
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise IndexBroken(f"{path}: {error.strerror}.", RESTORE) from None
    return parse(content, str(path))


def parse(content: bytes, where: str) -> tuple[IndexEntry, ...]:
    """The entries in ``content``. Raises IndexBroken naming the line."""
    if content and not content.endswith(b"\n"):
        raise IndexBroken(f"{where}: the last line is torn.", RESTORE)
    entries: list[IndexEntry] = []
    previous = NOTHING_BEFORE
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        try:
            entry = IndexEntry.model_validate_json(line)
        except ValidationError as error:
            raise IndexBroken(f"{where}:{number}: not an entry ({error.errors()[0]['msg']}).", RESTORE) from None
        if entry.line != line or entry.sealed().entry != entry.entry:
            raise IndexBroken(f"{where}:{number}: the line is not as it was written.", RESTORE)
        if entry.sequence != number or entry.previous != previous:
            raise IndexBroken(f"{where}:{number}: the line does not follow the one before it.", RESTORE)
        if any(e.spec == entry.spec for e in entries):
            raise IndexBroken(f"{where}:{number}: {entry.spec} is named twice.", RESTORE)
        entries.append(entry)
        previous = digest_bytes(line)
    return tuple(entries)


def head(entries: Sequence[IndexEntry]) -> str:
    """The hash of the last line: it stands for the whole index."""
    return digest_bytes(entries[-1].line) if entries else NOTHING_BEFORE


def derived(entries: Sequence[IndexEntry]) -> bytes:
    """``index.json``: every release by name, the latest last, for consumers that want one document."""
    names: dict[str, list[dict[str, object]]] = {}
    for entry in entries:
        path = f"{entry.name}/{entry.version}"
        said = entry.model_dump(mode="json", exclude={"name", "previous", "entry"})
        names.setdefault(entry.name, []).append({**said, "path": path})
    document = {"format": 1, "head": head(entries), "releases": names}
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"
