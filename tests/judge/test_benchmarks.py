"""The benchmarks of the judge, as far as they need no GPU: what they measure, and what their tables say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import ncu_accuracy, screen_speed
from benchmarks.ncu_accuracy import CASES, Worker, compared, interval
from warpsmith.judge.plan import make_plan
from warpsmith.model.target import Target
from warpsmith.surface.workspace import Workspace

H200 = Target(hardware="cuda", device="NVIDIA H200", architecture="sm_90a", facts={"SM_COUNT": 132})


@pytest.mark.parametrize("name", screen_speed.TOOLCHAINS)
def test_a_toolchain_has_enough_different_candidates(name: str, tmp_path: Path) -> None:
    field = screen_speed.TOOLCHAINS[name][0](Workspace(screen_speed.ROOT, {"home": str(tmp_path)}))
    assert len({c.id for c in field.candidates}) == screen_speed.COUNT + 1
    assert {c.toolchain for c in field.candidates} == {name}
    task = field.known.loaded.kernel
    assert task is not None
    assert task.contract == ("host" if name == "tvm-ffi" else "device")
    for candidate in field.candidates if name == "cuda" else ():
        assert all(make_plan(task, w, candidate, H200).launches for w in task.workloads)


def test_the_parts_of_a_screen_add_up_and_a_fault_has_its_row(tmp_path: Path) -> None:
    field = screen_speed.cuda(Workspace(screen_speed.ROOT, {"home": str(tmp_path)}))
    phases = {"build": 0.1, "start": 0.05, "verify": 0.2, "hidden": 0.0, "time": 0.3}
    common = {"effort": "screen", "parameters": {"A": 1}, "wall_s": 0.9}
    passed = {**common, "status": "passed", "judge_s": 0.7, "phases": phases, "disturbed": None}
    rows = [passed | {"counted": False, "judge_s": 9.0}, passed | {"counted": True}]
    rows.append({**common, "counted": True, "status": "fault", "detail": "lost"})
    parts = screen_speed.split(rows[1])
    assert sum(parts[p] for p in ("build", "verify", "timing", "rest")) == pytest.approx(parts["all"]) == 0.7
    document = screen_speed.told("cuda", field.known, H200, rows)
    assert (document["screens"], document["median_s"]) == (1, 0.7)
    assert json.loads(json.dumps(document)) and "| fault | - |" in screen_speed.table(document)


def test_every_case_names_a_workload_of_its_task(tmp_path: Path) -> None:
    space = Workspace(ncu_accuracy.ROOT, {"home": str(tmp_path)})
    assert len(CASES) >= 6
    for case in CASES:
        known = space.task(str(case.task))
        assert case.workload in {w.name for w in known.loaded.head.workloads}
        assert space.candidate(known, case.candidate, "main").launch


def test_a_ratio_has_an_interval_and_a_failure_its_reason() -> None:
    ours, theirs = [30.0, 31.0, 32.0, 31.5, 30.5], [30.2, 30.4, 30.6, 30.3, 30.5]
    low, high = interval(ours, theirs)
    assert low < 31.0 / 30.4 < high
    scaled = [[t * 1e-6 for t in times] for times in (ours, theirs)]
    row = compared(CASES[0], {"judge_s": scaled[0], "ncu_s": scaled[1]}, 2.0)
    assert (row["counts"], row["agrees"]) == (True, True)
    lost = compared(CASES[0], {"failed": "no result within 20 s"}, 20.0)
    head = {"command": "x", "target": None, "counted": 1, "agree": 1}
    table = ncu_accuracy.table(head | {"cases": [row, lost]})
    assert "1 of 1 kernels" in table and "no result within 20 s" in table


def test_a_process_that_is_late_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ncu_accuracy, "START_S", 0.01)
    worker = Worker(str(tmp_path))
    for _ in range(2):  # and the next case has a process of its own
        assert worker.ask(0, until=1e18) == {"failed": "no result within 0 s"}
    worker.close()
