"""The table of metrics: whole, and read without ever inventing a value."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warpsmith.model.metrics import METRICS, STALLS, read, show, stall_key, wanted

NAMES = sorted({name for spec in METRICS.values() for source in spec.sources for name in source.names})
ANY = st.floats(allow_nan=True, allow_infinity=True)


@pytest.mark.parametrize("architecture", [80, 89, 90, 100, 120])
def test_quick_is_a_part_of_full_and_every_name_is_asked_for_once(architecture: int) -> None:
    quick, full = wanted(architecture, quick=True), wanted(architecture, quick=False)
    assert set(quick) < set(full) <= set(NAMES)
    assert len(set(full)) == len(full)


def test_hopper_only_names_are_not_asked_for_elsewhere() -> None:
    assert any("gmma" in name for name in wanted(90, quick=True))
    assert not any("gmma" in name for name in wanted(80, quick=True) + wanted(100, quick=True))


@given(st.dictionaries(st.sampled_from(NAMES), ANY))
def test_what_cannot_be_given_is_missing_and_never_invented(raw: dict[str, float]) -> None:
    metrics, missing = read(raw, 90)
    assert all(math.isfinite(value) for value in metrics.values())
    assert set(metrics).isdisjoint(missing)
    for key in metrics:
        assert any(set(source.names) <= raw.keys() for source in METRICS[key].sources)


def test_ratios_sums_and_units() -> None:
    metrics, missing = read(
        {
            "dram__bytes_read.sum": 3e9,
            "dram__bytes_write.sum": 1e9,
            "gpu__time_duration.sum": 2e6,
            "lts__t_sector_hit_rate.pct": 25.0,
            "smsp__average_warps_issue_stalled_barrier_per_issue_active.ratio": 3.0,
            "smsp__average_warp_latency_per_inst_issued.ratio": 12.0,
        },
        90,
    )
    assert metrics["dram_bytes"] == 4e9
    assert metrics["duration"] == pytest.approx(2e-3)
    assert metrics["dram_rate"] == pytest.approx(2e12)
    assert metrics["l2_hit"] == 0.25
    assert metrics["stall_barrier"] == 0.25
    assert "ipc" in missing and "compulsory_bytes" not in missing


def test_a_ratio_over_nothing_is_missing() -> None:
    metrics, missing = read(
        {"memory_l2_theoretical_sectors_global": 5.0, "memory_l2_theoretical_sectors_global_ideal": 0.0}, 90
    )
    assert "sectors_over_ideal" not in metrics and "sectors_over_ideal" in missing


def test_words_of_counters_and_of_samples_lead_to_the_same_stall() -> None:
    assert {stall_key(word) for word in STALLS} <= METRICS.keys()
    assert stall_key("no_instructions") == stall_key("no_instruction")
    assert stall_key("warpgroup_arrive") == stall_key("gmma")
    assert stall_key("math_pipe_throttle") == "stall_math_pipe"


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("dram", 0.823, "82.3 %"),
        ("duration", 3.1e-6, "3.1 us"),
        ("duration", 0.0, "0 s"),
        ("dram_bytes", 1.2e10, "12 GB"),
        ("dram_rate", 4.28e12, "4.28 TB/s"),
        ("sectors_over_ideal", 8.0, "8"),
        ("registers", 168.0, "168 register"),
        ("unknown", 5.0, "5"),
    ],
)
def test_values_are_shown_as_people_read_them(key: str, value: float, text: str) -> None:
    assert show(key, value) == text
