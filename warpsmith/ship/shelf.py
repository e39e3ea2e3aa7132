"""The shelf: the one writer of ``releases/``. A release is there whole, or not at all; nothing on it is ever changed.

The order on disk: the release is made in a folder apart, whole; what is about to happen is written down (the intent);
the folder is renamed to its place; the line is appended to the index; the rest is derived. Whoever takes the lock next
finishes what an intent says, or removes what was left: so the index never names a release that is not whole. The lock
is on the folder itself and goes with its holder.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from warpsmith.errors import BadInput
from warpsmith.model.base import digest_bytes
from warpsmith.model.release import MANIFEST, MOST_BYTES, PROVENANCE, IndexEntry, Manifest, Parent, entry_of
from warpsmith.ship import index
from warpsmith.store.files import held, sync_folder, write_apart, write_atomic

INTENT, INCOMING = ".intent.json", ".incoming-"


class AlreadyReleased(BadInput):
    """The version is there: releases are never changed."""


class Shelf:
    """The folder of releases. ``witness`` keeps what this machine saw of the index, ``store`` the large reports."""

    def __init__(self, folder: Path, witness: Path, store: Path) -> None:
        self.folder = folder
        self.witness = witness
        self.store = store

    def place(self, name: str, version: str) -> Path:
        """Where a release lies, or would."""
        return self.folder / name / version

    def stored(self, digest: str) -> Path:
        """Where a large report lies, or would."""
        return self.store / digest[:2] / digest

    def entries(self) -> tuple[IndexEntry, ...]:
        """Every release, oldest first. Raises IndexBroken."""
        return index.read(self.folder)

    def find(self, spec: str) -> IndexEntry:
        """A release as ``group/name@version``, ``group/name/version``, or ``group/name`` (its latest), or by its path.

        Raises BadInput.
        """
        entries = self.entries()
        inside, top = Path(os.path.abspath(spec)), self.folder.absolute()
        said = str(inside.relative_to(top)) if inside.is_relative_to(top) else spec
        name, at, version = said.removesuffix(f"/{MANIFEST}").partition("@")
        if not at and name.count("/") == 2:
            name, _, version = name.rpartition("/")
        found = [e for e in entries if e.name == name and version in ("", e.version)]
        if not found:
            known = ", ".join(e.spec for e in entries) or "none"
            raise BadInput(f"there is no release {spec!r}.", f"Releases here: {known}.")
        return found[-1]

    def manifest(self, entry: IndexEntry) -> Manifest:
        """The manifest of a release. Raises BadInput where it is not what the index names."""
        path = self.place(entry.name, entry.version) / MANIFEST
        try:
            content = path.read_bytes()
            if digest_bytes(content) != entry.manifest:
                raise BadInput(f"{path} is not the manifest that the index names.", "Run 'warpsmith verify'.")
            return Manifest.model_validate_json(content)
        except OSError as error:
            raise BadInput(f"{path}: {error.strerror}.", "Run 'warpsmith verify'.") from None
        except ValidationError as error:
            said = error.errors()[0]["msg"]
            raise BadInput(f"{path}: not a manifest of this version ({said}).", "Run 'warpsmith verify'.") from None

    def publish(
        self, manifest: Manifest, contents: Mapping[str, bytes], prove: Callable[[Manifest, bytes], bytes]
    ) -> tuple[IndexEntry, Manifest]:
        """Put a release on the shelf. ``contents`` are its files by path; ``prove`` makes its provenance.

        The parent is filled in here. Raises AlreadyReleased, IndexBroken, BadInput for contents that are not those of
        the manifest or too large, and OSError where the disk refuses: the next promotion finishes or removes the rest.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with held(self.folder):
            self._recover()
            before = self.entries()
            if lost := self.lost(before):
                raise index.IndexBroken(f"{self.folder / index.INDEX}: {lost}.", index.RESTORE)
            place = self.place(manifest.name, manifest.version)
            if os.path.lexists(place) or any(e.spec == manifest.spec for e in before):
                raise AlreadyReleased(f"{manifest.spec} exists, and releases are never changed.", "Use a new version.")
            _check_contents(manifest, contents)
            manifest = manifest.model_copy(update={"parent": _parent(manifest.name, before)})
            raw = manifest.model_dump_json(indent=1).encode() + b"\n"
            proof = prove(manifest, raw)
            entry = entry_of(manifest, digest_bytes(raw), digest_bytes(proof), before)
            incoming = self._prepare(manifest, contents, {MANIFEST: raw, PROVENANCE: proof})
            write_atomic(self.folder / INTENT, entry.line)
            _make_folder(place.parent, self.folder)
            os.rename(incoming, place)
            sync_folder(place.parent)
            self._append(entry)
            self._derive()
            os.unlink(self.folder / INTENT)
            return entry, manifest

    def tidy(self) -> None:
        """Finish or remove what an interrupted promotion left, and derive ``index.json`` anew. Raises IndexBroken."""
        if self.folder.is_dir():
            with held(self.folder):
                self._recover()

    def intent(self) -> IndexEntry | None:
        """What a promotion was about to append; None where none was interrupted."""
        try:
            return IndexEntry.model_validate_json((self.folder / INTENT).read_bytes())
        except (OSError, ValidationError):
            return None

    def seen(self) -> tuple[int, str] | None:
        """How many entries this machine saw, and the hash of the last; None where it saw none. Raises BadInput."""
        try:
            said = json.loads(self.witness.read_bytes())
            return int(said["entries"]), str(said["line"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{self.witness} cannot be read: {error!r}.") from None

    def lost(self, entries: Sequence[IndexEntry]) -> str:
        """What of the index this machine has seen is not in ``entries``; empty where all is. Raises BadInput."""
        number, line = self.seen() or (0, "")
        if number > len(entries):
            return f"this machine has seen {number} entries, and the index ends at {len(entries)}"
        if number and digest_bytes(entries[number - 1].line) != line:
            return f"entry {number} is not the one that this machine has seen"
        return ""

    def _recover(self) -> None:
        """Under the lock: make whole what the last holder left. Never guesses about what no intent explains."""
        intent = self.intent()
        if intent is not None:
            self._drop_torn_line()
            entries = self.entries()
            place = self.place(intent.name, intent.version)
            if intent.previous == index.head(entries) and _whole(place, intent):
                self._append(intent)
        else:
            self.entries()  # raises where the chain is broken
        self._derive()
        (self.folder / INTENT).unlink(missing_ok=True)
        for left in self.folder.iterdir():
            if left.name.startswith(INCOMING):
                shutil.rmtree(left)
            elif left.name.startswith((f".{index.DERIVED}.", f".{INTENT}.")):
                left.unlink()

    def _prepare(self, manifest: Manifest, contents: Mapping[str, bytes], own: Mapping[str, bytes]) -> Path:
        """A folder apart with the whole release, on disk."""
        for large in manifest.files:
            if large.stored and not self.stored(large.sha256).exists():
                write_atomic(self.stored(large.sha256), contents[large.path])
        inside = {f.path: contents[f.path] for f in manifest.files if not f.stored}
        return write_apart(self.folder, INCOMING, {**inside, **own}, mode=0o444)

    def _append(self, entry: IndexEntry) -> None:
        """The line counts once its newline is on disk."""
        line = entry.line + b"\n"
        descriptor = os.open(self.folder / index.INDEX, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            before = os.fstat(descriptor).st_size
            try:
                if os.write(descriptor, line) != len(line):
                    raise OSError(f"{self.folder / index.INDEX}: the disk may be full")
            except OSError:
                os.ftruncate(descriptor, before)
                raise
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(self.folder)

    def _drop_torn_line(self) -> None:
        """Only where an intent says what was being written."""
        path = self.folder / index.INDEX
        with suppress(FileNotFoundError):
            content = path.read_bytes()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                os.truncate(path, whole)

    def _derive(self) -> None:
        """``index.json`` and what this machine has seen; the latter never goes back."""
        entries = self.entries()
        wanted, path = index.derived(entries), self.folder / index.DERIVED
        if entries and (not path.is_file() or path.read_bytes() != wanted):
            write_atomic(path, wanted)
        try:
            seen = self.seen()
        except BadInput:
            return
        if entries and (seen is None or seen[0] < len(entries)):
            said = json.dumps({"entries": len(entries), "line": index.head(entries)})
            write_atomic(self.witness, said)


def _parent(name: str, before: tuple[IndexEntry, ...]) -> Parent | None:
    earlier = [e for e in before if e.name == name]
    return Parent(version=earlier[-1].version, manifest=earlier[-1].manifest) if earlier else None


def _check_contents(manifest: Manifest, contents: Mapping[str, bytes]) -> None:
    if set(contents) != {f.path for f in manifest.files}:
        raise BadInput("the files of the release are not those of its manifest.")
    for file in manifest.files:
        if (len(contents[file.path]), digest_bytes(contents[file.path])) != (file.bytes, file.sha256):
            raise BadInput(f"{file.path} is not as the manifest says.")
    if (size := sum(f.bytes for f in manifest.files if not f.stored)) > MOST_BYTES:
        raise BadInput(f"the release has {size} bytes, and {MOST_BYTES} are allowed.", "Make the artefact smaller.")


def _make_folder(folder: Path, top: Path) -> None:
    """``folder`` and what lacks above it, durably."""
    lacking = [p for p in (folder, *folder.parents) if p.is_relative_to(top) and not p.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in reversed(lacking):
        sync_folder(made.parent)


def _whole(place: Path, entry: IndexEntry) -> bool:
    """Whether the folder that an intent names is the release that it means: it was made whole before its rename."""
    try:
        found = [digest_bytes((place / name).read_bytes()) for name in (MANIFEST, PROVENANCE)]
    except OSError:
        return False
    return found == [entry.manifest, entry.provenance]
