"""Stand-alone harnesses: the same file each time, one that compiles, and scalars sized by what they do."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.app.building import EXAMPLES, needs
from tests.app.capturing import TRANSPOSE, transposes
from warpsmith.app.capturesource import BEGIN, END, extract
from warpsmith.app.capturetask import Signature, TaskMaker
from warpsmith.app.fixtures import Fixtures
from warpsmith.app.harness import of_observation, of_task
from warpsmith.app.harnessroles import roles, sized
from warpsmith.errors import BadInput
from warpsmith.model.observed import Configuration, ObservedKernel

SUMS = "_ZN5tiles12partial_sumsIfLi256EEEvPKT_PS1_l"
SOURCE = EXAMPLES / "transpose" / "src" / "main.cu"
ROWS = """
extern "C" __global__ void scale_rows(const float *in, float *out, int rows, int cols, float by) {
    const int row = blockIdx.y * blockDim.y + threadIdx.y;
    int lane = threadIdx.x;
    if (row < rows && lane < 32) {
        for (int i = 0; i < cols; ++i) out[row * cols + i] = by * in[row * cols + i];
    }
}
"""


def captured(folder: Path) -> str:
    found = extract(SOURCE, TRANSPOSE, 4)
    run = transposes(folder)
    fixtures = Fixtures(folder / "home")
    maker = TaskMaker("captured/t", run.observed(), run.taken(), fixtures, Signature(found.names, found.types))
    return of_task(maker.make(("app",)), found, fixtures)


def observed(symbol: str, grid: tuple[int, int, int], block: tuple[int, int, int]) -> ObservedKernel:
    one = Configuration(
        grid=grid, block=block, launches=3, seconds=3e-3, share=1.0, p25_s=1e-3, p50_s=1e-3, p95_s=1e-3
    )  # fmt: skip
    return ObservedKernel(
        symbol=symbol, name=symbol, parameters_known=False, launches=3, seconds=3e-3, share=1.0, configurations=(one,),
        covered=1.0, configurations_seen=1,
    )  # fmt: skip


def compiles(text: str, folder: Path) -> None:
    needs("nvcc")
    (folder / "harness.cu").write_text(text)
    subprocess.run(
        ("nvcc", "-std=c++17", "-arch=sm_90", "-o", str(folder / "harness"), str(folder / "harness.cu")), check=True
    )


def test_the_same_capture_gives_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = captured(tmp_path / "a"), captured(tmp_path / "b")
    assert first == second
    assert first.count(BEGIN) == first.count(END) == 1
    assert '"0: grid 3x4x1 of 16x16x1"' in first
    assert first.index("namespace edited") < first.index(END) < first.index("namespace original")


@pytest.mark.slow
def test_a_harness_of_a_capture_compiles(tmp_path: Path) -> None:
    compiles(captured(tmp_path), tmp_path)


@pytest.mark.slow
def test_a_harness_of_an_observation_compiles(tmp_path: Path) -> None:
    text = of_observation(observed(SUMS, (120, 1, 1), (256, 1, 1)), extract(SOURCE, SUMS, None), 7)
    assert str(120 * 256 * 7 * 4) in text
    compiles(text, tmp_path)


def test_scalars_are_sized_by_what_they_do(tmp_path: Path) -> None:
    (tmp_path / "k.cu").write_text(ROWS)
    found = extract(tmp_path / "k.cu", "scale_rows", None)
    said = roles(found.section, found.names, found.types)
    assert said == {"rows": ("threads", "y"), "cols": ("work", "")}
    kernel = observed("scale_rows", (1, 25, 1), (32, 4, 1))
    made = sized(found.section, found.names, found.types, kernel.configurations[0], 300)
    assert made.values == {"rows": 100, "cols": 300}
    assert made.elements == 32 * 100 * 300
    sums = extract(SOURCE, SUMS, None)
    assert roles(sums.section, sums.names, sums.types) == {"count": ("stride", "")}


def test_a_struct_that_nobody_saw_is_refused() -> None:
    with pytest.raises(BadInput, match="what was in it is not known"):
        of_observation(observed(TRANSPOSE, (4, 4, 1), (16, 16, 1)), extract(SOURCE, TRANSPOSE, None), 1)
