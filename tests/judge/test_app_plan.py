"""Launches of captured kernels in numbers: pointers, structs with addresses, and what no launch of it may be."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from tests.app.capturing import Allocation, Run, function, transposes
from warpsmith.app.capturetask import Signature, TaskMaker
from warpsmith.app.fixtures import Fixtures
from warpsmith.judge.appdevice import AppPlanner
from warpsmith.judge.failures import CandidateFailed
from warpsmith.judge.plan import Packed, make_plan
from warpsmith.model.candidate import Candidate, Launch, SourceFile
from warpsmith.model.target import Target
from warpsmith.model.task import AppTask

TARGET = Target(hardware="cuda", device="fake", architecture="sm_90a", facts={"SM_COUNT": 132})


def task_of(folder: Path, run: Run) -> AppTask:
    return TaskMaker("captured/t", run.observed(), run.taken(), Fixtures(folder / "home"), Signature()).make(("app",))


def candidate(*arguments: str, **more: object) -> Candidate:
    said = {"kernel": "k", "grid": ("GRID_X", "GRID_Y", 1), "block": ("BLOCK_X", 8, 1), "arguments": arguments, **more}
    source = SourceFile(path="k.cu", content="0" * 64)
    return Candidate(toolchain="cuda", entry="k", sources=(source,), launch=(Launch.model_validate(said),))


def test_parameters_are_passed_as_the_application_did(tmp_path: Path) -> None:
    task = task_of(tmp_path, transposes(tmp_path))
    for number, workload in enumerate(task.workloads):
        made = make_plan(task, workload, candidate("p0", "p1", "p2", "p3"), TARGET, (), AppPlanner).launches[0]
        one = task.launches[number]
        assert (made.grid[:2], made.block) == (one.grid[:2], (16, 8, 1))
        first, second, packed, scale = made.arguments
        assert (first, second) == ("p0:0", "p1:0")
        assert packed == Packed(bytes.fromhex(one.raw["p2"]), ())
        assert scale == struct.pack("<f", workload.scalars["p3"])


def test_addresses_go_to_their_places_in_a_struct(tmp_path: Path) -> None:
    run = Run(tmp_path, function("_Z4gridN2at5ThingE", ((0, 24),)))
    a = Allocation(0x7000_0000_0000, bytes(range(64)), bytes(range(1, 65)))
    run.launch((2, 1, 1), (64, 1, 1), struct.pack("<qQq", 7, a.base + 16, 9), {8: a})
    task = task_of(tmp_path, run)
    made = make_plan(task, task.workloads[0], candidate("p0"), TARGET, (), AppPlanner).launches[0]
    assert made.arguments == (Packed(struct.pack("<qQq", 7, 0, 9), ((8, "p0:8"),)),)
    assert made.said()["arguments"] == [{"bytes": struct.pack("<qQq", 7, 0, 9).hex(), "pointers": ((8, "p0:8"),)}]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"block": (64, 32, 1)}, "more than 1024 threads"), ({"grid": ("GRID_X", 70000, 1)}, "out of range"),
        ({"shared_bytes": 1 << 20}, "shared memory are out of range"), ({"grid": ("nothing", 1, 1)}, "nothing"),
    ],
)  # fmt: skip
def test_geometry_is_checked(tmp_path: Path, more: dict[str, object], why: str) -> None:
    task = task_of(tmp_path, transposes(tmp_path))
    with pytest.raises(CandidateFailed, match=why):
        make_plan(task, task.workloads[0], candidate("p0", "p1", "p2", "p3", **more), TARGET, (), AppPlanner)


def test_clusters_are_those_of_the_application(tmp_path: Path) -> None:
    task = task_of(tmp_path, transposes(tmp_path))
    one = task.launches[0].model_copy(update={"cluster": (2, 1, 1)})
    task = task.model_copy(update={"launches": (one, *task.launches[1:])})
    names = ("p0", "p1", "p2", "p3")
    for more, why in (({}, "state them"), ({"cluster": (1, 1, 1)}, "asks for another")):
        with pytest.raises(CandidateFailed, match=why):
            make_plan(task, task.workloads[0], candidate(*names, **more), TARGET, (), AppPlanner)


def test_a_buffer_that_one_launch_lacks_is_empty_there(tmp_path: Path) -> None:
    run = Run(tmp_path, function("_Z3addPfPKfi", ((0, 8), (8, 8), (16, 4))))
    values = np.arange(1, 65, dtype=np.float32) / 3
    a = Allocation(0x7000_0000_0000, values.tobytes(), (values * 2).tobytes())
    b = Allocation(0x7000_1000_0000, values.tobytes())
    run.launch((1, 1, 1), (32, 1, 1), struct.pack("<QQi", a.base, b.base, 64), {0: a, 8: b})
    run.launch((2, 1, 1), (32, 1, 1), struct.pack("<QQi", a.base, a.base, 64), {0: a, 8: a})
    task = task_of(tmp_path, run)
    by_grid = {one.grid[0]: w for one, w in zip(task.launches, task.workloads, strict=True)}
    assert (by_grid[1].axes["n_p1"], by_grid[2].axes["n_p1"]) == (64, 0)
    made = make_plan(task, by_grid[2], candidate("p0", "p1", "p2"), TARGET, (), AppPlanner)
    assert made.launches[0].arguments[:2] == ("p0:0", "p1:0")
