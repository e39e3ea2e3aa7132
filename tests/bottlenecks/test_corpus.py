"""The rules against real profiles: kernels built to have one bottleneck each, tuned ones, and everyday ones.

The golden files were made on an H200 by scripts/collect-bottlenecks from manifest.toml, which says what is true of each
kernel. A *claim* is a finding that is no symptom and promises a material gain, or names the roof: what a reader would
act on. Run with -s to see the counts.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from warpsmith.analyse.diagnose import MATERIAL, ROOF_RULES, diagnose
from warpsmith.analyse.rules import AT_THE_ROOF, NO_FINDING, rules
from warpsmith.model.metrics import METRICS
from warpsmith.model.profile import Diagnosis, KernelProfile
from warpsmith.model.target import Target

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "golden/bottlenecks"
MANIFEST: dict[str, dict[str, Any]] = tomllib.loads((HERE / "manifest.toml").read_text())
CLEAN = [name for name, kernel in MANIFEST.items() if kernel.get("clean")]
MEASURED = {"dram": 4.28e12}
"""Bytes per second of a plain copy of 4 GiB on an H200 (docs/lab-notes.md)."""
NEVER_MET = {"compulsory_bytes"}
"""What no profiler gives; the manifest does, where it can be said."""


@dataclass(frozen=True)
class Case:
    """One kernel with what is true of it and what was made of its profile."""

    profile: KernelProfile
    diagnosis: Diagnosis
    expects: frozenset[str]
    allows: frozenset[str]

    @property
    def fired(self) -> set[str]:
        return {f.rule for f in self.diagnosis.findings}

    @property
    def claims(self) -> set[str]:
        heads = set(ROOF_RULES.values())
        return {f.rule for f in self.diagnosis.findings if not f.cause and (f.gain >= MATERIAL or f.rule in heads)}

    @property
    def wrong(self) -> set[str]:
        return self.claims - self.expects - self.allows


@lru_cache(maxsize=1)
def cases() -> dict[str, Case]:
    found = {}
    for name, kernel in MANIFEST.items():
        golden = json.loads((GOLDEN / f"{name}.json").read_text())
        profile = KernelProfile.model_validate(golden["profile"])
        answer = diagnose(profile, Target.model_validate(golden["target"]))
        found[name] = Case(profile, answer, frozenset(kernel["expects"]), frozenset(kernel.get("allows", ())))
    return found


@pytest.mark.parametrize("rule", rules())
def test_every_rule_is_found_on_a_kernel_that_has_it_and_silent_on_a_clean_one(rule: str) -> None:
    having = [name for name, case in cases().items() if rule in case.expects]
    assert having, "no kernel of the corpus has this bottleneck"
    missed = [name for name in having if rule not in cases()[name].fired]
    assert not missed
    assert any(rule not in cases()[name].fired for name in CLEAN)
    assert not any(rule in cases()[name].wrong for name in CLEAN), "a clean kernel is blamed"


def test_recall_is_complete_and_precision_at_least_nine_in_ten() -> None:
    some = cases()
    expected = sum(len(case.expects) for case in some.values())
    met = sum(len(case.expects & case.fired) for case in some.values())
    claims = sum(len(case.claims) for case in some.values())
    wrong = {name: sorted(case.wrong) for name, case in some.items() if case.wrong}
    right = claims - sum(map(len, wrong.values()))
    print(f"{len(some)} kernels, recall {met}/{expected}, precision {right}/{claims}, wrong: {wrong}")
    assert met == expected
    assert right / claims >= 0.9


@pytest.mark.parametrize("name", MANIFEST)
def test_bottleneck_and_next_edit_are_the_true_ones(name: str) -> None:
    answer, said = cases()[name].diagnosis, MANIFEST[name]
    assert answer.bottleneck == said.get("bottleneck", answer.bottleneck)
    assert answer.edit.rule == said.get("edit", answer.edit.rule)
    if said.get("clean"):
        assert answer.edit.rule in {AT_THE_ROOF, NO_FINDING} | cases()[name].expects | cases()[name].allows


@pytest.mark.parametrize("name", CLEAN)
def test_measured_ceilings_leave_a_clean_kernel_clean(name: str) -> None:
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    answer = diagnose(cases()[name].profile, Target.model_validate(golden["target"]), MEASURED)
    claimed = {f.rule for f in answer.findings if not f.cause and f.gain >= MATERIAL}
    assert claimed <= cases()[name].expects | cases()[name].allows


@pytest.mark.parametrize("name", MANIFEST)
def test_the_quick_effort_suffices_for_every_rule(name: str) -> None:
    case = cases()[name]
    quick = {k: v for k, v in case.profile.metrics.items() if METRICS[k].quick}
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    answer = diagnose(case.profile.model_copy(update={"metrics": quick}), Target.model_validate(golden["target"]))
    unknown = NEVER_MET - case.profile.metrics.keys()
    assert set(answer.not_evaluated) == {r.id for r in rules().values() if r.needed & unknown}
    assert answer.edit == case.diagnosis.edit


@pytest.mark.parametrize(
    ("name", "rule", "text"),
    [
        ("column_sums", "smem_bank_conflicts", "tile[lane]"),
        ("uneven_block", "stall_barrier", "value += shared"),
        ("fences", "stall_membar", "__threadfence"),
        ("one_field", "poor_coalescing", "p[i].mass"),
        ("local_array", "local_memory_spills", "bins["),
    ],
)
def test_a_finding_points_at_the_line_that_has_it(name: str, rule: str, text: str) -> None:
    told = next(f for f in cases()[name].diagnosis.findings if f.rule == rule)
    assert any(text in line.text for line in told.lines), [line.text for line in told.lines]
    assert all(line.sass for line in told.lines)


def test_the_vendor_agrees_with_a_good_part_of_what_is_claimed() -> None:
    claims = [f for case in cases().values() for f in case.diagnosis.findings if f.rule in case.claims]
    could = [f for f in claims if rules()[f.rule].agrees]
    agreed = [f for f in could if f.agreed]
    print(f"the vendor could say {len(could)} of {len(claims)} claims and says {len(agreed)}")
    assert len(agreed) >= len(could) / 2


def test_golden_files_are_those_of_the_manifest_and_small() -> None:
    files = {path.stem: path.stat().st_size for path in GOLDEN.glob("*.json")}
    assert files.keys() == MANIFEST.keys()
    assert sum(files.values()) < 1 << 20
    assert all((HERE / "kernels" / kernel["source"]).is_file() for kernel in MANIFEST.values())
    assert len(CLEAN) >= 12
