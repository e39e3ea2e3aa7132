"""Skills: one for each rule, right in form; and which of them go with a diagnosis."""

from __future__ import annotations

from pathlib import Path

import pytest

from warpsmith.analyse.diagnose import diagnose
from warpsmith.analyse.rules import rules
from warpsmith.knowledge.skill import (
    LOADED,
    LONGEST,
    SECTIONS,
    SKILLS,
    catalogue,
    check,
    glossary,
    load_for,
    load_skills,
    parse,
    rule_ids,
)
from warpsmith.model.profile import Diagnosis, Finding, KernelProfile, NextEdit, Prediction
from warpsmith.model.target import Target

ISSUE = {
    "severe_memory_bound", "near_peak_compute", "huge_dram_traffic", "low_occupancy", "register_limited",
    "low_waves_per_sm", "high_waves_per_sm", "poor_coalescing", "low_l1_hit", "low_l2_hit", "smem_bank_conflicts",
    "stall_long_scoreboard", "stall_short_scoreboard", "stall_mio_throttle", "stall_math_pipe", "stall_wait",
    "stall_barrier", "stall_membar", "low_ipc",
}  # fmt: skip


def test_every_skill_keeps_the_style_and_every_rule_has_one() -> None:
    assert check() == ()
    assert set(load_skills()) == set(rule_ids()) == {*rules(), "at_the_roof"} >= ISSUE


def test_a_prompt_can_afford_them() -> None:
    skills = load_skills()
    assert all(len(p.read_text()) <= LONGEST for p in SKILLS.glob("*.md"))
    assert all(len(line) <= 120 for line in catalogue(skills))
    assert sum(len(line) for line in catalogue(skills)) < 3000


def test_what_a_rule_predicts_is_what_its_skill_tells_to_confirm() -> None:
    skills = load_skills()
    for rule in rules().values():
        confirm = skills[rule.id].body.partition("## Confirm")[2]
        assert f"`{rule.predict.metric}`" in confirm, f"{rule.id} predicts {rule.predict.metric}"


GOOD = (SKILLS / "low_ipc.md").read_text()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda s: s + "x" * LONGEST, "characters, at most 2000"),
        (lambda s: s.replace("title:", "titel:"), "the head lacks title"),
        (lambda s: s.replace("title:", "extra: 1\ntitle:"), "unknown key extra"),
        (lambda s: s.replace("title:", "title: " + "x" * 90), "the title has"),
        (lambda s: s.replace("id: low_ipc", "id: high_ipc"), "the id is 'high_ipc', the file's name 'low_ipc'"),
        (lambda s: s.replace("id: low_ipc", "id: high_ipc"), "there is no rule 'high_ipc'"),
        (lambda s: s.replace("sm_90", "sm_89"), "unknown architecture 'sm_89'"),
        (lambda s: s.replace("metrics: ipc", "metrics: imaginary"), "unknown metric 'imaginary'"),
        (lambda s: s.replace("## Fixes", "## Ideas"), "the sections are"),
        (lambda s: s.replace("## Confirm", "## Confirm\n\n## Confirm"), "section Confirm is empty"),
        (lambda s: s.replace("`ipc`", "`ipx`"), "Signal: 'ipx' is no metric and no skill"),
        (lambda s: s.replace("Signal\n", "Signal\n\u00e9"), "not ASCII"),
        (lambda s: "", "the head lacks id"),
    ],
)  # fmt: skip
def test_a_fault_is_named(change, problem: str, tmp_path: Path) -> None:
    (tmp_path / "low_ipc.md").write_text(change(GOOD))
    found = [p for p in check(tmp_path) if p.startswith("low_ipc.md")]
    assert any(problem in p for p in found), found


def test_a_rule_without_a_skill_is_named(tmp_path: Path) -> None:
    (tmp_path / "low_ipc.md").write_text(GOOD)
    found = check(tmp_path)
    assert "rule poor_coalescing: no skill" in found and "rule low_ipc: no skill" not in found


