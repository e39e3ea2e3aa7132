"""The study of the judge: its tables say counts, bounds and what was not run, and it ends when it should."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
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
        self.place = SimpleNamespace(number=7)

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
    assert time.monotonic() - began < 60
    assert 1 <= len(told) == lane.asked <= 5


def test_a_lane_that_dies_loses_one_job_and_the_others_go_on(modules: tuple[Any, Any]) -> None:
    told: list[dict[str, Any]] = []
    modules[1].run_jobs([ScriptedLane(0.0, dies=2), ScriptedLane(0.01)], jobs(12), time.monotonic() + 30, told.append)
    assert len(told) == 12
    assert sum("lost" in answer for answer in told) == 1


def test_answers_say_which_lane_they_are_from(modules: tuple[Any, Any]) -> None:
    told: list[dict[str, Any]] = []
    modules[1].run_jobs([ScriptedLane(0.0)], jobs(1), time.monotonic() + 30, told.append)
    assert told == [{"series": "s", "verdict": "same", "lane": 7}]


def test_lanes_share_no_core(modules: tuple[Any, Any]) -> None:
    made = list(modules[1].places([3, 5, 7, 8, 9], 2))
    assert [place.cores for place in made] == [(3, 5), (7, 8)]
    assert [place.gpu for place in made] == ["", ""]
    with pytest.raises(SystemExit, match="3 lanes need 3 cores"):
        list(modules[1].places([0, 1], 3))


def test_each_lane_has_a_gpu_for_itself(modules: tuple[Any, Any]) -> None:
    made = list(modules[1].places(range(64), 4, ["GPU-a", "GPU-b", "GPU-c", "GPU-d"]))
    assert [place.gpu for place in made] == ["GPU-a", "GPU-b", "GPU-c", "GPU-d"]
    assert sorted(core for place in made for core in place.cores) == list(range(64))
    assert made[2].said == "lane 2: cores 32-47, GPU 2"
    with pytest.raises(SystemExit, match="3 lanes need 3 GPUs; 2 are visible"):
        list(modules[1].places(range(64), 3, ["GPU-a", "GPU-b"]))


@pytest.mark.parametrize("siblings", [lambda n: f"{n % 4},{n % 4 + 4}", lambda n: f"{n // 2 * 2}-{n // 2 * 2 + 1}"])
def test_lanes_share_no_physical_core(modules: tuple[Any, Any], siblings: Callable[[int], str]) -> None:
    made = list(modules[1].places(modules[1].neighbours(range(8), siblings), 4))
    assert all(len({siblings(core) for core in place.cores}) == 1 for place in made)


def test_a_core_whose_sibling_is_not_ours(modules: tuple[Any, Any]) -> None:
    assert modules[1].neighbours([5, 6, 9], lambda n: f"{n},{n + 32}") == [5, 6, 9]


@pytest.mark.parametrize(("numbers", "said"), [((4,), "4"), ((0, 1, 2, 8), "0-2,8"), ((9, 1, 3, 2), "1-3,9")])
def test_spans(modules: tuple[Any, Any], numbers: tuple[int, ...], said: str) -> None:
    assert modules[1].spans(numbers) == said
    assert modules[1].unspanned(said) == sorted(numbers)


def environments(process: int) -> Iterator[dict[str, str]]:
    """Of a process and all that it started."""
    said = Path(f"/proc/{process}/environ").read_text().split("\0")
    yield dict(entry.split("=", 1) for entry in said if "=" in entry)
    for task in Path(f"/proc/{process}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from environments(int(child))


def test_a_lane_has_its_gpu_its_home_and_its_cores(modules: tuple[Any, Any], tmp_path: Path) -> None:
    place = modules[1].Place(1, (max(os.sched_getaffinity(0)),), "GPU-5")
    lane = modules[1].Lane(tmp_path / "lane-1", "cpu", place)
    try:
        assert "no-such-task" in lane.ask({"series": "s", "task": "no-such-task", "turns": None})["lost"]
        seen = next(environments(lane._process.pid))
        cores = os.sched_getaffinity(lane._process.pid)
    finally:
        lane.end()
    assert seen["CUDA_VISIBLE_DEVICES"] == "GPU-5"
    assert seen["WARPSMITH_HOME"] == str(tmp_path / "lane-1" / "home")
    assert seen["TMPDIR"] == str(tmp_path / "lane-1" / "tmp")
    assert cores == set(place.cores)


@pytest.mark.slow
def test_the_judge_of_a_lane_sees_its_gpu_and_workers_see_none(modules: tuple[Any, Any], tmp_path: Path) -> None:
    lane = modules[1].Lane(tmp_path / "lane-1", "cpu", modules[1].Place(1, (max(os.sched_getaffinity(0)),), "GPU-5"))
    seen: list[str | None] = []
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(lane.ask, {"series": "s", "task": "cpu", "turns": None})
        while not asked.done():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                seen += [e.get("CUDA_VISIBLE_DEVICES") for e in environments(lane._process.pid)]
            time.sleep(0.05)
    lane.end()
    assert asked.result()["verdict"] in ("same", "ambiguous")
    assert set(seen) == {"GPU-5", None}


def test_the_kinds_are_spread_evenly(modules: tuple[Any, Any]) -> None:
    order = [job["series"] for job in modules[0].mixed(modules[0].series("cpu", 20, 10, 5))]
    assert len(order) == 35
    for name, share in (("2 % less work", 10), ("5 % less work", 5), ("identical, memory-bound", 10)):
        assert abs(order[:14].count(name) - 14 * share / 35) <= 1


def test_a_table_says_what_was_wrong_and_what_was_not_run(modules: tuple[Any, Any]) -> None:
    same, _, two, _ = modules[0].series("cpu", 20, 10, 5)
    for verdict in ["same"] * 6 + ["faster", "slower"]:
        same.answers.append({"verdict": verdict, "log_effect": 0.0, "sd_over_pairs": 0.01, "detectable": 0.02,
                             "dropped": 3, "undone": False, "seconds": 4.0, "lane": 0, "part": 0})  # fmt: skip
    two.lost.append("its lane ended")
    record = same.record()
    assert record["wrong"] == {"seen": 2, "count": 8, "upper95": pytest.approx(0.5997, abs=1e-4)}
    assert record["not_run"] == 2
    assert record["holds"] is None
    none = two.record()
    assert (none["comparisons"], none["not_run"], none["holds"]) == (0, 9, None)
    assert none["wrong"]["upper95"] == 1.0
    place = modules[0].side_by_side.Place(0, (0, 1, 2, 5), "GPU-secret")
    lanes = modules[0].by_lane([same, two], [place], 0)
    part = {"command": ["x", "--y"], "at": "now", "seconds": 1.0, "machine": "m", "lanes": lanes}
    study = {"parts": [part], "judge": "3", "conditions": [], "target": {"device": "d"}, "table": [record, none]}
    study |= {"not_run": ["9 of 10 2 % less work: time was up"], "identical": modules[0].together([same, two])}
    page = modules[0].markdown(study)
    assert (
        "| identical, compute-bound | 8 of 10 | 1 faster, 6 same, 1 slower | 2 faster or slower | 25.0% | 60.0% |"
        in page
    )
    assert "- 9 of 10 2 % less work: time was up" in page
    assert study["identical"]["holds"] is False
    assert "Of 8 comparisons of identical candidates 2 were called different:\n25.0%" in page
    assert "| lane 0: cores 0-2,5, GPU 0 | 8 | 2 | +0.00% | 4.0 |" in page
    assert "`x --y`\n\nnow, 1 s in 1 lanes, m.\n" in page
    assert "secret" not in page + json.dumps(study)


@pytest.mark.parametrize(("verdicts", "holds"), [("s" * 10, True), ("s" * 39 + "f", True), ("s" * 38 + "ff", False)])
def test_identical_candidates_are_counted_together(modules: tuple[Any, Any], verdicts: str, holds: bool) -> None:
    """Two series, one verdict each in turn: what is wanted is wanted of both together."""
    kinds = modules[0].series("cpu", 40, 0, 0)
    for number, verdict in enumerate(verdicts):
        said = {"s": "same", "f": "faster"}[verdict]
        kinds[number % 2].answers.append({"verdict": said, "log_effect": 0.0})
    assert modules[0].together(kinds)["holds"] is holds


def test_a_second_call_runs_what_the_first_did_not(modules: tuple[Any, Any]) -> None:
    target = {"device": "d"}

    def asked() -> list[Any]:
        return list(modules[0].series("cpu", 4, 3, 0))

    first = asked()
    first[0].answers = [{"series": first[0].name, "verdict": "same", "log_effect": 0.1 * n} for n in range(2)]
    first[2].answers = [{"series": first[2].name, "verdict": "faster", "log_effect": 0.02}]
    first[2].lost.append("its lane ended")
    table = [{"what": s.name, "asked": s.wanted, "lost": s.lost} for s in first]
    answers = [a for s in first for a in s.answers]
    earlier = {"judge": modules[0].VERSION, "target": target, "table": table, "answers": answers}
    second = asked()
    modules[0].take_over(json.loads(json.dumps(earlier)), second, target)
    assert [s.answers for s in second] == [s.answers for s in first]
    assert sorted(job["series"] for job in modules[0].mixed(second)) == [second[2].name, *[second[1].name] * 2]
    for other in ({**earlier, "judge": "0"}, {**earlier, "target": {}}, {**earlier, "table": table[1:]}):
        with pytest.raises(SystemExit, match="another"):
            modules[0].take_over(other, asked(), target)


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
