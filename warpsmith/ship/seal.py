"""The check of what lies under ``releases/``: every byte of a release and of the index, from the files alone.

Nothing is run and nothing is written. Each check has a name, a result and a remedy.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from warpsmith.errors import BadInput
from warpsmith.model.base import Record, digest_bytes
from warpsmith.model.release import MANIFEST, MOST_BYTES, PROVENANCE, IndexEntry, Manifest, ReleasedFile, entry_of
from warpsmith.ship import index, provenance
from warpsmith.ship.shelf import INCOMING, INTENT, Shelf

Result = Literal["passed", "explained", "failed", "unclear", "skipped", "lacking"]
"""``explained``: not equal, for a named reason; ``unclear``: measured without a clear answer; ``lacking``: this machine
cannot tell."""
ALLOWED = {index.INDEX, index.DERIVED, "README.md"}
LARGEST = 256 << 20
"""Bytes of one file that are read, at most."""
RESTORE_RELEASE = "Restore the release's folder from version control; do not use it until then."


class Check(Record):
    """One thing that was looked at."""

    name: str
    result: Result
    detail: str
    remedy: str = ""


def passed(name: str, detail: str) -> Check:
    """A check that found what it should."""
    return Check(name=name, result="passed", detail=detail)


def failed(name: str, detail: str, remedy: str) -> Check:
    """A check that did not."""
    return Check(name=name, result="failed", detail=detail, remedy=remedy)


def check_index(shelf: Shelf) -> tuple[Check, ...]:
    """The index as a whole: its chain, what this machine saw of it before, what is derived from it, and that it names
    every release there is.
    """
    try:
        entries = index.read(shelf.folder)
    except BadInput as broken:
        return (failed("index chain", broken.message, broken.remedy),)
    chain = passed("index chain", f"{len(entries)} entries, head {index.head(entries)[:16]}")
    return (chain, _seen(shelf, entries), _derived(shelf, entries), *_listed(shelf, entries))


def _seen(shelf: Shelf, entries: Sequence[IndexEntry]) -> Check:
    """Against a rollback as a whole, which is consistent in itself."""
    remedy = f"{index.RESTORE} Where it was taken back on purpose (another branch), remove {shelf.witness}."
    try:
        lost = shelf.lost(entries)
    except BadInput as broken:
        return failed("index history", broken.message, f"Remove {shelf.witness}; what it knew is lost.")
    if lost:
        return failed("index history", lost, remedy)
    return passed("index history", "nothing is gone that this machine has seen")


def _derived(shelf: Shelf, entries: Sequence[IndexEntry]) -> Check:
    content = _content(shelf.folder / index.DERIVED)
    if content == index.derived(entries) or (content is None and not entries):
        return passed(index.DERIVED, "as derived from the index")
    what = "is not there" if content is None else "is not what the index gives"
    return failed(index.DERIVED, f"{shelf.folder / index.DERIVED} {what}", "'warpsmith releases' derives it anew.")


def _listed(shelf: Shelf, entries: Sequence[IndexEntry]) -> Iterator[Check]:
    """Every entry has its release, and every release its entry."""
    lost = []
    for entry in entries:
        for name, wanted in ((MANIFEST, entry.manifest), (PROVENANCE, entry.provenance)):
            content = _content(shelf.place(entry.name, entry.version) / name)
            if content is None or digest_bytes(content) != wanted:
                lost.append(f"{entry.spec}/{name}")
    remedy = "Restore them from version control."
    if lost:
        yield failed("index entries", f"missing or changed: {', '.join(lost)}", remedy)
    else:
        yield passed("index entries", f"{len(entries)} releases are there with the manifests that the index names")
    strays, unfinished = _strays(shelf, {(e.name, e.version) for e in entries})
    if strays:
        yield failed("strays", f"in no index: {', '.join(strays)}", index.RESTORE)
    else:
        said = "; a promotion was interrupted, the next finishes or removes it" if unfinished else ""
        yield passed("strays", f"nothing else lies there{said}")


def _strays(shelf: Shelf, known: set[tuple[str, str]]) -> tuple[list[str], bool]:
    """What lies in ``releases/`` beside index and releases, and whether a promotion was interrupted."""
    found: list[str] = []
    intent = shelf.intent()
    unfinished = intent is not None
    if not shelf.folder.is_dir():
        return found, False
    for top in sorted(shelf.folder.iterdir()):
        if top.name == INTENT or top.name.startswith(INCOMING):
            unfinished = True
        elif top.is_symlink() or not top.is_dir():
            found += [top.name] if top.name not in ALLOWED or top.is_symlink() else []
        else:
            found += _below(top, known, f"{intent.name}/{intent.version}" if intent else "")
    return found, unfinished


def _below(group: Path, known: set[tuple[str, str]], coming: str) -> list[str]:
    """Strays of one group; a folder of versions without any is left over, and says nothing."""
    found: list[str] = []
    for task in sorted(group.iterdir()):
        if task.is_symlink() or not task.is_dir():
            found.append(f"{group.name}/{task.name}")
            continue
        for version in sorted(task.iterdir()):
            named = f"{group.name}/{task.name}"
            if version.is_symlink() or ((named, version.name) not in known and f"{named}/{version.name}" != coming):
                found.append(f"{named}/{version.name}")
    return found


def check_release(
    shelf: Shelf, entry: IndexEntry, keys: Path | None = None
) -> tuple[tuple[Check, ...], Manifest | None]:
    """Manifest, files, evidence and provenance of one release; its manifest where that is what the index names."""
    folder = shelf.place(entry.name, entry.version)
    content = _content(folder / MANIFEST)
    if content is None:
        return (failed("manifest", f"{folder / MANIFEST} is not there", RESTORE_RELEASE),), None
    if digest_bytes(content) != entry.manifest:
        return (failed("manifest", "it is not the one that the index names", RESTORE_RELEASE),), None
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        said = error.errors()[0]["msg"]
        remedy = "Verify it with the version of warpsmith that made it."
        return (failed("manifest", f"not a manifest of this version ({said})", remedy),), None
    checks = [passed("manifest", f"as the index names it, entry {entry.sequence}"), _entry(manifest, entry, shelf)]
    checks += [_files(folder, manifest, entry), _evidence(shelf, manifest), _parent(shelf, manifest, entry)]
    checks += _provenance(folder, manifest, content, keys)
    return tuple(checks), manifest


def _entry(manifest: Manifest, entry: IndexEntry, shelf: Shelf) -> Check:
    before = index.read(shelf.folder)[: entry.sequence - 1]
    if entry_of(manifest, entry.manifest, entry.provenance, before) != entry:
        return failed("index entry", "it does not say what the manifest says", index.RESTORE)
    return passed("index entry", "says what the manifest says")


def _parent(shelf: Shelf, manifest: Manifest, entry: IndexEntry) -> Check:
    earlier = [e for e in index.read(shelf.folder)[: entry.sequence - 1] if e.name == manifest.name]
    wanted = (earlier[-1].version, earlier[-1].manifest) if earlier else None
    said = (manifest.parent.version, manifest.parent.manifest) if manifest.parent else None
    if said != wanted:
        return failed("parent", f"the manifest names {said}, the index {wanted}", index.RESTORE)
    return passed("parent", f"follows {said[0]}" if said else "the first of its name")


def _files(folder: Path, manifest: Manifest, entry: IndexEntry) -> Check:
    """Every file with hash and size, nothing more, nothing less, and no links."""
    wanted = {f.path: f for f in manifest.files if not f.stored}
    problems: list[str] = []
    total = 0
    seen: set[str] = set()
    for relative, kind in _walk(folder):
        path = folder / relative
        seen.add(relative)
        if kind != "file":
            problems.append(f"{relative} is {kind}")
        elif relative == PROVENANCE:
            content = _content(path)
            total += len(content or b"")
            if content is None or digest_bytes(content) != entry.provenance:
                problems.append(f"{relative} was changed")
        elif relative in wanted:
            total += wanted[relative].bytes
            problems += _differs(path, wanted[relative])
        elif relative != MANIFEST:
            problems.append(f"{relative} does not belong to the release")
    problems += [f"{path} is missing" for path in sorted({*wanted, PROVENANCE} - seen)]
    if total > MOST_BYTES:
        problems.append(f"the folder has {total} bytes, and {MOST_BYTES} are allowed")
    if problems:
        return failed("files", "; ".join(problems), RESTORE_RELEASE)
    return passed("files", f"{len(wanted)} files, {total} bytes, every hash as the manifest says")


def _walk(folder: Path, below: str = "") -> Iterator[tuple[str, str]]:
    """Every entry below ``folder`` with what it is; folders only where they are empty."""
    entries = sorted(os.scandir(folder / below), key=lambda e: e.name)
    if not entries and below:
        yield below, "an empty folder"
    for entry in entries:
        relative = f"{below}/{entry.name}" if below else entry.name
        if entry.is_symlink():
            yield relative, "a link"
        elif entry.is_dir():
            yield from _walk(folder, relative)
        elif not entry.is_file():
            yield relative, "no plain file"
        else:
            yield relative, "file" if entry.stat(follow_symlinks=False).st_nlink == 1 else "linked from elsewhere"


def _differs(path: Path, file: ReleasedFile) -> list[str]:
    content = _content(path)
    if content is None:
        return [f"{file.path} cannot be read"]
    if len(content) != file.bytes:
        return [f"{file.path} has {len(content)} bytes instead of {file.bytes}"]
    return [] if digest_bytes(content) == file.sha256 else [f"{file.path} was changed"]


def _evidence(shelf: Shelf, manifest: Manifest) -> Check:
    stored = [f for f in manifest.files if f.stored]
    if not stored:
        return passed("evidence store", "nothing of it lies there")
    absent = [f.path for f in stored if not shelf.stored(f.sha256).is_file()]
    if problems := [p for f in stored if f.path not in absent for p in _differs(shelf.stored(f.sha256), f)]:
        return failed("evidence store", "; ".join(problems), "Copy the evidence store from elsewhere again.")
    if absent:
        remedy = "Copy the evidence store of the machine that promoted it, or set evidence to where it lies."
        detail = f"{', '.join(absent)} not in {shelf.store}"
        return Check(name="evidence store", result="lacking", detail=detail, remedy=remedy)
    return passed("evidence store", f"{len(stored)} reports, every hash as the manifest says")


def _provenance(folder: Path, manifest: Manifest, raw: bytes, keys: Path | None) -> Iterator[Check]:
    try:
        envelope = provenance.read(_content(folder / PROVENANCE) or b"")
    except BadInput as broken:
        yield failed("provenance", broken.message, RESTORE_RELEASE)
        return
    if envelope.payload != provenance.statement(manifest, raw):
        yield failed("provenance", "the statement does not describe this manifest", RESTORE_RELEASE)
        return
    yield passed("provenance", "the statement names this manifest and every file")
    outcome, detail, remedy = provenance.check_signature(envelope, manifest.signer, keys)
    yield Check(name="signature", result=outcome, detail=detail, remedy=remedy)


def _content(path: Path) -> bytes | None:
    """What a plain file holds; None for anything else."""
    try:
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
            return None
        return path.read_bytes()
    except OSError:
        return None
