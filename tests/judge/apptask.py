"""An app task of host code: captured contents, an original in C, and candidates beside it. Judged without a GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from warpsmith.app.capturefiles import MARK, as_toml
from warpsmith.app.fixtures import Fixtures
from warpsmith.model.captured import Capture, Content, Launched, Original
from warpsmith.model.head import Workload
from warpsmith.model.task import AppTask, Argument, Dtype, Role
from warpsmith.store.files import write_atomic
from warpsmith.surface.workspace import Known, Workspace

HEAD = "#include <stdint.h>\n"
ORIGINAL = HEAD + (
    "void gather(const float *x, const int32_t *at, float *sums, int64_t n, float by) {\n"
    "    for (int64_t i = 0; i < n; ++i) sums[i % 8] += by * x[at[i]];\n"
    "}\n"
)
CANDIDATE = 'toolchain = "c"\nsources = ["k.c"]\nentry = "gather"\n'
COUNT = 4096


def original(values: np.ndarray, at: np.ndarray, sums: np.ndarray, by: float) -> np.ndarray:
    """What ORIGINAL does, element after element."""
    made = sums.copy()
    for i, j in enumerate(at):
        made[i % 8] = np.float32(made[i % 8] + np.float32(np.float32(by) * values[j]))
    return made


def make(root: Path, *, wrong: bool = False, constant: bool = False) -> Known:
    """The task under ``root``, loaded. ``wrong``: the fixtures say that the original gave something else.
    ``constant``: nothing in the contents can be varied.
    """
    (root / "tasks").mkdir(parents=True, exist_ok=True)
    space = Workspace(root)
    fixtures = Fixtures(space.home)
    rng = np.random.default_rng(7)
    launches, workloads = [], []
    for number, by in enumerate((0.5, 2.0)):
        x = rng.standard_normal(COUNT).astype(np.float32) if not constant else np.ones(COUNT, np.float32)
        at = rng.permutation(COUNT).astype(np.int32) if not constant else np.zeros(COUNT, np.int32)
        sums = rng.standard_normal(8).astype(np.float32) if not constant else np.ones(8, np.float32)
        after = original(x, at, sums, by) + (1 if wrong else 0)
        held = {"x": (x, None), "at": (at, None), "sums": (sums, after.astype(np.float32))}
        contents = {
            n: Content(
                before=fixtures.put(b.tobytes()), after=None if a is None else fixtures.put(a.tobytes()), bytes=b.nbytes
            )
            for n, (b, a) in held.items()
        }
        launches.append(Launched(grid=(1, 1, 1), block=(1, 1, 1), contents=contents, pointers=(), launches=3))
        axes = {"CAPTURE": number, "n_x": COUNT, "n_at": COUNT, "n_sums": 8, "n": COUNT}
        workloads.append(Workload(name=f"launch {number}", axes=axes, scalars={"by": by}))
    task = AppTask(
        name="captured/gather", title="gather", hardware="cpu", contract="host", entry="src", bytes=64, alignment=256,
        arguments=(
            Argument(name="x", role=Role.input, dtype=Dtype.f32, shape=("n_x",)),
            Argument(name="at", role=Role.input, dtype=Dtype.i32, shape=("n_at",)),
            Argument(name="sums", role=Role.output, dtype=Dtype.f32, shape=("n_sums",)),
            Argument(name="n", role=Role.axis),
            Argument(name="by", role=Role.scalar, dtype=Dtype.f32),
        ),
        workloads=tuple(workloads), launches=tuple(launches),
        original=Original(symbol="gather", name="gather", image=None),
        capture=Capture(command=("app",), at="2026-01-01T00:00:00Z", covered=1.0, configurations_seen=2, bytes=1),
    )  # fmt: skip
    folder = root / "tasks" / "captured" / "gather"
    assert as_toml(task).startswith(MARK)
    write_atomic(folder / "task.toml", as_toml(task))
    write_atomic(folder / "original.toml", 'symbol = "gather"\n')
    candidate(root, "baseline", ORIGINAL)
    candidate(root, "src", ORIGINAL)
    return space.task("captured/gather")


def candidate(root: Path, name: str, text: str, more: str = "") -> None:
    """A folder with a candidate in C."""
    folder = root / "tasks" / "captured" / "gather" / name
    write_atomic(folder / "k.c", text)
    write_atomic(folder / "candidate.toml", CANDIDATE + more)
