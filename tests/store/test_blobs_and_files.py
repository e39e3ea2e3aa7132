"""Blobs keep what they were given; files are seen whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from warpsmith.errors import LedgerError
from warpsmith.model.base import digest_bytes
from warpsmith.model.candidate import Candidate, SourceFile
from warpsmith.store.blobs import Blobs
from warpsmith.store.files import write_atomic


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


@pytest.mark.parametrize("content", [b"", b"void k(void) {}\n", bytes(range(256)) * 40])
def test_what_was_put_comes_back(blobs: Blobs, content: bytes) -> None:
    digest = blobs.put(content)
    assert digest == digest_bytes(content)
    assert blobs.get(digest) == content


def test_putting_again_changes_nothing(blobs: Blobs) -> None:
    digest = blobs.put(b"one")
    first = blobs.path(digest).stat()
    assert blobs.put(b"one") == digest
    second = blobs.path(digest).stat()
    assert (second.st_ino, second.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    assert len([p for p in blobs.folder.rglob("*") if p.is_file()]) == 1


def test_a_changed_blob_is_found_out(blobs: Blobs) -> None:
    digest = blobs.put(b"one")
    blobs.path(digest).write_bytes(b"two")
    with pytest.raises(LedgerError, match=digest):
        blobs.get(digest)


def test_a_missing_blob_is_named(blobs: Blobs) -> None:
    with pytest.raises(LedgerError, match=r"0{64}.*missing"):
        blobs.get("0" * 64)


def test_a_candidate_is_unpacked_with_its_folders(blobs: Blobs, tmp_path: Path) -> None:
    files = {"k.c": b"k", "include/deep/k.h": b"h", "twin.c": b"k"}
    sources = tuple(SourceFile(path=path, content=blobs.put(content)) for path, content in files.items())
    folder = tmp_path / "out"
    blobs.unpack(Candidate(toolchain="c", entry="k", sources=sources), folder)
    assert {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == files


def test_nothing_changed_is_unpacked(blobs: Blobs, tmp_path: Path) -> None:
    source = SourceFile(path="k.c", content=blobs.put(b"k"))
    blobs.path(source.content).write_bytes(b"K")
    with pytest.raises(LedgerError):
        blobs.unpack(Candidate(toolchain="c", entry="k", sources=(source,)), tmp_path / "out")


WRITER = """
import sys
from pathlib import Path
from warpsmith.store.files import write_atomic
for _ in range(40):
    write_atomic(Path(sys.argv[1]), sys.argv[2] * 300_000)
"""


def test_readers_see_one_file_or_the_other_whole(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_atomic(path, "a" * 300_000)
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), letter]) for letter in "bc"]
    seen = set()
    while any(w.poll() is None for w in writers):
        content = path.read_bytes()
        assert len(content) == 300_000
        assert content == content[:1] * 300_000, "a mixture of two files"
        seen.add(content[:1])
    assert [w.returncode for w in writers] == [0, 0]
    assert path.read_bytes() in (b"b" * 300_000, b"c" * 300_000)
    assert seen
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"], "temporary files are gone"


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")
    path_as_folder = tmp_path / "folder"
    (path_as_folder / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        write_atomic(path_as_folder, "new")
    assert path.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_text_is_utf8_and_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a/b/c"
    write_atomic(path, "gro\u00df")
    assert path.read_bytes() == "gro\u00df".encode()
    assert path.stat().st_mode & 0o777 == 0o644
