"""The judge of captured kernels, on an original in C: replay, admission, what candidates must keep, and a sweep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.judge import apptask
from warpsmith.errors import BadInput
from warpsmith.judge.appinputs import CapturedInputs
from warpsmith.judge.machine import detect
from warpsmith.judge.numeric import NumpyNumeric
from warpsmith.model.captured import IDENTICAL
from warpsmith.model.evaluation import Effort, Evaluation, Status
from warpsmith.model.task import AppTask
from warpsmith.surface.workspace import Known, Workspace

FASTER = apptask.HEAD + (
    "void gather(const float *x, const int32_t *at, float *sums, int64_t n, float by) {\n"
    "    float s[8] = {0};\n"
    "    for (int64_t i = 0; i < n; ++i) s[i % 8] += x[at[i]];\n"
    "    for (int i = 0; i < 8; ++i) sums[i] += by * s[i];\n"
    "}\n"
)
WRONG = {
    "writes nothing": "",
    "stores instead of adding": FASTER.replace("sums[i] +=", "sums[i] ="),
    "leaves one element out": FASTER.replace("i < n;", "i < n - 1;"),
    "assumes the order of the indices": FASTER.replace("x[at[i]]", "x[i]"),
}


class Judge:
    """One warm session for all projects of this module."""

    def __init__(self, folder: Path) -> None:
        space = Workspace(folder)
        self.target = detect("cpu")
        self.executor = space.executor(folder / "steps", self.target, "test")

    def __call__(
        self, known: Known, root: Path, name: str, rival: str = "baseline", effort: Effort = Effort.check
    ) -> Evaluation:
        space = Workspace(root)
        sides = [space.candidate(known, n, "main") for n in (name, rival)]
        return space.measure(known, self.target, *sides, effort, "test", executor=self.executor)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    made = Judge(tmp_path_factory.mktemp("judge"))
    yield made
    made.executor.close()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Known]:
    root = tmp_path_factory.mktemp("project")
    return root, apptask.make(root)


def test_the_original_replays_to_the_bit_and_passes(project: tuple[Path, Known], judge: Judge) -> None:
    root, known = project
    found = judge(known, root, "baseline")
    assert found.status is Status.passed, found.detail
    assert any(c.startswith(IDENTICAL) for c in found.conditions)


def test_another_order_of_adding_is_right(project: tuple[Path, Known], judge: Judge) -> None:
    root, known = project
    apptask.candidate(root, "faster", FASTER)
    found = judge(known, root, "faster")
    assert found.status is Status.passed, found.detail


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if i == 0 else pytest.mark.slow) for i, n in enumerate(WRONG)]
)
def test_a_wrong_kernel_is_not(project: tuple[Path, Known], judge: Judge, name: str) -> None:
    root, known = project
    body = apptask.ORIGINAL.partition("{")[0]
    apptask.candidate(root, "wrong", WRONG[name] or f"{body}{{}}\n")
    found = judge(known, root, "wrong")
    assert found.status is Status.wrong_values, found.detail


def test_fixtures_that_tell_of_other_results_are_refused(tmp_path: Path, judge: Judge) -> None:
    known = apptask.make(tmp_path, wrong=True)
    with pytest.raises(BadInput, match="gives something else than in the application"):
        judge(known, tmp_path, "baseline")


def test_a_fixture_that_is_not_here_is_named(tmp_path: Path, judge: Judge) -> None:
    known = apptask.make(tmp_path)
    task = known.loaded.task
    (Workspace(tmp_path).home / "fixtures" / task.fixtures[0][:2] / task.fixtures[0]).unlink()
    with pytest.raises(BadInput, match="is not whole here"):
        judge(known, tmp_path, "baseline")


def test_contents_that_cannot_be_varied_are_said(tmp_path: Path, judge: Judge) -> None:
    known = apptask.make(tmp_path, constant=True)
    found = judge(known, tmp_path, "baseline")
    assert found.passed, found.detail
    assert any("nothing in them can be varied" in c for c in found.conditions)


def test_drawn_contents_are_new_and_in_range(project: tuple[Path, Known]) -> None:
    root, known = project
    task = known.loaded.task
    assert isinstance(task, AppTask)
    inputs = CapturedInputs(task, NumpyNumeric(), 1, Workspace(root).home / "fixtures")
    workload = task.workloads[0]
    as_it_was = inputs.draw(workload, "captured")
    drawn = [inputs.draw_timed(workload) for _ in range(6)]
    assert len({d["x"].tobytes() for d in (*drawn, as_it_was)}) == 7
    for one in drawn:
        assert sorted(one["at"]) == sorted(as_it_was["at"])
        assert not np.array_equal(one["at"], as_it_was["at"])
        for name in ("x", "sums"):
            assert one[name].dtype == np.float32
            assert as_it_was[name].min() <= one[name].min() <= one[name].max() <= as_it_was[name].max()


def test_a_slower_candidate_is_seen(project: tuple[Path, Known], judge: Judge) -> None:
    root, known = project
    slow = apptask.ORIGINAL.replace(
        "for (int64_t i", "for (int r = 0; r < WORK; ++r) { volatile float waste = 0; for (int64_t i = 0; i < n; ++i)"
        " waste += x[i]; }\n    for (int64_t i",
    )  # fmt: skip
    tunable = "\n[tunables.WORK]\nvalues = [0, 8]\ndefault = 8\n"
    apptask.candidate(root, "slow", slow, tunable)
    found = judge(known, root, "baseline", "slow", Effort.screen)
    assert found.passed, found.detail
    metric = found.workloads[0].metric("time")
    assert metric is not None
    assert max(metric.candidate) < min(metric.rival)
