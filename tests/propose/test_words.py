"""Counting tokens without a tokenizer, and joining the parts of a cut answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warpsmith.propose.llm.seam import OVERLAP, join
from warpsmith.propose.llm.tokens import at_most, estimate

COUNTS = json.loads((Path(__file__).parents[1] / "golden" / "tokens" / "counts.json").read_text())
"""Texts with what Claude 2's published tokenizer and OpenAI's o200k count."""
NEWER = 1.3
"""Tokens of newer Claudes over those of older ones, as Anthropic says."""
SOURCE = "".join(f"    acc{n} += a[{n} * lda + k] * b[k * ldb + {n}];\n" for n in range(40))


@pytest.mark.parametrize("counted", COUNTS, ids=[c["name"] for c in COUNTS])
def test_an_estimate_is_within_its_bounds(counted: dict[str, Any]) -> None:
    text = counted["text"]
    assert 0.88 <= estimate(text) / (NEWER * counted["claude2"]) <= 1.10
    assert at_most(text) >= NEWER * counted["claude2"]
    assert at_most(text) >= counted["o200k"]


def test_the_estimates_are_right_on_average() -> None:
    ratios = [estimate(c["text"]) / (NEWER * c["claude2"]) for c in COUNTS]
    assert 0.95 <= sum(ratios) / len(ratios) <= 1.05


@given(st.text(max_size=400), st.text(max_size=400))
def test_estimates_grow_with_the_text(one: str, other: str) -> None:
    assert estimate("") == 0
    assert estimate(one + other) >= max(estimate(one), estimate(other)) - 3
    assert estimate(one + other) <= estimate(one) + estimate(other) + 3
    assert at_most(one) >= estimate(one)


@given(st.text(max_size=300), st.integers(0, 300))
def test_parts_that_repeat_nothing_are_put_together(text: str, at: int) -> None:
    before, after = text[:at], text[at:]
    if min(len(before), len(after)) < OVERLAP and "```" not in text and "~~~" not in text:
        assert join(before, after) == text


@pytest.mark.parametrize("at", [37, 500, 501, 777, len(SOURCE) - 1])
@pytest.mark.parametrize("repeated", [0, 60, 120, 400])
def test_a_repeated_end_is_left_out(at: int, repeated: int) -> None:
    before, after = SOURCE[:at], SOURCE[at:]
    assert join(before, before[max(0, at - repeated) :][-repeated:] + after if repeated else after) == SOURCE


def test_honest_repetition_stays() -> None:
    row = "    0.0f, 0.0f, 0.0f, 0.0f,\n"
    table = row * 30
    for at in (1, 16, 27, 28, 29, 300, 415):
        assert join(table[:at], table[at:]) == table


def test_a_fence_that_is_opened_again_is_left_out() -> None:
    before = "Memo.\n```c k.c\nint a;\n"
    assert join(before, "```c k.c\nint b;\n```\n") == before + "int b;\n```\n"
    assert join(before, "```\nAnd more.\n") == before + "```\nAnd more.\n", "that one closes"
    closed = before + "```\n"
    assert join(closed, "```c l.c\nint c;\n```\n") == closed + "```c l.c\nint c;\n```\n", "that is another file"
