"""The index: a cache that answers the same whether it is kept or not, whatever is typed."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from warpsmith.errors import BadInput, Missing
from warpsmith.knowledge import index as index_module
from warpsmith.knowledge.index import MOST_WORDS, Document, Index, words_of

WIKI = "Bank bank bank. " * 3
DOCUMENTS = (
    Document(kind="skill", id="skill/smem_bank_conflicts", title="Lanes meet in a bank", body="Pad it by a word."),
    Document(kind="wiki", id="wiki/w/a.md", title="Banks", body=WIKI, confidence="inferred", place="w"),
    Document(kind="glossary", id="glossary/bank", title="bank", body="A slice of shared memory; AND, OR, NEAR, NOT."),
    Document(kind="memory", id="memory/a/b/1", title="accepted", body="coalesced loads\u00e9 with caf\u00e9, 3.77x"),
)


@pytest.fixture
def made() -> list[int]:
    return []


def index(path: Path, fingerprint: str = "1", made: list[int] | None = None) -> Index:
    def documents() -> Iterator[Document]:
        if made is not None:
            made.append(1)
        yield from DOCUMENTS

    return Index(path / "index.sqlite", fingerprint, documents)


def ids(folder: Path, query: str, **asked: object) -> list[str]:
    return [h.id for h in index(folder).search(query, **asked).hits]  # type: ignore[arg-type]


def test_the_title_weighs_more_than_the_body_and_forms_of_a_word_are_one(tmp_path: Path) -> None:
    assert ids(tmp_path, "banks")[0] in ("glossary/bank", "wiki/w/a.md")
    assert ids(tmp_path, "coalescing") == ["memory/a/b/1"]
    assert ids(tmp_path, "CAFE") == ["memory/a/b/1"]
    assert ids(tmp_path, "bank", kinds=("wiki",)) == ["wiki/w/a.md"]
    assert ids(tmp_path, "bank conflicts") == ["skill/smem_bank_conflicts"]
    assert ids(tmp_path, "smem_bank_conflicts") == ["skill/smem_bank_conflicts"]
    assert len(ids(tmp_path, "bank", limit=2)) == 2


def test_a_hit_shows_where_it_matches_and_its_grade(tmp_path: Path) -> None:
    (hit,) = index(tmp_path).search("banks", ("wiki",)).hits
    assert "[Bank]" in hit.snippet and hit.confidence == "inferred" and hit.place == "w" and hit.score > 0


def test_where_nothing_holds_all_words_what_holds_some_is_given(tmp_path: Path) -> None:
    found = index(tmp_path).search("bank zebra")
    assert found.hits and not found.all_words
    assert index(tmp_path).search("zebra").hits == ()


SYNTAX = (
    "AND", "bank OR", "NEAR(bank, 2)", 'a"b', "bank*", "title:bank", "-bank", "(bank", "^bank", "bank + slice",
    "{id}: bank",
)  # fmt: skip


@pytest.mark.parametrize("query", SYNTAX)
def test_syntax_is_words(query: str, tmp_path: Path) -> None:
    index(tmp_path).search(query)
    if "bank" in query:
        assert "glossary/bank" in ids(tmp_path, query)


@given(query=st.text(max_size=80))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_that_is_typed_breaks_it(query: str, tmp_path: Path) -> None:
    if any(c.isalnum() for c in query):
        index(tmp_path).search(query)
    else:
        with pytest.raises(BadInput, match="holds no word"):
            index(tmp_path).search(query)


@pytest.mark.parametrize("query", ["", "   ", "***", "_ __", '"', "\udcff", "\0", ":-)"])
def test_a_query_without_words_is_bad_input(query: str) -> None:
    with pytest.raises(BadInput, match="holds no word"):
        words_of(query)


def test_too_many_words_are_bad_input_and_repeats_are_one(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"at most {MOST_WORDS}"):
        words_of(" ".join(f"w{n}" for n in range(MOST_WORDS + 1)))
    assert words_of("Bank bank BANK") == ("bank",)
    most = " ".join(f"w{n}" for n in range(MOST_WORDS))
    assert index(tmp_path).search(most).hits == ()


def test_it_is_made_once_and_again_when_what_it_was_made_from_changed(tmp_path: Path, made: list[int]) -> None:
    for fingerprint, times in (("1", 1), ("1", 1), ("2", 2), ("2", 2), ("1", 3)):
        assert index(tmp_path, fingerprint, made).search("bank").hits
        assert len(made) == times
    assert [p.name for p in tmp_path.iterdir()] == ["index.sqlite"], "nothing is left behind"


@pytest.mark.parametrize("garbage", [b"", b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_damaged_cache_is_made_anew(garbage: bytes, tmp_path: Path) -> None:
    wanted = index(tmp_path).search("bank")
    (tmp_path / "index.sqlite").write_bytes(garbage)
    assert index(tmp_path).search("bank") == wanted


def test_a_cache_of_another_make_is_made_anew(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "index.sqlite") as connection:
        connection.execute("create table made_from (fingerprint text)")
        connection.execute("insert into made_from values ('1')")
    connection.close()
    assert index(tmp_path).search("bank").hits


def test_a_cache_that_cannot_be_kept_is_made_in_memory_and_says_so(tmp_path: Path) -> None:
    wanted = index(tmp_path / "good").search("bank")
    (tmp_path / "file").write_text("in the way")
    found = index(tmp_path / "file").search("bank")
    assert found.hits == wanted.hits
    assert "could not be kept" in found.notes[0]
    (tmp_path / "good" / "index.sqlite").unlink()
    (tmp_path / "good" / "index.sqlite").mkdir()
    (tmp_path / "good" / "index.sqlite" / "x").mkdir()
    assert index(tmp_path / "good").search("bank").hits == wanted.hits


FULL = """
import resource, signal, sys
from pathlib import Path
from tests.knowledge.test_index import index
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
found = index(Path(sys.argv[1])).search("bank")
print(len(found.hits), found.notes)
"""


def test_a_full_disk_is_no_obstacle_and_leaves_nothing(tmp_path: Path) -> None:
    told = [sys.executable, "-c", FULL, str(tmp_path)]
    done = subprocess.run(told, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.stdout.startswith("3 ('the index could not be kept"), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_fts5_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "TABLE", "create virtual table pages using fts5missing(a)")
    with pytest.raises(Missing, match="FTS5"):
        index(tmp_path).search("bank")
