"""Hit rates of predictions: what moved, whose edit it was, and what that makes of the ranking."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import TARGET
from warpsmith.analyse.calibration import HitRate, cited, hit_rates, moved, outcomes, trust
from warpsmith.model.base import digest_bytes
from warpsmith.model.candidate import Candidate, SourceFile
from warpsmith.model.profile import KernelProfile, Prediction, Profile
from warpsmith.store.history import History

DOWN = Prediction(metric="stall_barrier", direction="down", to=0.2)


def candidate(text: str, parent: str | None = None, memo: str = "") -> Candidate:
    source = SourceFile(path="k.c", content=digest_bytes(text.encode()))
    return Candidate(toolchain="c", entry="run", sources=(source,), parent=parent, memo=memo)


def profiled(identity: str, **metrics: float) -> Profile:
    kernels = (
        KernelProfile(kernel="short", grid=(1, 1, 1), block=(1, 1, 1), metrics={"duration": 1e-6}),
        KernelProfile(kernel="long", grid=(1, 1, 1), block=(1, 1, 1), metrics={"duration": 1e-3, **metrics}),
    )
    return Profile(candidate=identity, tool="ncu", kernels=kernels)


def test_a_memo_cites_rules_by_their_names() -> None:
    assert cited("[sync] warps instead of blocks, for stall_barrier; stall_barrier again, then low_ipc") == (
        "stall_barrier",
        "low_ipc",
    )
    assert cited("make it faster") == ()


@pytest.mark.parametrize(
    ("before", "after", "hit"), [(0.5, 0.3, True), (0.5, 0.495, False), (0.5, 0.6, False), (0.5, 0.5, False)]
)
def test_a_metric_moves_by_more_than_counters_vary(before: float, after: float, hit: bool) -> None:
    assert moved(DOWN, before, after) is hit
    up = Prediction(metric="ipc", direction="up")
    assert moved(up, -before, -after) is hit


def test_reaching_the_goal_is_a_hit_however_small_the_step() -> None:
    assert moved(DOWN, 0.2001, 0.1999)
    assert not moved(DOWN, 0.19, 0.19)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_up_and_down_never_both_hit(before: float, after: float) -> None:
    up = Prediction(metric="m", direction="up")
    down = Prediction(metric="m", direction="down")
    assert not (moved(up, before, after) and moved(down, before, after))


def test_hit_rates_come_from_profiled_pairs_whose_memo_cites_a_rule() -> None:
    parent = candidate("parent")
    better = candidate("better", parent.id, "stall_barrier: warp-wide sums")
    worse = candidate("worse", parent.id, "stall_barrier and low_ipc: smaller blocks")
    silent = candidate("silent", parent.id, "tidy")
    unseen = candidate("unseen", parent.id, "stall_barrier")
    everyone = (parent, better, worse, silent, unseen)
    history = History(
        candidates={c.id: c for c in everyone},
        profiles={
            parent.id: profiled(parent.id, stall_barrier=0.5),
            better.id: profiled(better.id, stall_barrier=0.1),
            worse.id: profiled(worse.id, stall_barrier=0.6),
            silent.id: profiled(silent.id, stall_barrier=0.1),
        },
    )
    seen = outcomes(history)
    assert [(o.rule, o.candidate, o.hit) for o in seen] == [
        ("stall_barrier", better.id, True),
        ("stall_barrier", worse.id, False),
    ], "low_ipc has no value before, and what is not profiled or cites nothing does not count"
    assert hit_rates(seen) == {("stall_barrier", ""): HitRate(1, 2)}
    other = [replace(o, device="NVIDIA H200") for o in seen]
    rates = hit_rates([*seen, *other])
    assert trust(rates, "NVIDIA H200") == {"stall_barrier": HitRate(1, 2).trust}
    assert TARGET.device not in {where for _, where in rates}


@given(st.integers(0, 50), st.integers(0, 50))
def test_trust_falls_with_every_miss_and_never_with_a_hit(hits: int, misses: int) -> None:
    rate = HitRate(hits, hits + misses)
    assert 0 < rate.trust <= 1
    assert HitRate(hits + 1, hits + misses + 1).trust >= rate.trust
    assert HitRate(hits, hits + misses + 1).trust < rate.trust
