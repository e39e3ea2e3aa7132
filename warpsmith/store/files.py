"""Durable files: the one place that knows how a file is put on disk whole or not at all."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write ``content`` so that readers, and a machine that loses power, see the old file or the new one whole."""
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename or a creation inside ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_apart(beside: Path, prefix: str, files: Mapping[str, bytes], mode: int = 0o644) -> Path:
    """A new folder in ``beside``, its name beginning with ``prefix``, with ``files`` by path; all of it durable.

    Whoever renames it to its place then shows all of them at once. Every file gets ``mode``. What an error or a kill
    leaves is the caller's to remove.
    """
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=beside))
    folders = {made}
    for path, content in files.items():
        target = made / path
        target.parent.mkdir(parents=True, exist_ok=True)
        folders.update(p for p in target.parents if p.is_relative_to(made))
        with target.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        target.chmod(mode)
    for folder in sorted(folders, key=lambda f: -len(f.parts)):
        sync_folder(folder)
    made.chmod(0o755)
    return made


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the lock of ``folder``, waiting for whoever has it. It ends with the process that holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
