"""The tree of an application: what lies in it, a copy of it, and putting it back so that no byte differs.

Contents, permission bits and links are what counts. Times do not: a file that was put back is as new as the moment,
so that every build system makes anew what was built from the other content.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from hashlib import file_digest
from pathlib import Path

from warpsmith.errors import BadInput
from warpsmith.model.app import AppFile
from warpsmith.model.base import digest_bytes
from warpsmith.store.files import write_atomic

MOST_BYTES = 1 << 30
"""Bytes of a tree, at most: all of it is copied before anything is changed."""
LEFT_OUT = (".git", ".hg", ".svn", "__pycache__")
"""Folders that no build reads its sources from."""


class Tree:
    """One application's folder without what its builds write. ``apart`` are paths that are no part of it."""

    def __init__(self, root: Path, outputs: Collection[str], apart: Collection[Path] = ()) -> None:
        self.root = root
        self._outputs = {root / o for o in outputs}
        self._apart = {p.resolve() for p in apart} - {root}

    def scan(self) -> tuple[AppFile, ...]:
        """Every file and link, sorted by path. Raises BadInput for a tree that is too large to be copied."""
        found, total = [], 0
        for path in self._paths():
            held = path.lstat()
            name = path.relative_to(self.root).as_posix()
            if stat.S_ISLNK(held.st_mode):
                found.append(AppFile(path=name, sha256=digest_bytes(os.fsencode(os.readlink(path))), mode=0))
            elif stat.S_ISREG(held.st_mode):
                total += held.st_size
                if total > MOST_BYTES:
                    raise BadInput(
                        f"{self.root} holds more than {MOST_BYTES >> 20} MiB, which would all have to be copied.",
                        "Name what builds write, and data that they do not change, under outputs.",
                    )
                with path.open("rb") as file:
                    sha = file_digest(file, "sha256").hexdigest()
                found.append(AppFile(path=name, sha256=sha, mode=stat.S_IMODE(held.st_mode)))
        return tuple(sorted(found, key=lambda f: f.path))

    def save(self, folder: Path) -> tuple[AppFile, ...]:
        """Copy the tree into ``folder``, by content, and onto the disk; returns what it holds."""
        folder.mkdir(parents=True, exist_ok=True)
        files = self.scan()
        for file in files:
            kept = folder / file.sha256
            if file.mode and not kept.exists():
                shutil.copyfile(self.root / file.path, kept)
            elif not kept.exists():
                kept.write_bytes(os.fsencode(os.readlink(self.root / file.path)))
        for file in files:
            if digest_bytes((folder / file.sha256).read_bytes()) != file.sha256:
                raise BadInput(f"{self.root / file.path} changes while it is copied.", "Stop what writes to it.")
        os.sync()
        return files

    def differs(self, before: Collection[AppFile]) -> tuple[str, ...]:
        """Paths that are not as they were: changed, new or gone."""
        old, new = {f.path: f for f in before}, {f.path: f for f in self.scan()}
        return tuple(sorted(p for p in old.keys() | new.keys() if old.get(p) != new.get(p)))

    def restore(self, before: Collection[AppFile], folder: Path) -> tuple[str, ...]:
        """Put back what differs, from ``folder``; returns the paths that were put back or removed."""
        old = {f.path: f for f in before}
        changed = self.differs(before)
        for name in changed:
            path, was = self.root / name, old.get(name)
            if was is None or path.is_symlink() or path.is_dir():
                _remove(path)
            if was is None:
                continue
            content = (folder / was.sha256).read_bytes()
            if was.mode:
                write_atomic(path, content)
                path.chmod(was.mode)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                os.symlink(os.fsdecode(content), path)
        self.touch(n for n in changed if n in old)
        return changed

    def touch(self, names: Iterator[str] | Collection[str]) -> None:
        """Make files newer than everything that was built of them so far."""
        for name in names:
            with suppress(OSError):
                # the time that the system gives to files is some milliseconds late: this one is not
                os.utime(self.root / name, ns=(time.time_ns(), time.time_ns()), follow_symlinks=False)

    def _paths(self) -> Iterator[Path]:
        apart = self._outputs | self._apart
        for folder, folders, files in os.walk(self.root):
            here = Path(folder)
            links = [d for d in folders if (here / d).is_symlink()]
            folders[:] = [d for d in folders if d not in LEFT_OUT and d not in links and here / d not in apart]
            yield from (here / name for name in (*files, *links) if here / name not in apart)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    parent = path.parent
    with suppress(OSError):  # folders that came with what is removed go with it, if nothing else is in them
        while not any(parent.iterdir()):
            parent.rmdir()
            parent = parent.parent
