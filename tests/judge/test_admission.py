"""Tasks that nobody should be judged by are refused, with the workload and the trick named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from warpsmith.errors import TaskAtFault
from warpsmith.judge.admission import admit
from warpsmith.judge.inputs import HiddenInputs
from warpsmith.judge.numeric import NumpyNumeric
from warpsmith.judge.oracle import Oracle
from warpsmith.model.head import Workload
from warpsmith.model.task import Argument, Dtype, KernelTask, Role, Tolerance

NUMERIC = NumpyNumeric()
STAIRS = "0.0 * x + xp.reshape(xp.arange(1.0, 65.0), (64, 1)) + 1e-4 * w if x.shape[0] else x"


def admitted(
    folder: Path,
    reference: str,
    shape: tuple[str | int, ...] = ("M", "N"),
    dtype: Dtype = Dtype.f32,
    limit: float | None = None,
    **changes: object,
) -> None:
    """Raises where the task is not."""
    (folder / "reference.py").write_text(f"def reference(xp, x, w):\n    return {reference}\n")
    said = KernelTask(
        name="fake/weak",
        title="weak",
        hardware="cpu",
        contract="host",
        arguments=(
            Argument(name="x", role=Role.input, dtype=Dtype.f32, shape=("M", "N")),
            Argument(name="w", role=Role.input, dtype=Dtype.f32, shape=("N",)),
            Argument(name="y", role=Role.output, dtype=dtype, shape=shape),
        ),
        bytes="8 * M * N",
        tolerance=Tolerance(relative_rms=limit),
        workloads=(Workload(name="empty", axes={"M": 0, "N": 64}), Workload(name="usual", axes={"M": 64, "N": 4096})),
    ).model_copy(update=changes)
    inputs = HiddenInputs(said, NUMERIC, 7)
    with np.errstate(all="ignore"):  # as in the judge's session
        admit(said, Oracle(said, folder, NUMERIC), inputs, NUMERIC)


@pytest.mark.parametrize(
    ("reference", "shape"),
    [
        ("x * w", ("M", "N")),
        ("x / xp.sqrt(xp.mean(x * x, axis=1, keepdims=True) + 1e-6) * w", ("M", "N")),
        ("xp.exp(x - xp.max(x, axis=1, keepdims=True))", ("M", "N")),
        ("xp.sum(x, axis=1)", ("M",)),
        ("xp.astype(x > 0, xp.float64)", ("M", "N")),
    ],
)
def test_honest_tasks_are_admitted(tmp_path: Path, reference: str, shape: tuple[str, ...]) -> None:
    admitted(tmp_path, reference, shape)


@pytest.mark.parametrize(
    ("reference", "shape", "limit", "trick"),
    [
        ("0.0 * x", ("M", "N"), None, "an answer of zeros"),
        ("0.0 * x + 3.0", ("M", "N"), None, "a constant, the mean"),
        ("x", ("M", "N"), None, "the input 'x' passed through"),
        ("x * (1.0 + 1e-8 * w)", ("M", "N"), None, "the input 'x' passed through"),
        ("0.0 * x + w", ("M", "N"), None, "the mean row"),
        # a softmax over huge rows of nearly equal values
        ("xp.exp(1e-4 * x) / xp.sum(xp.exp(1e-4 * x), axis=1, keepdims=True)", ("M", "N"), 1e-2, "a constant"),
        # the mean of much noise, beside something that does not depend on it
        ("1.0 + 0.01 * xp.mean(x, axis=1)", ("M",), 5e-2, "a constant"),
        # the same, where rows differ from each other but not from call to call
        (STAIRS, ("M", "N"), 1e-2, "the mean of 3 other draws"),
    ],
)  # fmt: skip
def test_weak_tasks_are_refused(
    tmp_path: Path, reference: str, shape: tuple[str, ...], limit: float | None, trick: str
) -> None:
    with pytest.raises(TaskAtFault, match="cannot tell who does the work") as refused:
        admitted(tmp_path, reference, shape, limit=limit)
    assert "workload 'usual'" in refused.value.message
    assert trick in refused.value.message
    assert "docs/tasks.md" in refused.value.remedy


def test_integers_that_hardly_vary_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskAtFault, match="zeros"):
        admitted(tmp_path, "xp.astype(x > 100.0, xp.float64)", dtype=Dtype.u8)
    admitted(tmp_path, "xp.astype(x > 0.0, xp.float64)", dtype=Dtype.u8)


def test_one_weak_output_of_two_is_enough(tmp_path: Path) -> None:
    outputs = tuple(Argument(name=n, role=Role.output, dtype=Dtype.f32, shape=("M", "N")) for n in ("y", "flags"))
    inputs = (
        Argument(name="x", role=Role.input, dtype=Dtype.f32, shape=("M", "N")),
        Argument(name="w", role=Role.input, dtype=Dtype.f32, shape=("N",)),
    )
    with pytest.raises(TaskAtFault, match="pass as 'flags'"):
        admitted(tmp_path, "{'y': x * w, 'flags': 0.0 * x}", arguments=(*inputs, *outputs))


class TestNonfinite:
    REFERENCE = "xp.where(x > 2.5, xp.inf, x) * w"

    def test_it_is_matched_by_default(self, tmp_path: Path) -> None:
        admitted(tmp_path, self.REFERENCE)

    def test_a_task_can_refuse_it(self, tmp_path: Path) -> None:
        with pytest.raises(TaskAtFault, match=r"reference\.py: y holds NaN or infinity on workload 'usual'"):
            admitted(tmp_path, self.REFERENCE, nonfinite="refuse")
        admitted(tmp_path, "x * w", nonfinite="refuse")
