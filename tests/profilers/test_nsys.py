"""Timelines from the SQLite export of Nsight Systems."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warpsmith.errors import BadReport
from warpsmith.profilers.nsys import Span, read_timeline, timeline


def export(path: Path, kernels: list[tuple[str, int, int]], copies: list[tuple[int, int, int]] = []) -> None:  # noqa: B006
    """A database with the tables of an export that are read: kernels by name, begin and end, and copies by size."""
    names = {name: i for i, name in enumerate(dict.fromkeys(k[0] for k in kernels))}
    with closing(sqlite3.connect(path)) as made, made:
        made.execute("CREATE TABLE StringIds (id INTEGER, value TEXT)")
        made.executemany("INSERT INTO StringIds VALUES (?, ?)", [(i, n) for n, i in names.items()])
        if kernels:
            made.execute("CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER, end INTEGER, shortName INTEGER)")
            rows = [(begin, end, names[name]) for name, begin, end in kernels]
            made.executemany("INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (?, ?, ?)", rows)
        if copies:
            made.execute("CREATE TABLE ENUM_CUDA_MEMCPY_OPER (id INTEGER, name TEXT, label TEXT)")
            made.execute("INSERT INTO ENUM_CUDA_MEMCPY_OPER VALUES (8, 'DTOD', 'Device-to-Device')")
            made.execute(
                "CREATE TABLE CUPTI_ACTIVITY_KIND_MEMCPY (start INTEGER, end INTEGER, bytes INTEGER, copyKind INT)"
            )
            made.executemany("INSERT INTO CUPTI_ACTIVITY_KIND_MEMCPY VALUES (?, ?, ?, 8)", copies)


def test_kernels_copies_and_gaps(tmp_path: Path) -> None:
    path = tmp_path / "report.sqlite"
    export(path, [("a", 1000, 2000), ("b", 1500, 4000), ("a", 6000, 7000)], [(8000, 9000, 4096)])
    found = read_timeline(path)
    assert found.seconds == pytest.approx(8e-6)
    assert found.busy == pytest.approx(5 / 8)
    assert found.gaps == 2 and found.longest_gap_s == pytest.approx(2e-6)
    assert [(a.kind, a.name, a.count) for a in found.activities] == [
        ("kernel", "b", 1), ("kernel", "a", 2), ("copy", "Device-to-Device", 1),
    ]  # fmt: skip
    assert found.activities[2].bytes == 4096


def test_nothing_was_launched(tmp_path: Path) -> None:
    export(tmp_path / "report.sqlite", [])
    found = read_timeline(tmp_path / "report.sqlite")
    assert found.seconds == 0 and found.busy == 0 and found.activities == ()


def test_a_foreign_database(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.sqlite")) as made, made:
        made.execute("CREATE TABLE users (id INTEGER)")
    with pytest.raises(BadReport, match="not an export of Nsight Systems"):
        read_timeline(tmp_path / "other.sqlite")


@pytest.mark.parametrize("content", [b"", b"garbage" * 200, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "report.sqlite").write_bytes(content)
    with pytest.raises(BadReport):
        read_timeline(tmp_path / "report.sqlite")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadReport, match="cannot be read"):
        read_timeline(tmp_path / "nothing.sqlite")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_export_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "report.sqlite"
    export(path, [("a", 1000, 2000), ("b", 1500, 4000)], [(8000, 9000, 4096)])
    content = bytearray(path.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=40)):
        content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        found = read_timeline(path)
    except BadReport:
        return
    assert 0 <= found.busy <= 1 and found.seconds >= 0


spans = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 10**6), st.integers(0, 10**5), st.just(0)), max_size=30
)


@given(spans)
def test_busy_and_gaps_add_up(drawn: list[Span]) -> None:
    kernels = [(name, begin, begin + length, size) for name, begin, length, size in drawn]
    found = timeline({"kernel": kernels}, [])
    covered = {t for _, begin, end, _ in kernels for t in (begin, end)}
    if not covered:
        assert found.seconds == 0
        return
    assert found.seconds * 1e9 == pytest.approx(max(covered) - min(covered))
    assert found.longest_gap_s <= found.seconds * (1 - found.busy) + 1e-12
    assert (found.gaps == 0) == (found.busy >= 1 - 1e-12 or found.seconds == 0)
