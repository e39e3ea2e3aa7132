"""Diagnoses: always exactly one edit, whatever was measured; causes before symptoms; at the roof, stop."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warpsmith.analyse.advice import distinct
from warpsmith.analyse.diagnose import MATERIAL, diagnose
from warpsmith.analyse.rules import AT_THE_ROOF, NO_FINDING, rules
from warpsmith.model.metrics import METRICS
from warpsmith.model.profile import Advice, Bottleneck, Diagnosis, Finding, KernelProfile, Severity, SourceLine
from warpsmith.model.target import Target

H200 = Target(hardware="cuda", device="NVIDIA H200", architecture="sm_90a")
WILD = st.one_of(
    st.floats(0, 1), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from((0.0, 1e300, -1.0, 1e-300))
)
CLOSE = st.floats(0, 1)
SHARES = [key for key, spec in METRICS.items() if spec.unit == "share"]


def profile(metrics: Mapping[str, float], **fields: object) -> KernelProfile:
    return KernelProfile(kernel="k", grid=(1, 1, 1), block=(1, 1, 1), metrics=dict(metrics), **fields)  # type: ignore[arg-type]


def of(metrics: Mapping[str, float], **fields: object) -> Diagnosis:
    return diagnose(profile(metrics, **fields), H200)


def finding(answer: Diagnosis, rule: str) -> Finding:
    return next(f for f in answer.findings if f.rule == rule)


TUNED_COPY = {
    "duration": 2.7e-4, "sm": 0.2, "memory": 0.9, "dram": 0.9, "l2": 0.5, "l1": 0.25, "dram_bytes": 1.08e9,
    "dram_rate": 4.0e12, "dram_read_bytes": 5.4e8, "compulsory_bytes": 1.07e9, "l1_hit": 0.0, "l2_hit": 0.5, "ipc": 0.3,
    "issue_active": 0.08, "stall_long_scoreboard": 0.75, "stall_lg_throttle": 0.1, "occupancy": 0.9, "sm_busy": 0.99,
}  # fmt: skip


def test_a_tuned_copy_is_told_to_move_fewer_bytes_or_to_stop() -> None:
    answer = of(TUNED_COPY)
    assert answer.bottleneck is Bottleneck.memory_bound
    assert answer.edit.rule == AT_THE_ROOF and answer.edit.gain == 0
    assert "fewer bytes" in answer.edit.edit and answer.edit.check.metric == "dram_bytes"
    assert answer.findings[0].rule == "severe_memory_bound"
    for symptom in ("low_ipc", "low_l1_hit", "stall_long_scoreboard"):
        if symptom in {f.rule for f in answer.findings}:
            told = finding(answer, symptom)
            assert told.cause == "severe_memory_bound" and told.gain < MATERIAL and told.severity is Severity.info


def test_a_measured_ceiling_replaces_the_rated_one() -> None:
    slow = {**TUNED_COPY, "dram": 0.5, "dram_rate": 2.0e12, "memory": 0.5}
    rated, measured = of(slow), diagnose(profile(slow), H200, {"dram": 2.05e12})
    assert rated.roofs["dram"] == 0.5 and measured.roofs["dram"] == pytest.approx(2.0 / 2.05)
    assert rated.edit.rule != AT_THE_ROOF and measured.edit.rule == AT_THE_ROOF


def test_bytes_moved_more_than_once_can_be_won_even_at_the_roof() -> None:
    answer = of({**TUNED_COPY, "dram_read_bytes": 1.0e9, "compulsory_bytes": 2.7e8, "l2_capacity": 6e7})
    assert answer.edit.rule == "l2_thrash" and answer.edit.gain > 0.4
    assert finding(answer, "severe_memory_bound").cause == "l2_thrash"


def test_a_symptom_stands_after_its_cause_and_gains_no_more() -> None:
    answer = of({
        "stall_long_scoreboard": 0.8, "issue_active": 0.1, "ipc": 0.3, "dram": 0.3, "l1": 0.2, "l2": 0.4,
        "l2_bytes": 8e9, "stall_lg_throttle": 0.0, "sectors_over_ideal": 8.0, "ideal_sectors": 3.2e7,
    })  # fmt: skip
    order = [f.rule for f in answer.findings]
    assert order[0] == "poor_coalescing"
    assert finding(answer, "stall_long_scoreboard").cause == "poor_coalescing"
    assert finding(answer, "stall_long_scoreboard").gain <= finding(answer, "poor_coalescing").gain


def test_what_the_vendor_says_too_is_marked_and_ranked_first() -> None:
    both = {"stall_barrier": 0.4, "stall_membar": 0.42, "issue_active": 0.05}
    barrier = Advice(rule="CPIStall", kind="OPT", message="Barrier Stalls: On average, each warp", speedup=0.4)
    other = Advice(rule="FPInstructions", kind="OPT", message="FP32 Non-Fused Instructions", speedup=0.1)
    assert of(both).findings[0].rule == "stall_membar"
    answer = of(both, advice=(barrier, other))
    assert answer.findings[0].rule == "stall_barrier" and answer.findings[0].agreed == ("CPIStall",)
    assert answer.advice == (other,)


def test_advice_is_given_once_and_by_promise() -> None:
    one = Advice(rule="A", kind="OPT", message="12 excessive sectors", speedup=0.1)
    same = Advice(rule="A", kind="OPT", message="7 excessive sectors", speedup=0.3)
    info = Advice(rule="B", kind="INF", message="by the way")
    empty = Advice(rule="C", kind="OPT", message=" ")
    best = Advice(rule="D", kind="WRN", message="other", speedup=0.5)
    assert distinct((info, one, same, empty, best)) == (best, same, info)


def test_hot_lines_are_attached_to_the_finding_that_explains_them() -> None:
    hot = SourceLine(file="k.cu", line=7, text="__syncthreads();", samples=0.6, stall="stall_barrier")
    cold = SourceLine(file="k.cu", line=3, samples=0.2, stall="stall_long_scoreboard")
    answer = of({"stall_barrier": 0.5, "issue_active": 0.1}, lines=(hot, cold))
    assert finding(answer, "stall_barrier").lines == (hot,) == answer.edit.lines


def test_a_rule_without_its_metric_is_silent_and_listed() -> None:
    answer = of({"ipc": 0.2, "issue_active": 0.05})
    assert {f.rule for f in answer.findings} == {"low_ipc"}
    assert set(answer.not_evaluated) == set(rules()) - {"low_ipc"}


def test_trust_ranks_a_rule_that_often_misses_below_one_that_does_not() -> None:
    both = {"stall_barrier": 0.4, "stall_membar": 0.42, "issue_active": 0.05}
    assert diagnose(profile(both), H200, trust={"stall_membar": 0.5}).edit.rule == "stall_barrier"


NARROW = {
    "load_requests": 1e5, "load_sectors": 4e5, "store_sectors": 0.0, "local_sectors": 0.0, "load_instructions": 1e5,
    "instructions": 1e6, "async_copies": 0.0, "l1_hit": 0.0, "sectors_over_ideal": 1.0, "issue_active": 0.01,
    "stall_long_scoreboard": 0.8, "stall_lg_throttle": 0.1, "stall_drain": 0.0,
}  # fmt: skip
"""Loads of 4 bytes a thread that warps wait for; what else passes between the SMs and the L2 is each case's."""


