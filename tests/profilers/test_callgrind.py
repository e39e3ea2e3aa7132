"""Callgrind's output, from a real run and from strange ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warpsmith.errors import BadReport
from warpsmith.profilers.callgrind import parse, profile
from warpsmith.profilers.places import placed

SMALL = """\
# callgrind format
version: 1
creator: callgrind-3.19.0
positions: line
events: Ir Dr Dw
ob=(1) /tmp/binary
fl=(1) /src/kernel.c
fn=(1) axpy
8 10 4 2
+2 100 50 25
* 5 0 0
-1 7 1 1
fi=(2) /src/helper.h
3 20 0 0
fe=(1)
cob=(2) /usr/lib/libm.so
cfi=(3) ???
cfn=(2) sqrtf
calls=4 0
11 4000 0 0
ob=(2)
fl=(3)
fn=(2)
0 4000 0 0
fn=(1)
"""
SOURCES = {"kernel.c": "\n" * 9 + "    y[i] = x[i];\n"}


def test_own_costs_by_line_and_object() -> None:
    counts = parse(SMALL, ("/tmp/binary",))
    assert counts.events == ("Ir", "Dr", "Dw")
    assert counts.lines == {
        ("/src/kernel.c", 8): [10, 4, 2],
        ("/src/kernel.c", 10): [105, 50, 25],
        ("/src/kernel.c", 9): [7, 1, 1],
        ("/src/helper.h", 3): [20, 0, 0],
    }
    assert counts.total("Ir") == 142 and counts.total("Dr", "Dw") == 83
    assert parse(SMALL).total("Ir") == 4142
    assert counts.functions == {"axpy": [142, 55, 28]}


def test_the_profile_points_at_lines_of_the_candidate() -> None:
    made = profile(parse(SMALL, ("/tmp/binary",)), "axpy", SOURCES)
    hottest = made.lines[0]
    assert (hottest.file, hottest.line, hottest.text) == ("kernel.c", 10, "y[i] = x[i];")
    assert hottest.samples == pytest.approx(105 / 142)
    assert [line.file for line in made.lines] == ["kernel.c", "helper.h", "kernel.c", "kernel.c"]
    assert made.metrics == {"cpu_instructions": 142, "cpu_reads": 55, "cpu_writes": 28}
    assert set(made.missing) == {"cpu_l1_misses", "cpu_ll_misses"}


@pytest.mark.parametrize("order", [("k.h", "deep/k.h"), ("deep/k.h", "k.h")])
def test_of_two_files_of_one_name_the_one_is_meant_whose_path_is_said(order: tuple[str, str]) -> None:
    texts = {name: f"of {name};\n" for name in order}
    for said, name in (("/x/deep/k.h", "deep/k.h"), ("/x/k.h", "k.h"), ("deep/k.h", "deep/k.h")):
        assert placed(said, 1, texts) == (name, f"of {name};")
    assert placed("/usr/include/other.h", 1, texts) == ("other.h", "")
    assert placed("/x/notk.h", 1, texts) == ("notk.h", ""), "a name is a whole part of the path"
    assert [placed("/x/k.h", line, texts)[1] for line in (0, 2)] == ["", ""]


def test_instructions_may_have_positions_too() -> None:
    text = "positions: instr line\nevents: Ir\nob=(1) b\nfl=(1) k.c\nfn=(1) f\n0x10 4 3\n+4 +1 2\n* * 1\n"
    assert parse(text).lines == {("k.c", 4): [3], ("k.c", 5): [3]}


def test_a_candidate_that_was_never_called() -> None:
    with pytest.raises(BadReport, match="never called"):
        profile(parse(SMALL, ("/tmp/another",)), "axpy", {})


@pytest.mark.parametrize(
    "text", ["", "hello", "events: Ir\nfn=(7)\n1 2\n", "events: Ir\nfl=(1) a\nfn=(1) b\nx1 2\n1 z\n"]
)
def test_what_is_no_output_is_refused(text: str) -> None:
    with pytest.raises(BadReport, match="cannot be read"):
        parse(text)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_output_is_read_or_refused(data: st.DataObject) -> None:
    rows = SMALL.splitlines()
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(rows) - 1))
        change = data.draw(st.sampled_from(["drop", "text", "swap", "cut"]))
        other = data.draw(st.integers(0, len(rows) - 1))
        match change:
            case "drop":
                rows[at] = ""
            case "text":
                rows[at] = data.draw(st.text(max_size=20))
            case "swap":
                rows[at], rows[other] = rows[other], rows[at]
            case _:
                rows[at] = rows[at][: data.draw(st.integers(0, len(rows[at])))]
    try:
        made = profile(parse("\n".join(rows), ("/tmp/binary",)), "axpy", SOURCES)
    except BadReport:
        return
    assert all(0 <= line.samples <= 1 for line in made.lines)


def test_the_output_of_a_real_run(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "golden" / "profilers" / "callgrind.out").read_text()
    counts = parse(text)
    made = profile(counts, "axpy", {"axpy.c": "void axpy(void);\n" * 3 + "    y[i] = a * x[i] + y[i];\n"})
    assert made.metrics["cpu_instructions"] == counts.total("Ir") > 1000
    assert made.lines[0].file == "axpy.c" and "a * x[i]" in made.lines[0].text
