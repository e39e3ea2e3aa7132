"""Exports of the same content are compiled once for all tests: each takes g++ two seconds."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from warpsmith.model.base import digest, digest_bytes
from warpsmith.ship.export import building

_COMPILED: dict[str, bytes] = {}


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    real = building.shared_object

    def shared_object(files: Mapping[str, bytes], main: str) -> bytes:
        key = digest([main, {path: digest_bytes(content) for path, content in files.items()}])
        if key not in _COMPILED:
            _COMPILED[key] = real(files, main)
        return _COMPILED[key]

    monkeypatch.setattr(building, "shared_object", shared_object)
