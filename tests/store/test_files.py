"""The lock of a folder, and trees that are on disk as a whole before anybody sees them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from warpsmith.store.files import held, write_apart


def test_a_folder_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    entered = threading.Event()

    def other() -> None:
        with held(tmp_path):
            entered.set()

    second = threading.Thread(target=other)
    with held(tmp_path):
        second.start()
        assert not entered.wait(0.3)
    assert entered.wait(10)
    second.join()


def test_a_tree_is_synced_from_its_files_up_before_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    really = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        really(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    files = {"top": b"1", "a/b/deep": b"2", "a/beside": b"3"}
    made = write_apart(tmp_path, ".incoming-", files, mode=0o444)
    assert made.parent == tmp_path and made.name.startswith(".incoming-") and made.stat().st_mode & 0o777 == 0o755
    found = {str(p.relative_to(made)): p for p in made.rglob("*") if p.is_file()}
    assert {name: p.read_bytes() for name, p in found.items()} == files
    assert {p.stat().st_mode & 0o777 for p in found.values()} == {0o444}
    assert sorted(synced) == sorted(str(p) for p in (made, *made.rglob("*")))
    for path in map(Path, synced):
        if path != made:
            assert synced.index(str(path)) < synced.index(str(path.parent)), "a folder is synced after what it holds"
