"""The lines that make a framework install a package when it starts: at most 16 at the end of its ``__init__.py``.

They name what they were made for (the framework's version and the file's hash), so that taking them out gives the
very bytes that were there, and so that it shows when upstream has changed. Files are replaced whole or not at all.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from warpsmith.errors import BadInput
from warpsmith.model.base import Digest, Record, digest_bytes

MOST_LINES = 16
_BEGIN = re.compile(
    rb"^# >>> warpsmith (?P<package>[\w.]+): (?P<framework>[\w.]+) (?P<version>\S+), file (?P<before>[0-9a-f]{64})"
    rb"(?P<joined>, joined)?(?P<search>, from .+?)?\r?$",
    re.MULTILINE,
)
Found = Literal["applied", "outdated", "gone"]


class Lines(Record):
    """One package's lines in a file, as their first line says it."""

    package: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")]
    """Name that it is imported by."""
    framework: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]
    version: Annotated[str, Field(pattern=r"^\S+$")]
    """Of the framework, when they were made; ``unknown`` where nobody could tell."""
    before: Digest
    """SHA-256 of the file without them."""
    joined: bool = False
    """The file had no newline at its end, and got one."""
    search: str = ""
    """Folder to search the package in, where the environment does not find it by itself."""

    def text(self, newline: bytes = b"\n") -> bytes:
        """The lines themselves."""
        joined, search = ", joined" if self.joined else "", f", from {self.search}" if self.search else ""
        name = self.package
        lines = [
            f"# >>> warpsmith {name}: {self.framework} {self.version}, file {self.before}{joined}{search}",
            "# Functions are swapped once their modules are imported, unless WARPSMITH_DISABLE=1.",
            f"# 'warpsmith uninstall {name}' takes these lines out.",
            "try:",
            *([f"    __import__('sys').path.append({self.search!r})"] if self.search else ()),
            f"    __import__('{name}._runtime.install', fromlist=['install']).install('{name}', lazy=True)",
            "except Exception as _error:  # the framework starts without it",
            f"    __import__('logging').getLogger('warpsmith').warning('{name} is not installed: %r', _error)",
            f"# <<< warpsmith {name}",
        ]
        assert len(lines) <= MOST_LINES
        return b"".join(line.encode() + newline for line in lines)


class Patch(Record):
    """What one ``install`` did to a framework's file; kept, so that an upgrade that took it away shows."""

    format: Literal[1] = 1
    lines: Lines
    folder: str
    """Of the exported package."""
    file: str
    python: str
    """The environment's interpreter."""
    after: Digest
    """SHA-256 of the file with the lines."""
    diff: str
    """The same as a unified diff."""
    at: str


def read(content: bytes) -> tuple[Lines, ...]:
    """Every package's lines in a file, in order. Raises BadInput for lines without an end."""
    found = []
    for begin in _BEGIN.finditer(content):
        said = {name: value.decode() for name, value in begin.groupdict().items() if value is not None}
        lines = Lines(
            package=said["package"],
            framework=said["framework"],
            version=said["version"],
            before=said["before"],
            joined="joined" in said,
            search=said.get("search", "").removeprefix(", from "),
        )
        _end(content, begin.end(), lines.package)
        found.append(lines)
    return tuple(found)


def add(content: bytes, package: str, framework: str, version: str, search: str = "") -> bytes:
    """The file with a package's lines at its end; they must not be there yet."""
    joined = bool(content) and not content.endswith(b"\n")
    lines = Lines(
        package=package,
        framework=framework,
        version=version or "unknown",
        before=digest_bytes(content),
        joined=joined,
        search=search,
    )
    newline = _newline(content)
    return content + (newline if joined else b"") + lines.text(newline)


def remove(content: bytes, package: str) -> tuple[bytes, bool]:
    """The file without a package's lines, and whether it is the very file that they were added to.

    Lines of other packages that were added later are made anew, since they name the file that they stand in. Raises
    BadInput where the package has none, or where they have no end.
    """
    there = read(content)
    names = [lines.package for lines in there]
    if package not in names:
        raise BadInput(f"there are no lines of {package}.", "See 'warpsmith status'.")
    at = names.index(package)
    for lines in reversed(there[at:]):
        content = _without(content, lines)
    exact = digest_bytes(content) == there[at].before
    for lines in there[at + 1 :]:
        content = add(content, lines.package, lines.framework, lines.version, lines.search)
    return content, exact


def _without(content: bytes, lines: Lines) -> bytes:
    begin = next(b for b in _BEGIN.finditer(content) if b["package"].decode() == lines.package)
    start, end = begin.start(), _end(content, begin.end(), lines.package)
    if lines.joined:
        start -= 2 if content[:end].endswith(b"\r\n") else 1
    return content[:start] + content[end:]


def _end(content: bytes, start: int, package: str) -> int:
    """Where a package's last line ends."""
    mark = re.compile(rb"^# <<< warpsmith " + re.escape(package.encode()) + rb"\r?(?:\n|\Z)", re.MULTILINE)
    found = mark.search(content, start)
    other = _BEGIN.search(content, start)
    if found is None or (other is not None and other.start() < found.start()):
        raise BadInput(f"the lines of {package} have no end any more.", "Take them out by hand, or restore the file.")
    return found.end()


def _newline(content: bytes) -> bytes:
    first = content.partition(b"\n")
    return b"\r\n" if first[1] and first[0].endswith(b"\r") else b"\n"


def unified(before: bytes, after: bytes, name: str) -> str:
    """The change as a unified diff that ``patch -p1`` takes."""
    texts = [re.findall(r"[^\n]*\n|[^\n]+", c.decode(errors="surrogateescape")) for c in (before, after)]
    rows = difflib.unified_diff(texts[0], texts[1], f"a/{name}", f"b/{name}")
    return "".join(r if r.endswith("\n") else f"{r}\n\\ No newline at end of file\n" for r in rows)


def replace(file: Path, before: bytes, after: bytes) -> None:
    """Put ``after`` in the place of ``before``, whole or not at all, with the same permissions.

    Raises BadInput where the file is not ``before`` any more, or cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=".warpsmith-")
        try:
            with os.fdopen(handle, "wb") as made:
                made.write(after)
                made.flush()
                os.fsync(made.fileno())
            shutil.copymode(file, name)
            if file.read_bytes() != before:
                raise BadInput(f"{file} was changed meanwhile.", "Try again.")
            os.replace(name, file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BadInput(f"{file} cannot be written: {error.strerror}.", "Use an environment of your own.") from None