@pytest.mark.parametrize(
    ("beside", "rule"),
    [
        ({"ideal_sectors": 4e5, "l2_bytes": 32 * 4e5}, "no_tma_or_vector_loads"),
        ({"ideal_sectors": 5e5, "l2_bytes": 32 * (4e5 + 32 * 1e5)}, "many_atomics"),
        ({"ideal_sectors": 4.1e5, "l2_bytes": 32 * (4e5 + 1e4)}, "no_tma_or_vector_loads"),
        ({"ideal_sectors": 4e5, "l2_bytes": 32 * (4e5 + 32 * 1e5)}, "stall_long_scoreboard"),
        ({"ideal_sectors": 5e5, "l2_bytes": 32 * (4e5 + 32 * 1e5), "tma_instructions": 1e3}, "stall_long_scoreboard"),
        ({"ideal_sectors": 4e5 + 16e5, "l2_bytes": 32 * 20e5, "async_copies": 1e5}, "stall_long_scoreboard"),
    ],
    ids=["loads", "atomics", "few-atomics", "textures", "tma", "cp.async"],
)
def test_what_most_of_the_traffic_is_says_what_warps_wait_behind(beside: Mapping[str, float], rule: str) -> None:
    answer = of({**NARROW, **beside})
    assert [f.rule for f in answer.findings if not f.cause] == [rule]
    assert answer.edit.rule == rule


