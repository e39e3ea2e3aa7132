"""Patterns: what helped, counted once whatever copies there are."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.knowledge.things import attempts, run
from warpsmith.knowledge.memory import Attempt, Outcome, merge
from warpsmith.knowledge.patterns import aggregate, lower95, merge_trials, overlay_trials, trials, values_of
from warpsmith.knowledge.recall import remember

MANY = st.lists(attempts(), max_size=8)


def some(tmp_path: Path, *outcomes: Outcome, **changes: object) -> tuple[Attempt, ...]:
    one = next(a for a in remember(run(tmp_path)) if a.edit == "vectorise")
    return tuple(
        one.model_copy(update={"candidate": f"{n:064x}", "outcome": o, "speedup": 1.1 + n / 10, **changes})
        for n, o in enumerate(outcomes)
    )


def test_counts_bounds_and_gains(tmp_path: Path) -> None:
    told = some(tmp_path, Outcome.accepted, Outcome.deployed, Outcome.rejected, Outcome.rolled_back, Outcome.crashed)
    found = {p.under: p for p in aggregate(trials(told))}
    assert set(found) == {"", "rule poor_coalescing", "rule low_ipc"}
    whole = found[""]
    assert (whole.edit, whole.tried, whole.helped, whole.tasks) == ("vectorise", 5, 2, ("fake/kernel",))
    assert whole.median_speedup == pytest.approx(1.15) and whole.best_speedup == pytest.approx(1.2)
    assert whole.low == pytest.approx(0.0764, abs=1e-4), "Clopper-Pearson, 2 of 5: beta(0.05; 2, 4)"
    assert whole.high == pytest.approx(0.8107, abs=1e-4), "beta(0.95; 3, 3)"
    assert whole.line.startswith("vectorise@none: 2 of 5 helped (7.6% to 81.1%)")


def test_none_that_helped_has_no_gain_and_no_lower_bound(tmp_path: Path) -> None:
    (one,) = [p for p in aggregate(trials(some(tmp_path, Outcome.rejected))) if not p.under]
    assert (one.helped, one.low, one.median_speedup, one.best_speedup) == (0, 0.0, None, None)
    assert one.high == pytest.approx(0.95)
    assert lower95(7, 7) == pytest.approx(0.05 ** (1 / 7))


def test_the_parents_bottleneck_is_a_condition(tmp_path: Path) -> None:
    told = some(tmp_path, Outcome.accepted, bottleneck="memory_bound", rules=())
    assert [p.under for p in aggregate(trials(told))] == ["", "memory_bound"]


def test_what_names_no_kind_of_edit_counts_for_no_pattern(tmp_path: Path) -> None:
    assert trials(some(tmp_path, Outcome.accepted, edit="")) == ()


@given(MANY, MANY)
def test_nothing_counts_twice(one: list[Attempt], two: list[Attempt]) -> None:
    whole = trials(merge(one, two))
    apart = merge_trials(trials(merge(one)), trials(merge(two)))
    assert {t.key for t in apart} >= {t.key for t in whole}
    assert merge_trials(whole, whole) == merge_trials(whole)
    assert overlay_trials(whole, merge_trials(whole)) == merge_trials(whole)
    counted = sum(p.tried for p in aggregate(merge_trials(whole, whole)) if not p.under)
    assert counted == len({a.key for a in merge(one, two) if a.edit})


def test_values_of_tunables(tmp_path: Path) -> None:
    one = remember(run(tmp_path))[0]
    told = [
        one.model_copy(update={"parameters": {"TILE": tile, "FIXED": 1}, "over_baseline": gain})
        for tile, gain in ((1, 2.0), (1, 3.0), (1, 4.0), (8, 1.0), (8, None))
    ]
    assert [(v.name, v.value, v.tried, v.median, v.best) for v in values_of(told)] == [
        ("TILE", 1, 3, 3.0, 4.0),
        ("TILE", 8, 1, 1.0, 1.0),
    ]
