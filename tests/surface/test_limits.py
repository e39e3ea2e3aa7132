"""What limits the best candidate, in the report: bottleneck, findings, stalls and roofs beside the source."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import BASELINE, ENTRY, KERNEL, FakeCrew, campaign, ledger_path
from tests.knowledge.things import GIFT, ledger_folder, run
from tests.projects import project
from warpsmith.analyse.standing import standing
from warpsmith.campaign import optimize
from warpsmith.judge.machine import detect
from warpsmith.model.campaign import Finished
from warpsmith.model.profile import Advice, KernelProfile, Profile, SourceLine
from warpsmith.model.step import Explain, Fault, Outcome, Step
from warpsmith.store.history import History
from warpsmith.store.ledger import Ledger
from warpsmith.surface.report import render_html, render_markdown
from warpsmith.surface.reporting import write_report
from warpsmith.surface.view import View, view

HOSTILE = "</code><script>alert(1)</script>"
WAITING = KernelProfile(
    kernel="axpy",
    grid=(1024, 1, 1),
    block=(256, 1, 1),
    registers=32,
    metrics={
        "duration": 1e-4, "dram": 0.35, "sm": 0.2, "memory": 0.35, "l2": 0.3, "stall_long_scoreboard": 0.62,
        "stall_wait": 0.1, "ipc": 0.3, "occupancy": 0.3, "dram_bytes": 3e8, "load_sectors": 8e6, "load_requests": 2.5e5,
        "issue_active": 0.1, "waves_per_sm": 4.0, "sectors_over_ideal": 4.0,
    },
    lines=(
        SourceLine(file="k.c", line=7, text=f"y[i] = x[i * 32]; {HOSTILE}", samples=0.7, stall="stall_long_scoreboard",
                   sass=("LDG.E R2, [R2.64]",)),
        SourceLine(file="k.c", line=9, text="y[i] += 1;", samples=0.1, stall="stall_wait"),
    ),
    advice=(Advice(rule="UncoalescedGlobalAccess", kind="OPT", message="strided", speedup=0.4, scope="global"),),
)  # fmt: skip


class Crew(FakeCrew):
    def __init__(self, outcome: Outcome | None) -> None:
        super().__init__(KERNEL)
        self.outcome = outcome

    def _outcome(self, step: Step, history: History) -> Outcome:
        if not isinstance(step, Explain):
            return super()._outcome(step, history)
        if self.outcome is not None:
            return self.outcome
        return Profile(candidate=step.candidate, tool="ncu 2025.3.1", workload="small", kernels=(WAITING,),
                       conditions=("cache: cold",))  # fmt: skip


def seen(folder: Path, outcome: Outcome | None = None, explain: bool = True) -> View:
    with Ledger(ledger_path(folder)) as ledger:
        h = optimize(campaign(KERNEL, explain=explain), Crew(outcome), ledger, (BASELINE, ENTRY))
    return view(h, KERNEL, {"dram": 4.0e12})


def test_the_view_holds_the_diagnosis_of_the_best(tmp_path: Path) -> None:
    made = seen(tmp_path)
    assert made.limits is not None and made.limits.candidate == made.best and made.limits.best
    (kernel,) = made.limits.kernels
    assert kernel.diagnosis.bottleneck == "latency_bound"
    assert [stall.key for stall in kernel.stalls] == ["stall_long_scoreboard", "stall_wait"]
    assert {f.rule for f in kernel.diagnosis.findings} >= {"stall_long_scoreboard", "low_ipc"}
    assert kernel.lines[0].findings, "a finding points at the hottest line"
    assert View.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize("kind", ["html", "markdown"])
def test_both_reports_say_what_limits_it(tmp_path: Path, kind: str) -> None:
    made = seen(tmp_path)
    page = render_html(made, {"k.c": "x"}, "0") if kind == "html" else render_markdown(made, "0")
    assert made.limits is not None
    diagnosis = made.limits.kernels[0].diagnosis
    for said in ("What limits it", "latency bound", diagnosis.edit.rule, "low_ipc", "k.c:7", "ncu 2025.3.1"):
        assert said in page, said
    assert "62" in page and "waits for global, local or texture memory" in page
    if kind == "html":
        assert "<script>" not in page and "&lt;script&gt;" in page
        assert page.count("<meter ") == len(made.limits.kernels[0].roofs) + len(made.limits.kernels[0].stalls)


def test_a_campaign_without_a_profile_says_why(tmp_path: Path) -> None:
    made = seen(tmp_path, Fault(what="no profile", detail="ncu may not read the counters", final=True))
    assert made.limits is None
    for page in (render_html(made, {}, "0"), render_markdown(made, "0")):
        assert "ncu may not read the counters" in page and "went on without" in page


def test_a_campaign_that_was_not_to_profile_says_that(tmp_path: Path) -> None:
    made = seen(tmp_path, explain=False)
    assert made.limits is None and made.unexplained == ""
    assert "No\nleader was profiled" in render_html(made, {}, "0")
    assert "No leader was profiled" in render_markdown(made, "0")


TWO_CAUSES = {
    "sectors_over_ideal": 4.0, "ideal_sectors": 1e6, "l2_bytes": 128e6, "l1": 0.6, "l2": 0.1, "dram": 0.1,
    "stall_long_scoreboard": 0.1, "stall_lg_throttle": 0.0, "stall_barrier": 0.42, "issue_active": 0.05,
    "duration": 1e-3,
}  # fmt: skip
"""poor_coalescing promises 45 % of the time, stall_barrier 40 %."""


def explained(identity: str) -> Finished:
    kernel = KernelProfile(kernel="axpy", grid=(1, 1, 1), block=(256, 1, 1), metrics=TWO_CAUSES)
    outcome = Profile(candidate=identity, tool="ncu", kernels=(kernel,))
    return Finished(step=Explain(candidate=identity, round=0), outcome=outcome, seconds=1.0, at=0.0)


def test_the_report_trusts_a_rule_as_far_as_every_campaign_on_the_device_bears_it_out(tmp_path: Path) -> None:
    space, device = project(tmp_path), detect("cpu")
    known = space.task("my/axpy")
    task = known.loaded.kernel
    assert task is not None
    with Ledger(ledger_folder(tmp_path, "my/axpy") / "ledger.jsonl") as ledger:
        space.blobs.put(b"entry")
        h = optimize(campaign(task, target=device), FakeCrew(task), ledger, (BASELINE, ENTRY))
        ledger.append(explained(standing(h).best))
    _, page = write_report(space, known, "main")
    assert "Next edit (`poor_coalescing`" in Path(page).read_text()

    elsewhere = ledger_folder(tmp_path)
    run(elsewhere, target=device)
    with Ledger(elsewhere / "ledger.jsonl") as ledger:
        ledger.append(explained(ENTRY.id))
        ledger.append(explained(GIFT.id))  # its memo answers poor_coalescing, and nothing moved
    _, page = write_report(space, known, "main")
    assert "Next edit (`stall_barrier`" in Path(page).read_text()
