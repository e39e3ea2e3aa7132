"""The rules as data: complete, and nothing in them refers to what does not exist."""

from __future__ import annotations

import string
from graphlib import TopologicalSorter

import pytest

from warpsmith.analyse.ceilings import CEILINGS
from warpsmith.analyse.rules import Rule, rules
from warpsmith.model.expression import names
from warpsmith.model.metrics import METRICS

PROMISED = [
    "severe_memory_bound", "near_peak_compute", "huge_dram_traffic", "low_occupancy", "register_limited",
    "low_waves_per_sm", "high_waves_per_sm", "poor_coalescing", "low_l1_hit", "low_l2_hit", "smem_bank_conflicts",
    "stall_long_scoreboard", "stall_short_scoreboard", "stall_mio_throttle", "stall_math_pipe", "stall_wait",
    "stall_barrier", "stall_membar", "low_ipc", "local_memory_spills", "no_tensor_cores", "no_wgmma",
    "no_tma_or_vector_loads", "tail_effect", "partial_waves", "launch_bound", "uncoalesced_stores", "l2_thrash",
    "many_atomics",
]  # fmt: skip
FACTS = {"architecture"}
EACH = pytest.mark.parametrize("rule", rules().values(), ids=rules())


def test_every_promised_rule_is_there_and_no_other() -> None:
    assert sorted(rules()) == sorted(PROMISED)


@EACH
def test_expressions_use_metrics_thresholds_and_facts_only(rule: Rule) -> None:
    assert rule.needed <= METRICS.keys() | FACTS
    assert set(rule.assume) <= METRICS.keys()
    assert not (set(rule.thresholds) | set(rule.let)) & METRICS.keys(), "a name would hide a metric"
    for text in rule.assume.values():
        assert names(text) <= METRICS.keys()


@EACH
def test_every_threshold_is_used_and_says_where_it_is_from(rule: Rule) -> None:
    texts = (rule.when, rule.gain, *rule.let.values(), *rule.relieves.values())
    used = {name for text in texts for name in names(text)}
    assert set(rule.thresholds) <= used
    assert all(t.source for t in rule.thresholds.values())


@EACH
def test_texts_and_predictions_name_known_metrics(rule: Rule) -> None:
    fields = {field for _, field, _, _ in string.Formatter().parse(rule.finding) if field}
    assert fields <= METRICS.keys()
    assert fields, "a finding shows its number"
    assert rule.predict.metric in METRICS
    assert set(rule.stalls) <= METRICS.keys()
    assert set(rule.relieves) <= {c.name for c in CEILINGS}


@EACH
def test_the_quick_effort_collects_what_a_rule_needs(rule: Rule) -> None:
    assert all(METRICS[name].quick for name in rule.needed - FACTS)


def test_no_rule_is_its_own_cause() -> None:
    graph = {rule.id: rule.causes for rule in rules().values()}
    assert {cause for causes in graph.values() for cause in causes} <= graph.keys()
    tuple(TopologicalSorter(graph).static_order())