@settings(max_examples=200, deadline=None)
@given(st.floats(1, 1e9), st.floats(0, 1e9), CLOSE, CLOSE)
def test_stores_that_hit_never_hide_that_loads_are_what_is_waited_for(
    loaded: float, stored: float, hits: float, stores_hit: float
) -> None:
    sectors = loaded + stored
    passing = loaded * (1 - hits) + stored
    l1_hit = (loaded * hits + stored * stores_hit) / sectors
    moved = {"store_sectors": stored, "l1_hit": l1_hit, "ideal_sectors": sectors, "l2_bytes": 32 * passing}
    answer = of({**NARROW, **moved, "load_sectors": loaded, "load_requests": loaded / 4})
    assert {"no_tma_or_vector_loads"} == {f.rule for f in answer.findings} & {"no_tma_or_vector_loads", "many_atomics"}


def test_without_any_metric_there_is_still_one_edit() -> None:
    answer = of({})
    assert answer.edit.rule == NO_FINDING and not answer.findings and len(answer.not_evaluated) == len(rules())


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(METRICS)), WILD))
def test_any_subset_of_any_values_gives_one_diagnosis_and_always_the_same(metrics: dict[str, float]) -> None:
    answer = of(metrics)
    assert answer == of(dict(reversed(metrics.items())))
    assert Diagnosis.model_validate_json(answer.model_dump_json()) == answer
    assert all(0 <= f.gain <= 1 for f in answer.findings)
    assert {f.rule for f in answer.findings}.isdisjoint(answer.not_evaluated)
    assert answer.edit.rule in {f.rule for f in answer.findings} | {AT_THE_ROOF, NO_FINDING}
    seen: set[str] = set()
    for told in answer.findings:
        assert told.rule not in seen
        assert told.cause in seen | {"", AT_THE_ROOF}, "a symptom stands after its cause"
        seen.add(told.rule)


@settings(max_examples=200, deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(SHARES, CLOSE)), CLOSE)
def test_a_longer_stall_never_gains_less(metrics: dict[str, float], more: float) -> None:
    metrics["stall_barrier"] = max(0.2, metrics["stall_barrier"])
    worse = {**metrics, "stall_barrier": max(metrics["stall_barrier"], more)}
    assert finding(of(worse), "stall_barrier").gain >= finding(of(metrics), "stall_barrier").gain - 1e-9


@settings(max_examples=200, deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(SHARES, CLOSE)), CLOSE)
def test_a_fuller_unit_never_leaves_more_to_a_wait(metrics: dict[str, float], more: float) -> None:
    metrics["stall_membar"] = max(0.15, metrics["stall_membar"])
    fuller = {**metrics, "l2": max(metrics["l2"], more)}
    assert finding(of(fuller), "stall_membar").gain <= finding(of(metrics), "stall_membar").gain + 1e-9


@settings(max_examples=100, deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(SHARES, CLOSE)), st.floats(1.25, 32), st.floats(1, 4))
def test_worse_coalescing_never_gains_less(metrics: dict[str, float], ratio: float, factor: float) -> None:
    moved = {"ideal_sectors": 1e6, "l2_bytes": 32e6 * ratio}
    better, worse = ({**metrics, **moved, "sectors_over_ideal": r} for r in (ratio, ratio * factor))
    assert finding(of(worse), "poor_coalescing").gain >= finding(of(better), "poor_coalescing").gain - 1e-9
