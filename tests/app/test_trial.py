"""Trials without a device: an application that does what the injection library would, and writes its log."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.app.building import PROGRAMS
from tests.app.capturing import TRANSPOSE, transposes
from warpsmith.app.capturetask import Signature, TaskMaker
from warpsmith.app.fixtures import Fixtures
from warpsmith.app.injection import SwapRule
from warpsmith.app.running import App
from warpsmith.app.swapping import planned, rules
from warpsmith.app.trial import Bench, Trial, Wish, metric_of, recorded
from warpsmith.errors import BadInput
from warpsmith.model.candidate import Candidate, Launch, Scratch, SourceFile
from warpsmith.model.launch import Launch as Seen
from warpsmith.model.task import AppTask
from warpsmith.surface.trying import status

NAMES = ("in", "out", "shape", "scale")
USUAL = Wish(pairs=3)
GRID = ("(shape_4 + 31) // 32", "(shape_0 + 31) // 32", 1)


def task_of(folder: Path) -> tuple[AppTask, tuple[Seen, ...]]:
    run = transposes(folder)
    maker = TaskMaker("captured/t", run.observed(), run.taken(), Fixtures(folder / "home"), Signature(NAMES, ()))
    return maker.make(("app",)), tuple(run.launches)


def candidate(**changes: object) -> Candidate:
    launch = {"kernel": "tiled", "grid": GRID, "block": (32, 8, 1), "arguments": NAMES, **changes}
    return Candidate(
        toolchain="cuda", entry="tiled", sources=(SourceFile(path="k.cu", content="0" * 64),),
        launch=(Launch.model_validate(launch),),
    )  # fmt: skip


def application(folder: Path, behaviour: str, fast: float = 50.0) -> App:
    program = (sys.executable, str(PROGRAMS / "live.py"), behaviour, "100", str(fast))
    return App(program, folder, dict(os.environ))


def tried(folder: Path, behaviour: str, wish: Wish = USUAL, fast: float = 50.0) -> Trial:
    task, _ = task_of(folder)
    image = folder / "candidate.cubin"
    image.write_bytes(b"\x7fELF")
    said = application(folder, behaviour, fast)
    seen = recorded(said, Path("/lib/none.so"), TRANSPOSE, 20, f"recorded-{folder}")
    found = rules(candidate(), task, seen.launches, image, {})
    bench = Bench(said, Path("/lib/none.so"), TRANSPOSE, frozenset({"tiled"}), found.rules, wish, f"trial-{folder}")
    return bench.trial(found.covered / found.launches)


def test_a_plan_becomes_rules_with_its_numbers(tmp_path: Path) -> None:
    task, launches = task_of(tmp_path)
    image = tmp_path / "c.cubin"
    found = rules(candidate(), task, launches, image, {})
    assert {(r.grid, r.block, r.new_grid, r.new_block, r.where) for r in found.rules} == {
        ((3, 4, 1), (16, 16, 1), (2, 2, 1), (32, 8, 1), ()), ((5, 3, 1), (16, 16, 1), (3, 2, 1), (32, 8, 1), ()),
    }  # fmt: skip
    assert (found.launches, found.covered) == (2, 2)
    assert all((r.symbol, r.image, r.entry, r.shared_bytes) == (TRANSPOSE, image, "tiled", 0) for r in found.rules)


def test_launches_of_one_shape_that_need_several_answers_are_told_apart_by_their_bytes(tmp_path: Path) -> None:
    task, launches = task_of(tmp_path)
    other = launches[0].parameters[:16] + (61).to_bytes(4, "little") + launches[0].parameters[20:]
    changed = Seen(*(getattr(launches[0], f) if f != "parameters" else other for f in Seen.__slots__))
    found = rules(candidate(grid=("shape_0", 1, 1)), task, (launches[0], changed), tmp_path / "c", {})
    assert {(r.new_grid[0], r.where) for r in found.rules} == {
        (64, ((16, (64).to_bytes(4, "little")),)), (61, ((16, (61).to_bytes(4, "little")),)),
    }  # fmt: skip


def test_what_cannot_stand_for_the_original_is_refused(tmp_path: Path) -> None:
    task, launches = task_of(tmp_path)
    for changed, why in (
        (candidate(arguments=("out", "in", "shape", "scale")), "takes out, in"),
        (candidate().model_copy(update={"scratch": (Scratch(name="s", bytes=4),)}), "scratch"),
        (candidate().model_copy(update={"launch": candidate().launch * 2}), "several kernels"),
    ):
        with pytest.raises(BadInput, match=why):
            planned(changed, task)
    for plan, why in (
        ({"block": (64, 32, 1)}, "out of range"), ({"grid": ("shape_0 - 100000", 1, 1)}, "out of range"),
        ({"cluster": (2, 1, 1)}, "asks for clusters"), ({"when": "shape_0 < 0"}, "no kernel for it"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=why):
            rules(candidate(**plan), task, launches, tmp_path / "c", {})


def test_rules_that_one_launch_lacks_leave_it_as_it_is(tmp_path: Path) -> None:
    task, launches = task_of(tmp_path)
    found = rules(candidate(when="shape_0 == 64"), task, launches, tmp_path / "c", {})
    assert (len(found.rules), found.launches, found.covered) == (1, 2, 1)
    assert found.notes == ("1 launches keep the original: the candidate has no kernel for it",)
    assert isinstance(found.rules[0], SwapRule)


def test_a_faster_kernel_is_faster(tmp_path: Path) -> None:
    found = tried(
        tmp_path, "metric", Wish(pairs=3, metric=metric_of(r"took ([\d.]+)", "", "us", higher=False), check="true")
    )
    assert found.outcome == "measured", found.reason
    assert found.kernel is not None
    assert found.application is not None
    assert (found.kernel.verdict, found.application.verdict, found.verdict) == ("faster", "faster", "faster")
    assert 1.9 < found.kernel.speedup < 2.1
    assert found.covered == 1.0
    assert [r.side for r in found.runs].count("candidate") == 3
    assert status(found) == 0


def test_a_slower_one_is_slower_and_the_same_is_not_faster(tmp_path: Path) -> None:
    metric = metric_of(r"took ([\d.]+)", "", "us", higher=False)
    assert status(tried(tmp_path, "metric", Wish(pairs=3, metric=metric, check="true"), fast=150.0)) == 1
    (tmp_path / "same").mkdir()
    found = tried(tmp_path / "same", "metric", Wish(pairs=3, metric=metric, check="true"), fast=100.0)
    assert status(found) == 2


def test_a_wrong_kernel_is_seen_by_what_the_application_gives(tmp_path: Path) -> None:
    found = tried(tmp_path, "wrong")
    assert (found.outcome, found.verdict, status(found)) == ("wrong_output", None, 1)
    assert "standard output is not what" in found.reason
    by_file = tried(tmp_path, "wrong", Wish(pairs=2, compare=(Path("result.txt"),)))
    assert by_file.outcome == "wrong_output"
    assert "result.txt" in by_file.reason
    by_check = tried(tmp_path, "wrong", Wish(pairs=2, check='grep -q "sum 42" "$WARPSMITH_OUTPUT"'))
    assert by_check.outcome == "wrong_output"
    assert "--check ends with status 1" in by_check.reason


@pytest.mark.parametrize(("how", "why"), [("crash", "by signal 11"), ("fail", "illegal memory access")])
def test_a_crash_leaves_a_report_and_a_verdict(tmp_path: Path, how: str, why: str) -> None:
    found = tried(tmp_path, how)
    assert (found.outcome, found.verdict, status(found)) == ("crashed", None, 1)
    assert why in found.reason
    assert found.runs[-1].side == "candidate"


@pytest.mark.slow
def test_an_application_that_never_ends_is_ended(tmp_path: Path) -> None:
    found = tried(tmp_path, "hang", Wish(pairs=2, limit_s=2.0))
    assert found.outcome == "timed_out"


def test_a_kernel_that_cannot_be_loaded_was_not_swapped(tmp_path: Path) -> None:
    found = tried(tmp_path, "unloadable")
    assert (found.outcome, found.reason, status(found)) == ("not_swapped", "the image cannot be loaded", 2)


def test_outputs_that_differ_anyway_need_a_check(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="differs from run to run"):
        tried(tmp_path, "noisy")
    assert tried(tmp_path, "noisy", Wish(pairs=2, compare=(Path("result.txt"),))).outcome == "measured"


def test_the_applications_own_failure_is_nobody_elses(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="finds no number"):
        tried(tmp_path, "right", Wish(pairs=2, metric=metric_of("none ([0-9]+)", "", "", higher=False)))
    with pytest.raises(BadInput, match="--check fails on the application as it is"):
        tried(tmp_path, "right", Wish(pairs=2, check="false"))
    with pytest.raises(BadInput, match="two metrics"):
        metric_of("a(b)", "c", "", higher=False)
