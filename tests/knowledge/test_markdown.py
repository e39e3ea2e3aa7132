"""Exported pages: what is written is read back, equal knowledge gives equal bytes, damage is named by its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.knowledge.things import attempts, decided, run
from warpsmith.errors import BadInput
from warpsmith.knowledge.markdown import LONGEST_CELL, SHOWN, kind_of, memory_page, patterns_page, read_page
from warpsmith.knowledge.memory import Attempt, Outcome, merge
from warpsmith.knowledge.patterns import merge_trials, trials
from warpsmith.knowledge.recall import remember

MANY = st.lists(attempts(), max_size=8)


@given(MANY)
def test_memory_comes_back_as_it_was(given_attempts: list[Attempt]) -> None:
    for task in {a.task for a in given_attempts}:
        told = merge(a for a in given_attempts if a.task == task)
        page = memory_page(task, told)
        back = read_page(page, "page")
        assert back.attempts == told
        assert not back.edited and kind_of(page) == "memory"
        assert memory_page(task, merge(reversed(told))) == page, "whatever the order"


@given(MANY)
def test_patterns_come_back_as_they_were(given_attempts: list[Attempt]) -> None:
    told = merge_trials(trials(merge(given_attempts)))
    page = patterns_page(told)
    back = read_page(page, "page")
    assert back.trials == told
    assert not back.edited and kind_of(page) == "patterns"


@given(MANY)
def test_no_memo_breaks_out_of_its_table(given_attempts: list[Attempt]) -> None:
    for task in {a.task for a in given_attempts}:
        told = merge(a for a in given_attempts if a.task == task)
        readable = memory_page(task, told).partition("## Record")[0]
        rows = [line for line in readable.split("\n") if line.startswith("| ") and "->" not in line]
        assert all(line.replace("\\\\", "").replace("\\|", "").count("|") in (6, 9) for line in rows), rows
        assert "<b" not in readable.replace("&lt;b", "")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    events = [*run(tmp_path_factory.mktemp("ledger")), decided("deployed")]
    return memory_page("fake/kernel", merge(remember(events)))


def test_the_readable_part_says_it_all(page: str) -> None:
    assert "## deployed (1)" in page and "## crashed (1)" in page
    assert "[vectorise] 16-byte loads \\| answers poor_coalescing and not low_ipc" in page
    assert "poor_coalescing, low_ipc" in page
    assert "| TILE | 8 |" in page.partition("## Tunables")[2]


def test_a_change_by_hand_outside_the_record_is_noticed_and_not_read(page: str) -> None:
    changed = page.replace("## deployed (1)", "## deployed (99)")
    assert read_page(changed, "p").edited
    assert read_page(changed, "p").attempts == read_page(page, "p").attempts


LINE = '{"campaign"'


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.replace("warpsmith: memory", "warpsmith: nonsense"), "not a page of memory or patterns"),
        (lambda p: p.replace("version: 1", "version: 7"), "version '7'"),
        (lambda p: p.replace("```json", "```"), "no whole record"),
        (lambda p: p[:-5], "no whole record"),
        (lambda p: p.replace("task: fake/kernel", "task: other/kernel"), "the head says 'other/kernel'"),
        (lambda p: p.replace('"outcome":"deployed"', '"outcome":"loved"'), "outcome"),
        (lambda p: p.replace('"outcome":"deployed"', '"outcome":"deployed","extra":1'), "extra"),
        (lambda p: p.replace('"task":"fake/kernel"', '"task":"../../etc"'), "task"),
        (lambda p: p.replace('"speedup":', '"speedup":1e999,"high":'), "finite"),
        (lambda p: p.replace('"of":"attempt"', '"of":"trial"', 1), "'trial' where an attempt was expected"),
        (lambda p: p.replace("```json\n", "```json\n<<<<<<< ours\n"), "record line 1: not JSON"),
        (lambda p: p.replace("```json\n", "```json\n" + "[" * 100_000 + "\n"), "record line 1: not JSON"),
        (lambda p: p.replace("```json\n", "```json\n7\n"), "record line 1: not an object"),
    ],
)
def test_damage_is_refused_with_its_place(page: str, change, message: str) -> None:
    damaged = change(page)
    assert damaged != page
    with pytest.raises(BadInput, match=r"shelf/page\.md") as refused:
        read_page(damaged, "shelf/page.md")
    assert message in str(refused.value)


@given(st.text(max_size=200))
def test_no_page_makes_the_reader_stumble(text: str) -> None:
    for candidate in (text, f"---\nwarpsmith: memory\nversion: 1\n---\n\n## Record\n\n```json\n{text}\n```\n"):
        try:
            read_page(candidate, "p")
        except BadInput:
            continue


def test_a_long_history_is_shown_in_part_and_kept_whole(tmp_path: Path) -> None:
    one = remember(run(tmp_path))[0].model_copy(update={"outcome": Outcome.rejected, "memo": "x" * 500})
    many = merge(one.model_copy(update={"candidate": f"{n:064x}"}) for n in range(SHOWN + 7))
    page = memory_page(one.task, many)
    assert "and 7 more in the record." in page
    assert "x" * (LONGEST_CELL + 1) not in page.partition("## Record")[0]
    assert read_page(page, "p").attempts == many
