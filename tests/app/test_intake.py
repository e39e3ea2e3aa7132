"""Sources taken in: whole, read-only, and honest about what changed since."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from warpsmith.app.intake import FILES, MANIFEST, changes, name_of, names, read, take_in
from warpsmith.errors import BadInput
from warpsmith.model.base import digest_bytes
from warpsmith.surface import api

PROGRAM = Path(sys.executable).parent / "warpsmith"


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    (folder / "inc").mkdir(parents=True)
    (folder / "k.cu").write_text("__global__ void k() {}\n")
    (folder / "inc/a.h").write_bytes(b"#define A 1\r\n\xff")
    (folder / ".git").mkdir()
    (folder / ".git/config").write_text("x")
    return folder


def test_files_keep_their_bytes_and_say_where_they_come_from(tmp_path: Path, origin: Path) -> None:
    into = tmp_path / "intake"
    made = take_in([origin], into, "k")
    assert {f.path for f in made.files} == {"elsewhere/k.cu", "elsewhere/inc/a.h"}
    for file in made.files:
        copy = into / "k" / FILES / file.path
        assert copy.read_bytes() == Path(file.origin).read_bytes()
        assert digest_bytes(copy.read_bytes()) == file.sha256
        assert copy.stat().st_mode & 0o777 == 0o444
    assert read(into / "k") == made and names(into) == ("k",)
    assert not changes(into / "k", made).any
    assert name_of([origin / "My Kernel.cu"]) == "my-kernel"


def test_whatever_changed_since_is_said_and_nothing_is_changed(tmp_path: Path, origin: Path) -> None:
    into = tmp_path / "intake"
    made = take_in([origin], into, "k")
    (origin / "k.cu").write_text("other")
    (origin / "inc/a.h").unlink()
    (origin / "new.h").write_text("")
    found = changes(into / "k", made)
    assert found.origin_changed == ("elsewhere/k.cu",)
    assert found.origin_gone == ("elsewhere/inc/a.h",)
    assert found.origin_new == ("elsewhere/new.h",)
    assert found.copy_changed == ()
    copy = into / "k" / FILES / "elsewhere/k.cu"
    assert copy.read_text() == "__global__ void k() {}\n"
    copy.chmod(0o644)
    copy.write_text("touched")
    assert changes(into / "k", made).copy_changed == ("elsewhere/k.cu",)


def test_what_has_the_name_already_is_never_changed_by_itself(tmp_path: Path, origin: Path) -> None:
    into = tmp_path / "intake"
    take_in([origin], into, "k")
    with pytest.raises(BadInput, match="never changed"):
        take_in([origin / "k.cu"], into, "k")
    made = take_in([origin / "k.cu"], into, "k", replace=True)
    assert [f.path for f in made.files] == ["k.cu"]
    assert [p.name for p in into.iterdir()] == ["k"], "nothing is left beside it"


def test_what_cannot_be_taken_in_is_refused(tmp_path: Path, origin: Path) -> None:
    into = tmp_path / "intake"
    with pytest.raises(BadInput, match="does not exist"):
        take_in([tmp_path / "nothing"], into, "k")
    os.symlink("/etc/hostname", origin / "link")
    with pytest.raises(BadInput, match="a link that leaves"):
        take_in([origin], into, "k")
    (origin / "link").unlink()
    with pytest.raises(BadInput, match="--name"):
        take_in([origin], into, "Not A Name")
    (tmp_path / "k.cu").write_text("")
    with pytest.raises(BadInput, match=r"would both be k\.cu"):
        take_in([origin / "k.cu", tmp_path / "k.cu"], into, "k")
    assert not into.exists() or names(into) == ()


def test_the_commit_of_the_origin_is_kept(tmp_path: Path, origin: Path) -> None:
    git = ["git", "-C", str(origin), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["rm", "-r", str(origin / ".git")], check=True)
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert take_in([origin], tmp_path / "intake", "k").revisions == {str(origin): commit}
    (origin / "k.cu").write_text("changed")
    assert take_in([origin], tmp_path / "intake", "l").revisions == {str(origin): f"{commit}+"}


def test_the_verb_says_it_all(tmp_path: Path, origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".warpsmith").mkdir()
    monkeypatch.chdir(tmp_path)
    assert api.intake(origin, name="k").exit_status == 0
    assert api.intake(origin, name="k").exit_status == 0, "the same again changes nothing"
    (origin / "k.cu").write_text("other")
    for answer in (api.intake(origin, name="k"), api.intake(), api.intake(name="k")):
        assert answer.exit_status == 1
        assert answer.intakes[0].changes.origin_changed == ("elsewhere/k.cu",)
    assert api.intake(origin, name="k", replace=True).exit_status == 0
    assert (tmp_path / "intake/k" / MANIFEST).exists()
