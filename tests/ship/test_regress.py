"""regress: intervals, thresholds, what is gone, and that the report is there before the exit status."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ship.things import CALLGRIND, TASK, Scripted, promote, scripted
from warpsmith.analyse.regress import Key, Quantity, fails, regress
from warpsmith.errors import BadInput
from warpsmith.model.profile import Profile
from warpsmith.profilers import callgrind
from warpsmith.surface import regressing
from warpsmith.surface.answers_ship import RegressAnswer
from warpsmith.surface.regressing import run_regress

KEY: Key = ("k", "w", "time")


def samples(mean: float, spread: float, count: int = 10, seed: int = 1) -> Quantity:
    rng = random.Random(seed)
    drawn = tuple(mean * math.exp(rng.gauss(0, spread)) for _ in range(count))
    return Quantity(drawn, mean)


@pytest.mark.parametrize(
    ("before", "after", "outcome"),
    [
        (1.0, 1.2, "regressed"),
        (1.0, 1.01, "same"),
        (1.0, 0.8, "improved"),
        (1.0, 1.021, "unclear"),
    ],
)
def test_the_interval_decides(before: float, after: float, outcome: str) -> None:
    found = regress({KEY: samples(before, 0.002)}, {KEY: samples(after, 0.002, seed=2)}, 0.02)
    assert [c.outcome for c in found] == [outcome], found
    assert found[0].low is not None and found[0].high is not None and found[0].low < found[0].high


def test_noise_is_no_regression() -> None:
    found = regress({KEY: samples(1.0, 0.1)}, {KEY: samples(1.05, 0.1, seed=2)}, 0.02)
    assert found[0].outcome == "unclear" and not fails(found)


@given(st.floats(0.01, 0.99), st.floats(0.0, 0.5))
def test_an_improvement_never_fails(after: float, threshold: float) -> None:
    for spread in (0.0, 0.001):
        found = regress({KEY: samples(1.0, spread)}, {KEY: samples(after, spread, seed=2)}, threshold)
        assert found[0].outcome != "regressed"
    assert not fails(regress({KEY: Quantity((10.0,), 10)}, {KEY: Quantity((10.0 * after,), 10 * after)}, threshold))


def test_equal_distributions_are_rarely_called_a_regression() -> None:
    called = sum(
        fails(regress({KEY: samples(1, 0.02, seed=2 * i)}, {KEY: samples(1, 0.02, seed=2 * i + 1)}, 0.0))
        for i in range(400)
    )
    assert called <= 400 * 0.05, "one side of a 95 % interval: 2.5 %"


def test_what_is_gone_or_fails_now_fails_and_what_is_new_does_not() -> None:
    good, bad = samples(1.0, 0.001), Quantity((), math.nan, failed="crashed: signal 11")
    one, other = ("a", "w", "time"), ("b", "w", "time")
    assert [c.outcome for c in regress({one: good, other: good}, {one: good}, 0.02)] == ["missing", "same"]
    assert [c.outcome for c in regress({one: good}, {one: good, other: good}, 0.02)] == ["same", "new"]
    assert [c.outcome for c in regress({one: good}, {one: bad}, 0.02)] == ["failed"]
    assert not fails(regress({one: bad}, {one: bad}, 0.02)), "it failed before"
    assert [c.outcome for c in regress({one: bad}, {one: good}, 0.02)] == ["new"]


def test_counts_have_no_spread() -> None:
    def one(before: float, after: float) -> str:
        return regress({KEY: Quantity((before,), before)}, {KEY: Quantity((after,), after)}, 0.02)[0].outcome

    assert [one(100, 101), one(100, 103), one(100, 90), one(0, 0), one(0, 5), one(5, 0)] == [
        "same", "regressed", "improved", "same", "regressed", "improved",
    ]  # fmt: skip


def pair(root: Path, after: dict[str, float]) -> Scripted:
    """A project with a release, and another one that is ``after`` times the baseline's speed."""
    space = scripted(root)
    assert promote(space, "1").released
    space.script.speedups = after
    assert promote(space, "2").released
    return space


