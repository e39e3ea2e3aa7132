"""Sources from elsewhere, taken in: copies with hashes and origin. The copy is what is tuned, never the origin.

An intake is a folder: ``intake.json`` and, below ``files/``, the copies, which are read-only. Where the origin, or a
copy, is not what it was, that is said; nothing is ever changed by itself.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from warpsmith.app.tree import LEFT_OUT
from warpsmith.errors import BadInput
from warpsmith.model.base import Digest, Record, digest_bytes
from warpsmith.store.files import sync_folder

MANIFEST, FILES = "intake.json", "files"
MOST_BYTES = 64 << 20
MOST_FILES = 5000


class TakenFile(Record):
    """One copy."""

    path: str
    """Below ``files/``."""
    sha256: Digest
    bytes: int
    origin: str
    """Where it was read, as an absolute path."""


class Intake(Record):
    """What was taken in at one time."""

    format: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_\-]{0,63}$")]
    at: str
    sources: tuple[str, ...]
    """What was named, as absolute paths."""
    revisions: dict[str, str] = Field(default_factory=dict)
    """Source to the commit that its repository was at, with ``+`` where it had changes."""
    files: Annotated[tuple[TakenFile, ...], Field(min_length=1)]


class Changes(Record):
    """What is not as it was taken in: paths below ``files/``."""

    origin_changed: tuple[str, ...] = ()
    origin_gone: tuple[str, ...] = ()
    origin_new: tuple[str, ...] = ()
    copy_changed: tuple[str, ...] = ()
    """The copy itself was touched: it is no longer what it says."""

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return bool(self.origin_changed or self.origin_gone or self.origin_new or self.copy_changed)


def take_in(sources: Sequence[Path], into: Path, name: str, *, replace: bool = False) -> Intake:
    """Copy files and folders to ``into / name``, whole or not at all. Raises BadInput."""
    place = into / name
    found = _found(sources)
    contents = {path: origin.read_bytes() for path, origin in found.items()}
    try:
        made = Intake(
            name=name,
            at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            sources=tuple(str(s.absolute()) for s in sources),
            revisions={str(s.absolute()): r for s in sources if (r := _revision(s))},
            files=tuple(
                TakenFile(path=p, sha256=digest_bytes(c), bytes=len(c), origin=str(found[p].absolute()))
                for p, c in contents.items()
            ),
        )
    except ValidationError as error:
        raise BadInput(f"--name: {name!r}: {error.errors()[0]['msg']}.", "Use a-z, 0-9, '-' and '_'.") from None
    if place.exists() and not replace:
        raise BadInput(f"{place} exists, and what was taken in is never changed.", "Use --replace, or another --name.")
    into.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=into, prefix=f".{name}-"))
    try:
        for path, content in contents.items():
            copy = fresh / FILES / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
            copy.chmod(0o444)
        (fresh / MANIFEST).write_text(made.model_dump_json(indent=1) + "\n")
        fresh.chmod(0o755)
        os.sync()
        _put(fresh, place)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    sync_folder(into)
    return made


def read(place: Path) -> Intake:
    """What was taken in there. Raises BadInput."""
    try:
        return Intake.model_validate_json((place / MANIFEST).read_bytes())
    except OSError as error:
        raise BadInput(f"{place / MANIFEST}: {error.strerror}.", "Take it in with 'warpsmith intake SOURCE'.") from None
    except ValidationError as error:
        raise BadInput(f"{place / MANIFEST}: {error.errors()[0]['msg']}.", "Take it in anew with --replace.") from None


def changes(place: Path, taken: Intake) -> Changes:
    """What differs now, at the origin and in the copy."""
    changed, gone, touched = [], [], []
    for file in taken.files:
        if _digest(place / FILES / file.path) != file.sha256:
            touched.append(file.path)
        at_origin = _digest(Path(file.origin))
        if at_origin is None:
            gone.append(file.path)
        elif at_origin != file.sha256:
            changed.append(file.path)
    known = {f.path for f in taken.files}
    sources = [Path(s) for s in taken.sources if Path(s).exists()]
    new = [p for p in _found(sources) if p not in known] if sources else []
    return Changes(
        origin_changed=tuple(changed), origin_gone=tuple(gone), origin_new=tuple(new), copy_changed=tuple(touched)
    )


def names(into: Path) -> tuple[str, ...]:
    """Everything that was taken in."""
    return tuple(sorted(p.parent.name for p in into.glob(f"*/{MANIFEST}") if not p.parent.name.startswith(".")))


def name_of(sources: Sequence[Path]) -> str:
    """A name for an intake, after its first source."""
    stem = sources[0].absolute().stem if sources else ""
    return re.sub(r"[^a-z0-9_\-]+", "-", stem.lower()).strip("-_")[:64] or "sources"


def _found(sources: Sequence[Path]) -> dict[str, Path]:
    """Path below ``files/`` to where it is read: a file by its name, a folder by its own with what is in it."""
    found: dict[str, Path] = {}
    total = 0
    for source in sources:
        if not source.exists():
            raise BadInput(f"{source} does not exist.", "Name files or folders.")
        for path, origin in _below(source):
            if path in found and found[path].absolute() != origin.absolute():
                raise BadInput(f"{origin} and {found[path]} would both be {path}.", "Take them in apart.")
            found[path] = origin
            total += origin.stat().st_size
            if total > MOST_BYTES or len(found) > MOST_FILES:
                raise BadInput(
                    f"{source} holds more than {MOST_BYTES >> 20} MiB or {MOST_FILES} files.", "Name what is needed."
                )
    if not found:
        raise BadInput(f"{', '.join(map(str, sources))}: no file in there.", "Name files or folders with sources.")
    return found


def _below(source: Path) -> list[tuple[str, Path]]:
    if source.is_file():
        return [(source.name, source)]
    top = source.resolve()
    found = []
    for folder, folders, files in os.walk(source):
        folders[:] = sorted(d for d in folders if d not in LEFT_OUT)
        for name in sorted(files):
            origin = Path(folder) / name
            if origin.is_symlink() and not origin.resolve().is_relative_to(top):
                raise BadInput(f"{origin} is a link that leaves {source}.", "Name what it links to as well.")
            if origin.is_file():
                found.append((f"{top.name}/{origin.relative_to(source).as_posix()}", origin))
    return found


def _revision(source: Path) -> str:
    """The commit of the repository that holds it; empty where there is none."""
    folder = source if source.is_dir() else source.parent
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--", str(source.absolute()))
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{commit}{'+' if changed else ''}"


def _git(folder: Path, *words: str) -> str:
    ran = subprocess.run(("git", "-C", str(folder), *words), capture_output=True, text=True, check=True, timeout=30)
    return ran.stdout.strip()


def _put(fresh: Path, place: Path) -> None:
    if place.exists():
        old = place.with_name(f".{place.name}-old")
        shutil.rmtree(old, ignore_errors=True)
        os.rename(place, old)
        os.rename(fresh, place)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.rename(fresh, place)


def _digest(path: Path) -> str | None:
    try:
        return digest_bytes(path.read_bytes())
    except OSError:
        return None
