"""Content-addressed blobs: bytes named by their SHA-256, written once, never changed."""

from __future__ import annotations

from pathlib import Path

from warpsmith.errors import LedgerError
from warpsmith.model.base import digest_bytes
from warpsmith.model.candidate import Candidate
from warpsmith.store.files import write_atomic


class Blobs:
    """A folder of blobs, fanned out by the first two digits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, digest: str) -> Path:
        """Where the blob of that digest lies, or would."""
        return self.folder / digest[:2] / digest

    def put(self, content: bytes) -> str:
        """Keep ``content``; returns its digest. Putting the same bytes again changes nothing."""
        digest = digest_bytes(content)
        path = self.path(digest)
        if not path.exists():
            write_atomic(path, content)
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes of that digest. Raises :class:`LedgerError` where they are missing or were changed."""
        path = self.path(digest)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise LedgerError(f"{path}: the blob is missing.", "Restore it from a backup or submit it again.") from None
        if digest_bytes(content) != digest:
            raise LedgerError(f"{path}: the content no longer has this digest.", "Restore it from a backup.")
        return content

    def texts(self, candidate: Candidate) -> dict[str, str]:
        """The sources of ``candidate`` as text by path; bytes that are none show as marks. Raises LedgerError."""
        return {s.path: self.get(s.content).decode(errors="replace") for s in candidate.sources}

    def unpack(self, candidate: Candidate, folder: Path) -> None:
        """Write the sources of ``candidate`` under ``folder``."""
        for source in candidate.sources:
            path = folder / source.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.get(source.content))
