"""The example candidates of the transpose: what a swap makes of them, and where integrate writes the tiled one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.app.building import EXAMPLES, needs
from tests.app.capturing import TRANSPOSE, Allocation, Run, function, transposes
from warpsmith.app.capturesource import extract
from warpsmith.app.capturetask import Signature, TaskMaker
from warpsmith.app.fixtures import Fixtures
from warpsmith.app.integrate import Wanted, placed
from warpsmith.app.loading import load_app
from warpsmith.app.swapping import Swaps, rules
from warpsmith.model.launch import Launch
from warpsmith.store.blobs import Blobs
from warpsmith.store.folders import load_candidate

APP = EXAMPLES / "transpose"
SUMS = "_ZN5tiles12partial_sumsIfLi256EEEvPKT_PS1_l"


def swaps(run: Run, symbol: str, count: int, of: str) -> Swaps:
    source = extract(APP / "src" / "main.cu", symbol, count)
    signature = Signature(source.names, source.types)
    task = TaskMaker("captured/t", run.observed(), run.taken(), Fixtures(run.folder / "home"), signature).make(("app",))
    made = load_candidate(APP / "candidates" / of, Blobs(run.folder / "blobs"))
    launches: list[Launch] = run.launches
    return rules(made, task, launches, run.folder / "candidate.cubin", {})


def test_the_tiled_one_replaces_every_launch_with_its_own_geometry(tmp_path: Path) -> None:
    found = swaps(transposes(tmp_path), TRANSPOSE, 4, "tiled")
    assert (found.covered, found.launches, found.notes) == (2, 2, ())
    assert {(r.grid, r.new_grid, r.new_block) for r in found.rules} == {
        ((3, 4, 1), (2, 2, 1), (32, 8, 1)), ((5, 3, 1), (3, 2, 1), (32, 8, 1)),
    }  # fmt: skip


def test_the_tiled_one_is_a_candidate_of_the_task_that_run_captures(tmp_path: Path) -> None:
    """What an agent hands in there: the task takes its names from the file that app.toml names."""
    run, described = transposes(tmp_path), load_app(APP)
    source = extract(described.root / described.app.source, TRANSPOSE, 4)
    signature = Signature(source.names, source.types)
    maker = TaskMaker("captured/t", run.observed(), run.taken(), Fixtures(tmp_path / "home"), signature)
    made = load_candidate(APP / "candidates" / "tiled", Blobs(tmp_path / "blobs"), maker.make(("app",)))
    assert made.parameters == {"ROWS": 8} and made.launch[0].arguments == ("in", "out", "shape", "scale")


def test_the_sums_keep_the_grid(tmp_path: Path) -> None:
    run = Run(tmp_path, function(SUMS, ((0, 8), (8, 8), (16, 8))))
    for count, blocks in ((4096, 120), (120, 1)):
        given = Allocation(0x7000_0000_0000, bytes(range(256)) * 64)
        made = Allocation(0x7000_1000_0000, bytes(480), bytes(range(240)) * 2)
        content = b"".join(n.to_bytes(8, "little") for n in (given.base, made.base, count))
        run.launch((blocks, 1, 1), (256, 1, 1), content, {0: given, 8: made})
    found = swaps(run, SUMS, 3, "sums")
    assert {(r.grid, r.new_grid, r.new_block) for r in found.rules} == {
        ((120, 1, 1), (120, 1, 1), (512, 1, 1)), ((1, 1, 1), (1, 1, 1), (512, 1, 1)),
    }  # fmt: skip


@pytest.mark.slow
def test_the_tiled_one_is_written_into_the_application_and_compiles(tmp_path: Path) -> None:
    needs("nvcc")
    root = tmp_path / "app"
    shutil.copytree(APP, root, ignore=shutil.ignore_patterns("build", ".warpsmith"))
    described, blobs = load_app(root), Blobs(tmp_path / "blobs")
    made = load_candidate(root / "candidates" / "tiled", blobs)
    original = {name: (root / name).read_text() for name in described.app.edited}
    place, others = placed(described.app, Wanted(made, blobs.texts(made), "x"), original)
    assert "dim3(32, 8, 1)>>>" in others["src/main.cu"]
    for name, text in {place.path: place.text, **others}.items():
        (root / name).write_text(text)
    argv = ("nvcc", "-std=c++17", "-arch=sm_90", "-o", tmp_path / "transpose", root / "src" / "main.cu")
    subprocess.run(argv, check=True)