def finding(rule: str, gain: float, cause: str = "") -> Finding:
    check = Prediction(metric="ipc", direction="up")
    return Finding.model_validate(
        {"rule": rule, "severity": "warning", "kernel": "k", "message": "m", "evidence": {}, "action": "a",
         "gain": gain, "prediction": check, "cause": cause}
    )  # fmt: skip


def diagnosis(edit: str, *findings: Finding) -> Diagnosis:
    check = Prediction(metric="ipc", direction="up")
    return Diagnosis.model_validate(
        {"kernel": "k", "bottleneck": "memory_bound", "because": "b", "findings": findings,
         "edit": NextEdit(rule=edit, edit="e", gain=0.1, check=check)}
    )  # fmt: skip


def test_the_next_edit_then_causes_then_symptoms_are_loaded() -> None:
    skills = load_skills()
    one = diagnosis(
        "poor_coalescing", finding("poor_coalescing", 0.5), finding("low_ipc", 0.4, "poor_coalescing"),
        finding("stall_barrier", 0.2), finding("low_occupancy", 0.1), finding("tail_effect", 0.05),
    )  # fmt: skip
    loaded = load_for([one], skills)
    assert [s.id for s in loaded.skills] == [
        "poor_coalescing", "stall_barrier", "low_occupancy", "tail_effect", "low_ipc",
    ]  # fmt: skip
    assert len(loaded.catalogue) == len(skills) - LOADED
    assert not any(line.startswith("poor_coalescing:") for line in loaded.catalogue)
    assert [s.id for s in load_for([one], skills, 2).skills] == ["poor_coalescing", "stall_barrier"]


def test_kernels_take_turns_and_what_is_no_skill_is_passed_over() -> None:
    skills = load_skills()
    first = diagnosis("no_finding")
    second = diagnosis("at_the_roof", finding("low_l2_hit", 0.0), finding("low_l1_hit", 0.0))
    third = diagnosis("stall_wait", finding("stall_wait", 0.3), finding("low_ipc", 0.1))
    assert [s.id for s in load_for([first, second, third], skills).skills] == [
        "at_the_roof", "stall_wait", "low_l2_hit", "low_l1_hit", "low_ipc",
    ]  # fmt: skip
    assert load_for([], skills).skills == ()
    assert load_for([], skills).catalogue == catalogue(skills)


def test_a_real_diagnosis_loads_its_skills() -> None:
    metrics = {"stall_long_scoreboard": 0.35, "issue_active": 0.1, "ipc": 0.3, "dram": 0.3, "sm": 0.2}
    kernel = KernelProfile(kernel="k", grid=(1, 1, 1), block=(32, 1, 1), metrics=metrics)
    diagnosed = diagnose(kernel, Target(hardware="cuda", device="d", architecture="sm_90"))
    loaded = load_for([diagnosed], load_skills())
    assert [s.id for s in loaded.skills] == ["stall_long_scoreboard", "low_ipc"]
    assert diagnosed.edit.rule == loaded.skills[0].id
    assert loaded.skills[0].full.startswith("# stall_long_scoreboard: ")
    assert all(f"## {section}" in loaded.skills[0].full for section in SECTIONS)


def test_the_glossary_has_terms_with_meanings() -> None:
    terms = glossary()
    assert {"warp", "sector", "wgmma", "hit rate"} <= set(terms)
    assert all(meaning for meaning in terms.values())


def test_any_text_is_a_skill_with_faults(tmp_path: Path) -> None:
    for text in ("", "---\n", "---\n---\n", "---\nid: low_ipc\n---\n## \n", "\x00"):
        assert parse(text).id in ("", "low_ipc")
        (tmp_path / "low_ipc.md").write_text(text)
        assert any(p.startswith("low_ipc.md") for p in check(tmp_path))
