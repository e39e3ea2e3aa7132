"""The study of the judge: its tables say counts, bounds and what was not run, and it ends when it should."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

STUDY = Path(__file__).parents[2] / "benchmarks" / "study"


@pytest.fixture(scope="module")
def modules() -> Iterator[tuple[Any, Any]]:
    sys.path.insert(0, str(STUDY))
    try:
        import judge_study
        import lanes

        yield judge_study, lanes
    finally:
        sys.path.remove(str(STUDY))


class ScriptedLane:
    """Answers after a while; dies at its ``dies``-th job."""

    def __init__(self, seconds: float, dies: int = 10**9) -> None:
        self.seconds, self.dies, self.asked = seconds, dies, 0

    def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        self.asked += 1
        time.sleep(self.seconds)
        if self.asked >= self.dies:
            return {"series": job["series"], "lost": "its lane ended", "ended": True}
        return {"series": job["series"], "verdict": "same"}


def jobs(count: int) -> list[dict[str, Any]]:
    return [{"series": "s", "task": "cpu", "turns": None}] * count


def test_all_jobs_are_done_where_there_is_time(modules: tuple[Any, Any]) -> None:
    told: list[dict[str, Any]] = []
    modules[1].run_jobs([ScriptedLane(0.0), ScriptedLane(0.0)], jobs(9), time.monotonic() + 30, told.append)
    assert len(told) == 9


def test_it_ends_in_time_and_begins_nothing_that_would_not(modules: tuple[Any, Any]) -> None:
    told: list[dict[str, Any]] = []
    lane = ScriptedLane(0.1)
    began = time.monotonic()
    modules[1].run_jobs([lane], jobs(100), began + 0.5, told.append)
    assert time.monotonic() - began < 5
    assert 1 <= len(told) == lane.asked <= 5


def test_a_lane_that_dies_loses_one_job_and_the_others_go_on(modules: tuple[Any, Any]) -> None:
    told: list[dict[str, Any]] = []
    modules[1].run_jobs([ScriptedLane(0.0, dies=2), ScriptedLane(0.01)], jobs(12), time.monotonic() + 30, told.append)
    assert len(told) == 12
    assert sum("lost" in answer for answer in told) == 1


def test_lanes_share_no_core(modules: tuple[Any, Any]) -> None:
    assert list(modules[1].split([3, 5, 7, 8, 9], 2)) == [(3, 5), (7, 8)]
    with pytest.raises(SystemExit, match="3 lanes need 3 cores"):
        list(modules[1].split([0, 1], 3))


def test_the_kinds_are_spread_evenly(modules: tuple[Any, Any]) -> None:
    order = [job["series"] for job in modules[0].mixed(modules[0].series("cpu", 20, 10, 5))]
    assert len(order) == 35
    for name, share in (("2 % less work", 10), ("5 % less work", 5), ("identical, memory-bound", 10)):
        assert abs(order[:14].count(name) - 14 * share / 35) <= 1


def test_a_table_says_what_was_wrong_and_what_was_not_run(modules: tuple[Any, Any]) -> None:
    same, _, two, _ = modules[0].series("cpu", 20, 10, 5)
    for verdict in ["same"] * 6 + ["faster", "slower"]:
        same.answers.append({"verdict": verdict, "log_effect": 0.0, "sd_over_pairs": 0.01, "detectable": 0.02,
                             "dropped": 3, "undone": False, "seconds": 4.0})  # fmt: skip
    two.lost.append("its lane ended")
    record = same.record()
    assert record["wrong"] == {"seen": 2, "count": 8, "upper95": pytest.approx(0.5997, abs=1e-4)}
    assert record["not_run"] == 2
    assert record["holds"] is False
    none = two.record()
    assert (none["comparisons"], none["not_run"], none["holds"]) == (0, 9, None)
    assert none["wrong"]["upper95"] == 1.0
    study = {"command": ["x"], "at": "now", "judge": "3", "seconds": 1.0, "lanes": 1, "machine": "m", "conditions": []}
    study |= {"target": {"device": "d"}, "not_run": ["9 of 10 2 % less work: time was up"], "table": [record, none]}
    page = modules[0].markdown(study)
    assert (
        "| identical, compute-bound | 8 of 10 | 1 faster, 6 same, 1 slower | 2 faster or slower | 25.0% | 60.0% |"
        in page
    )
    assert "- 9 of 10 2 % less work: time was up" in page


@pytest.mark.slow
def test_the_whole_study_runs_in_lanes_of_its_own_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(STUDY / "judge_study.py"), "--hardware", "cpu", "--same", "2", "--five", "1"]
    environment = {**os.environ, "PYTHONPATH": str(STUDY.parents[1]), "TMPDIR": str(tmp_path)}
    subprocess.run(
        [*command, "--seconds", "100", "--output", str(tmp_path / "out")],
        env=environment, check=False, timeout=110, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    study = json.loads((tmp_path / "out.json").read_text())
    assert sum(s["comparisons"] + s["not_run"] + len(s["lost"]) for s in study["table"]) == 3
    assert [s["comparisons"] for s in study["table"]] == [1, 1, 1]
    assert "Everything that was asked for was run." in (tmp_path / "out.md").read_text()
    assert not list(tmp_path.glob("judge-study-*"))
