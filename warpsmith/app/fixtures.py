"""Fixtures: captured data by hash, under ``.warpsmith/fixtures``, readable by their owner alone and never committed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from warpsmith.store.blobs import Blobs

FOLDER = "fixtures"


class Fixtures(Blobs):
    """The fixtures of one project; equal content is kept once."""

    def __init__(self, home: Path) -> None:
        super().__init__(home / FOLDER)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)

    def bytes_of(self, digests: Iterable[str]) -> int:
        """Bytes that these fixtures take, each counted once."""
        return sum(self.path(d).stat().st_size for d in set(digests) if self.path(d).is_file())

    def lacking(self, digests: Iterable[str]) -> tuple[str, ...]:
        """Those that are not here."""
        return tuple(d for d in dict.fromkeys(digests) if not self.path(d).is_file())
