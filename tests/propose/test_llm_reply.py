"""Replies become candidates: whatever a folder can say a reply can say, in the forms that models really use."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warpsmith.errors import BadInput
from warpsmith.model.candidate import Candidate
from warpsmith.model.task import KernelTask
from warpsmith.propose.llm.reply import Reply, candidate, manifest, parse
from warpsmith.store.blobs import Blobs
from warpsmith.store.folders import load_candidate, load_task

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(p.parent for p in (ROOT / "tasks").glob("*/*/**/candidate.toml"))
KNOWN = ("k.c", "candidate.toml")


def loaded(folder: Path, blobs: Blobs) -> tuple[KernelTask, Candidate]:
    task = load_task(next(p for p in folder.parents if (p / "task.toml").is_file())).kernel
    assert task is not None
    return task, load_candidate(folder, blobs, task)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: str(p.relative_to(ROOT / "tasks")))
def test_what_a_manifest_says_is_read_back_as_the_same_candidate(folder: Path, tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    task, given = loaded(folder, blobs)
    files = {**blobs.texts(given), "candidate.toml": manifest(given)}
    again = candidate(Reply(memo="[same] as it was", files=files), given, blobs, task)
    assert (again.id, again.space) == (given.id, given.space)
    assert (again.parent, again.memo) == (given.id, "[same] as it was")


def test_the_present_point_is_the_default_of_a_manifest(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    task, given = loaded(ROOT / "tasks/cpu/sgemm/src", blobs)
    other = next(p for p in given.space.points() if p["MR"] == 6 and p["UNROLL"] == 2)
    tuned = given.at(other, "[sweep] MR=6")
    again = candidate(Reply(memo="[x] y", files={}), tuned, blobs, task)
    assert again.id == tuned.id and again.space.defaults == other


FORMS = {
    "info": "[tile] smaller\n```c file=k.c\nint a;\n```\n",
    "path": "[tile] smaller\n```c path=k.c\nint a;\n```\n",
    "only the name": "[tile] smaller\n```k.c\nint a;\n```\n",
    "colon": "[tile] smaller\n```c:k.c\nint a;\n```\n",
    "heading": "[tile] smaller\n\n### k.c\n\n```c\nint a;\n```\n",
    "bold": "**[tile]** smaller\n\n**`k.c`**:\n```c\nint a;\n```",
    "nothing but the language": "[tile] smaller\n```c\nint a;\n```\n",
    "nothing": "[tile] smaller\n```\nint a;\n```\n",
    "tildes": "[tile] smaller\n~~~c file=k.c\nint a;\n~~~\n",
    "prose around": "Sure! Here it is.\n\n[tile] smaller\n\n```c file=./k.c\nint a;\n```\nI hope this helps.\n",
    "memo word": "Memo: [tile] smaller\n```c file=k.c\nint a;\n```\n",
    "windows": "[tile] smaller\r\n```c file=k.c\r\nint a;\r\n```\r\n",
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_the_forms_that_models_use_are_read(text: str) -> None:
    (found,) = parse(text, KNOWN)
    assert (found.memo, found.files, found.nameless, found.cut) == ("[tile] smaller", {"k.c": "int a;\n"}, [], False)


def test_fences_inside_of_longer_fences_belong_to_the_file() -> None:
    (found,) = parse("[a] b\n````c file=k.c\n/*\n```\nexample\n```\n*/\nint a;\n````\n", KNOWN)
    assert found.files == {"k.c": "/*\n```\nexample\n```\n*/\nint a;\n"}


def test_several_candidates_each_begin_with_their_memo() -> None:
    text = "[a] one\n```c file=k.c\nint a;\n```\n[b] two\n```c file=k.c\nint b;\n```\n```toml\ntoolchain = 'c'\n```\n"
    first, second = parse(text, KNOWN)
    assert (first.memo, first.files) == ("[a] one", {"k.c": "int a;\n"})
    assert (second.memo, second.files) == ("[b] two", {"k.c": "int b;\n", "candidate.toml": "toolchain = 'c'\n"})


def test_a_reply_that_ends_inside_of_a_file_says_so() -> None:
    (found,) = parse("[a] b\n```c file=k.c\nint a", KNOWN)
    assert found.cut


def test_a_fence_whose_file_is_not_known_has_no_name() -> None:
    (found,) = parse("[a] b\n```c\nint a;\n```\n", ("k.c", "l.c", "candidate.toml"))
    assert found.nameless == [("c", "int a;\n")] and not found.files


def test_shown_commands_and_differences_are_no_files() -> None:
    (found,) = parse("[a] b\n```bash\nmake\n```\n```diff\n-x\n+y\n```\n```c file=k.c\nint a;\n```\n", KNOWN)
    assert found.files == {"k.c": "int a;\n"} and not found.nameless


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert parse(text, KNOWN)


def test_new_files_flags_tunables_and_launches_are_taken(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    task, given = loaded(ROOT / "tasks/cuda/rmsnorm/src", blobs)
    plan = manifest(given).replace('sources = ["rmsnorm.cu"]', 'sources = ["rmsnorm.cu", "row.cuh"]')
    plan = plan.replace("flags = []", 'flags = ["--use_fast_math"]')
    plan += '\n[[scratch]]\nname = "partial"\nbytes = "4 * M"\n'
    made = candidate(Reply("[split] two files", {"row.cuh": "// row", "candidate.toml": plan}), given, blobs, task)
    assert [s.path for s in made.sources] == ["rmsnorm.cu", "row.cuh"]
    assert (made.flags, made.scratch[0].name, made.launch) == (("--use_fast_math",), "partial", given.launch)


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"../../x.c": "int a;"}, "no path inside"),
        ({"/etc/x": "int a;"}, "no path inside"),
        ({"other.c": "int a;"}, "not listed"),
        ({"candidate.toml": 'toolchain = "c"\nsources = ["gone.c"]\nentry = "sgemm"\n'}, "gone.c does not exist"),
        ({"candidate.toml": 'toolchain = "c"\nsources = ["sgemm.c"]\nentry = "other"\n'}, "must stay 'sgemm'"),
        ({"candidate.toml": 'toolchain = "python"\nsources = ["sgemm.c"]\nentry = "sgemm"\n'}, "must stay 'c'"),
        ({"candidate.toml": "not toml"}, "not TOML"),
        ({"candidate.toml": 'toolchain = "c"\nsources = ["sgemm.c"]\nentry = "sgemm"\nmagic = 1\n'}, "unknown key"),
    ],
)
def test_what_cannot_be_a_candidate_is_told_in_the_words_of_its_files(
    files: dict[str, str], what: str, tmp_path: Path
) -> None:
    blobs = Blobs(tmp_path / "blobs")
    task, given = loaded(ROOT / "tasks/cpu/sgemm/src", blobs)
    with pytest.raises(BadInput, match=what) as caught:
        candidate(Reply("[a] b", files), given, blobs, task)
    assert "/tmp" not in str(caught.value), "a model learns nothing of this machine's folders"
    assert not (tmp_path / "x.c").exists()
