"""Reads the Markdown of a foreign folder and trusts nothing in it: what is read is whole, text, inside and small.

Whatever cannot be taken is refused by file, with the reason, and the rest is read.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from warpsmith.errors import BadInput
from warpsmith.model.base import Record

SUFFIXES = (".md", ".markdown")
LARGEST = 16 << 20
"""Bytes of one file; a page of a wiki may be smaller still."""
MOST_FILES, MOST_BYTES = 20_000, 256 << 20


class Refused(Record):
    """A file that was not taken, and why."""

    path: str
    reason: str


@dataclass
class Read:
    """What a folder holds."""

    texts: dict[str, str] = field(default_factory=dict)
    """Relative path to content, of every Markdown file that could be read."""
    files: set[str] = field(default_factory=set)
    """Relative paths of all files and folders, whatever they hold: links may point at them."""
    refused: list[Refused] = field(default_factory=list)


def read_folder(folder: Path) -> Read:
    """The Markdown under ``folder``, or that one file; hidden folders are left out. Raises BadInput for neither."""
    found = Read()
    root = folder.resolve()
    if root.is_file():
        _take(root, root.name, root.parent, found)
        return found
    if not root.is_dir():
        raise BadInput(f"{folder}: no such file or folder.", "Give a folder with Markdown files.")
    total = 0

    def unreadable(error: OSError) -> None:
        found.refused.append(Refused(path=_shown(Path(error.filename), root), reason=error.strerror or "unreadable"))

    for base, folders, names in os.walk(root, onerror=unreadable):
        linked = {name for name in folders if Path(base, name).is_symlink()}
        for name in sorted(linked):
            path = _shown(Path(base, name), root)
            found.refused.append(Refused(path=path, reason="a symbolic link to a folder; these are not followed"))
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in linked)
        found.files |= {_shown(Path(base, name), root) for name in folders}
        for name in sorted(names):
            path = _shown(Path(base, name), root)
            found.files.add(path)
            if name.lower().endswith(SUFFIXES):
                _take(Path(base, name), path, root, found)
                total += len(found.texts.get(path, ""))
            if len(found.files) > MOST_FILES or total > MOST_BYTES:
                most = f"{MOST_FILES} files or {MOST_BYTES >> 20} MiB of Markdown"
                raise BadInput(f"{folder}: more than {most}.", "Give a smaller folder.")
    return found


def _shown(path: Path, root: Path) -> str:
    """The path below ``root`` with slashes; what cannot be printed is escaped."""
    relative = path.relative_to(root) if path.is_relative_to(root) else path
    decoded = os.fsencode(relative.as_posix()).decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in decoded)


def _take(path: Path, shown: str, root: Path, found: Read) -> None:
    try:
        found.texts[shown] = _read(path, shown, root)
    except ValueError as error:
        found.refused.append(Refused(path=shown, reason=str(error)))
    except OSError as error:
        found.refused.append(Refused(path=shown, reason=error.strerror or str(error)))


def _read(path: Path, shown: str, root: Path) -> str:
    """The text of one file. Raises ValueError with the reason for what is refused, OSError where it cannot be read."""
    if shown != path.relative_to(root).as_posix():
        raise ValueError("a name with unprintable characters")
    try:
        real = path.resolve(strict=True)
    except FileNotFoundError:
        raise ValueError("a symbolic link to nothing") from None
    except (OSError, RuntimeError):
        raise ValueError("a symbolic link in a circle") from None
    if not real.is_relative_to(root):
        raise ValueError("a symbolic link that leaves the folder")
    descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("no regular file")
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"more than {LARGEST >> 20} MiB")
    if b"\0" in content:
        raise ValueError("binary: it holds a zero byte")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    if not text.strip():
        raise ValueError("empty")
    return text