def test_two_releases(tmp_path: Path) -> None:
    space = pair(tmp_path, {"4M": 1.2, "odd": 1.4})
    output = tmp_path / "out/regression.json"
    answer = run_regress(space, f"{TASK}@1", f"{TASK}@2", 0.02, output, "time")
    assert answer.exit_status == 1
    assert {c.workload: c.outcome for c in answer.changes} == {"4M": "regressed", "odd": "same"}
    assert "same rival" in answer.notes[0]
    assert RegressAnswer.model_validate_json(output.read_bytes()) == answer
    assert "| regressed |" in output.with_suffix(".md").read_text()
    back = run_regress(space, f"{TASK}@2", f"{TASK}@1", 0.02, output, "time")
    assert back.exit_status == 0 and {c.outcome for c in back.changes} == {"improved", "same"}
    assert run_regress(space, f"{TASK}@1", f"{TASK}@2", 0.3, output, "time").exit_status == 0


def test_two_benchmark_reports_beside_other_rivals(tmp_path: Path) -> None:
    space = pair(tmp_path, {"4M": 1.5, "odd": 1.4})
    paths = [tmp_path / "releases/my/axpy" / v / "benchmark.json" for v in "12"]
    other = json.loads(paths[1].read_text())
    other["rival"] = "0" * 64
    changed = tmp_path / "other.json"
    changed.write_text(json.dumps(other))
    answer = run_regress(space, str(paths[0]), str(changed), 0.02, tmp_path / "r.json", "time")
    assert "rivals differ" in answer.notes[0] and answer.exit_status == 0


def test_a_candidate_that_fails_now(tmp_path: Path) -> None:
    space = pair(tmp_path, {"4M": 1.5, "odd": 1.4})
    path = tmp_path / "releases/my/axpy/2/benchmark.json"
    said = json.loads(path.read_text())
    evaluation = said["entries"][0]["evaluation"]
    evaluation |= {"status": "crashed", "detail": "signal 11", "workloads": []}
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(said))
    answer = run_regress(space, f"{TASK}@1", str(broken), 0.02, tmp_path / "r.json", "time")
    assert answer.exit_status == 1
    assert {c.outcome for c in answer.changes} <= {"failed", "missing", "new", "same"}
    assert any(c.outcome in ("failed", "missing") for c in answer.changes)


def test_two_profiles(tmp_path: Path) -> None:
    space = scripted(tmp_path)
    paths = []
    for name, more in (("before", 100), ("after", 140)):
        counts = callgrind.parse(CALLGRIND.replace("+2 100", f"+2 {more}"))
        kernel = callgrind.profile(counts, "kernel", {})
        made = Profile(candidate="0" * 64, tool="valgrind 3.19", workload="4M", kernels=(kernel,))
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(made.model_dump_json())
    answer = run_regress(space, str(paths[0]), str(paths[1]), 0.02, tmp_path / "r.json", "time")
    assert {c.metric: c.outcome for c in answer.changes}["cpu_instructions"] == "regressed"
    assert answer.exit_status == 1
    wrapped = tmp_path / "wrapped.json"
    wrapped.write_text(json.dumps({"profile": json.loads(paths[0].read_text())}))
    assert run_regress(space, str(paths[0]), str(wrapped), 0.02, tmp_path / "r.json", "time").exit_status == 0


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    space = pair(tmp_path, {"4M": 1.5, "odd": 1.4})
    nonsense, profile = tmp_path / "nonsense.json", tmp_path / "profile.json"
    nonsense.write_text("[1, 2")
    profile.write_text(Profile(candidate="0" * 64, tool="valgrind 3", kernels=()).model_dump_json())
    said = json.loads((tmp_path / "releases/my/axpy/1/benchmark.json").read_text())
    said["environment"]["target"]["device"] = "another"
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text(json.dumps(said))
    for current, message, threshold in (
        (str(nonsense), "neither a benchmark report", 0.02),
        (str(profile), "is a benchmark, and", 0.02),
        (str(elsewhere), "never compared", 0.02),
        (f"{TASK}@9", "no such file", 0.02),
        (f"{TASK}@2", "--threshold", 2.0),
    ):
        with pytest.raises(BadInput, match=message):
            run_regress(space, f"{TASK}@1", current, threshold, tmp_path / "r.json", "time")
    assert not (tmp_path / "r.json").exists()


def test_the_report_is_written_before_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = pair(tmp_path, {"4M": 1.2, "odd": 1.4})
    written: list[Path] = []

    def failing(path: Path, content: str) -> None:
        written.append(path)
        raise OSError("the disk is full")

    monkeypatch.setattr(regressing, "write_atomic", failing)
    with pytest.raises(OSError, match="disk is full"):
        run_regress(space, f"{TASK}@1", f"{TASK}@2", 0.02, tmp_path / "r.json", "time")
    assert written == [tmp_path / "r.json"]
