"""Hidden shapes: what a task's ranges allow, and nothing else."""

from __future__ import annotations

import random

import pytest
from pydantic import ValidationError

from warpsmith.judge.shapes import hidden_workloads, smallest
from warpsmith.model.head import Workload
from warpsmith.model.hidden import Extent
from warpsmith.model.task import Argument, Dtype, KernelTask, Role


def task(**shapes: Extent) -> KernelTask:
    return KernelTask(
        name="fake/product",
        title="product",
        hardware="cpu",
        contract="host",
        arguments=(
            Argument(name="a", role=Role.input, dtype=Dtype.f32, shape=("M", "K")),
            Argument(name="b", role=Role.input, dtype=Dtype.f32, shape=("K", "N // 2")),
            Argument(name="c", role=Role.output, dtype=Dtype.f32, shape=("M", "N // 2")),
            Argument(name="M", role=Role.axis),
        ),
        bytes="4 * (M*K + K*N//2 + M*N//2)",
        flops="M * N * K",
        workloads=(
            Workload(name="large", axes={"M": 512, "N": 512, "K": 512}),
            Workload(name="small", axes={"M": 64, "N": 32, "K": 16}, scalars={}),
        ),
        shapes=shapes,
    )


def drawn(said: KernelTask, seed: int) -> dict[str, list[Workload]]:
    found: dict[str, list[Workload]] = {}
    for workload in hidden_workloads(said, random.Random(seed)):
        found.setdefault(workload.name.split(":")[0].removeprefix("hidden, "), []).append(workload)
    return found


@pytest.mark.parametrize("seed", range(30))
def test_every_kind_that_the_ranges_allow(seed: int) -> None:
    said = task(M=Extent(min=0, max=4096), N=Extent(max=600, multiple_of=8), K=Extent(max=512))
    found = drawn(said, seed)
    assert [w.axes["M"] for w in found["empty"]] == [0], "N and K may not be empty"
    assert {"M": 1, "N": 8, "K": 1} in [w.axes for w in found["least"]]
    assert len(found["least"]) >= 3
    (prime,) = found["prime"]
    for axis, step in (("M", 1), ("N", 8), ("K", 1)):
        count = prime.axes[axis] // step
        assert all(count % d for d in range(2, count)) and count > 1
    (odd,) = found["odd"]
    assert (odd.axes["M"] % 2, odd.axes["K"] % 2, odd.axes["N"] // 8 % 2) == (1, 1, 1)
    beyond = {axis: w for w in found["beyond"] for axis in "MNK" if w.axes[axis] > 512}
    assert set(beyond) == {"M", "N"}, "the range of K ends at the largest"
    for workload in (w for ws in found.values() for w in ws):
        assert 0 <= workload.axes["M"] <= 4096
        assert workload.axes["N"] % 8 == 0 and 8 <= workload.axes["N"] <= 600
        assert 1 <= workload.axes["K"] <= 512
        assert said.work(workload) <= 2 * (said.work(said.workloads[0]) + said.traffic(said.workloads[0]))
        assert all(f"{axis}={workload.axes[axis]}" in workload.name for axis in "MNK")
        said.check_workload(workload)


def test_they_are_others_every_time() -> None:
    said = task(M=Extent(max=4096), K=Extent(max=4096))
    names = [{w.name for w in hidden_workloads(said, random.Random(seed))} for seed in range(8)]
    assert len({frozenset(n) for n in names}) == 8
    assert all(len(n) >= 5 for n in names)


def test_axes_that_may_not_vary_keep_their_values() -> None:
    found = hidden_workloads(task(M=Extent(min=0, max=100)), random.Random(1))
    assert {(w.axes["N"], w.axes["K"]) for w in found} == {(32, 16)}, "those of the smallest workload"


def test_shapes_that_do_not_fit_the_task_are_left_out() -> None:
    said = task(N=Extent(max=64))
    said = said.model_copy(update={"bytes": "4 * M // (N - 1)"})  # a division by zero where N is 1
    found = hidden_workloads(said, random.Random(1))
    assert found and all(w.axes["N"] != 1 for w in found)


def test_no_ranges_no_shapes() -> None:
    assert hidden_workloads(task(), random.Random(1)) == ()
    assert smallest(task()).name == "small"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"min": 5, "max": 4}, "no multiple"),
        ({"max": 7, "multiple_of": 8}, "no multiple"),
        ({"min": -1, "max": 4}, "greater than or equal"),
        ({"min": 1}, "Field required"),
    ],
)
def test_a_range_that_holds_nothing_is_refused(said: dict[str, int], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Extent.model_validate(said)


def test_a_range_names_an_axis_of_every_workload() -> None:
    with pytest.raises(ValidationError, match=r"workload 'large': shapes names axes that it lacks: \['Q'\]"):
        task(Q=Extent(max=4))
