"""From captured launches to a task: roles, buffers, aliases, scalars, weights, geometry; and what is refused."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.app.building import EXAMPLES
from tests.app.capturing import TRANSPOSE, Allocation, Run, function, transposes
from tests.app.test_log import golden
from warpsmith.app.buckets import executions, kernels
from warpsmith.app.capture import by_graphs_only, capturable, chosen, left_out
from warpsmith.app.capturefiles import as_toml, geometry, write_task
from warpsmith.app.capturegeometry import blocks, choices, grids
from warpsmith.app.capturesource import extract
from warpsmith.app.capturetask import Signature, TaskMaker
from warpsmith.app.capturetypes import element, guess, is_constant, variation
from warpsmith.app.fixtures import Fixtures
from warpsmith.errors import BadInput
from warpsmith.model.captured import Pointer
from warpsmith.model.launch import How
from warpsmith.model.observed import Observation, ObservedKernel, RunFacts
from warpsmith.model.task import AppTask, Dtype, Role
from warpsmith.store.blobs import Blobs
from warpsmith.store.folders import load_candidate, load_task

NOTHING = Signature()
SOURCE = EXAMPLES / "transpose" / "src" / "main.cu"


def made(folder: Path, run: Run, signature: Signature = NOTHING) -> tuple[AppTask, TaskMaker, Fixtures]:
    fixtures = Fixtures(folder / "home")
    maker = TaskMaker("captured/test", run.observed(), run.taken(), fixtures, signature)
    return maker.make(("/bin/app", "1")), maker, fixtures


def test_a_captured_kernel_becomes_a_task(tmp_path: Path) -> None:
    task, _, fixtures = made(tmp_path, transposes(tmp_path))
    assert [(p.name, p.role, p.type) for p in task.parameters] == [
        ("p0", "pointer", "float const*"), ("p1", "pointer", "float*"), ("p2", "bytes", "tiles::Shape"),
        ("p3", "scalar", "float"),
    ]  # fmt: skip
    assert [(a.name, a.role, a.dtype, a.value) for a in task.arguments] == [
        ("p0", Role.input, Dtype.f32, None), ("p1", Role.output, Dtype.f32, None), ("p3", Role.scalar, Dtype.f32, None),
    ]  # fmt: skip
    by_scale = {w.scalars["p3"]: w for w in task.workloads}
    assert {s: (w.axes["p2_0"], w.axes["p2_4"], w.axes["n_p0"]) for s, w in by_scale.items()} == {
        1.0: (64, 48, 64 * 48), 1.5: (33, 65, 33 * 65),
    }  # fmt: skip
    assert fixtures.lacking(task.fixtures) == ()
    assert task.capture.bytes == sum(fixtures.path(d).stat().st_size for d in task.fixtures)
    assert {task.variations[n] for n in ("p0", "p1")} == {"mixed"}
    assert all(one.raw["p2"] == struct.pack("<ii", w.axes["p2_0"], w.axes["p2_4"]).hex()
               for one, w in zip(task.launches, task.workloads, strict=True))  # fmt: skip


def test_a_task_comes_back_from_its_folder_as_it_was_made(tmp_path: Path) -> None:
    run = transposes(tmp_path)
    task, maker, fixtures = made(tmp_path, run)
    blobs = Blobs(tmp_path / "blobs")
    blobs.put(fixtures.get(task.original.image or ""))
    source = extract(SOURCE, TRANSPOSE, 4)
    named, maker, _ = made(tmp_path, run, Signature(source.names, source.types))
    folder = tmp_path / "task"
    written = write_task(folder, named, maker, source)
    loaded = load_task(folder)
    assert loaded.task == written
    baseline = load_candidate(folder / "baseline", blobs, loaded.task)
    assert baseline.toolchain == "cubin"
    assert baseline.launch[0].kernel == TRANSPOSE
    entry = load_candidate(folder / "src", blobs, loaded.task)
    assert entry.space.defaults == {"TUNE_TILE": 16}
    (launch,) = entry.launch
    assert launch.block == ("TUNE_TILE", "TUNE_TILE", 1)
    assert launch.grid == (
        "(shape_4 + TUNE_TILE - 1) // TUNE_TILE", "(shape_0 + TUNE_TILE - 1) // TUNE_TILE", 1,
    )  # fmt: skip
    assert launch.arguments == ("in", "out", "shape", "scale")
    assert not list(folder.rglob("*.cubin"))
    (folder / "src" / "kernel.cu").write_text("// worked on\n")
    write_task(folder, named, maker, source)  # what a capture wrote, a capture may write again
    assert (folder / "src" / "kernel.cu").read_text() == "// worked on\n"
    (folder / "task.toml").write_text("# mine\n")
    with pytest.raises(BadInput, match="no capture wrote"):
        write_task(folder, named, maker, source)


def test_a_candidate_without_its_fixture_says_so(tmp_path: Path) -> None:
    task, maker, _ = made(tmp_path, transposes(tmp_path))
    write_task(tmp_path / "task", task, maker, None)
    with pytest.raises(BadInput, match="is not on this machine"):
        load_candidate(tmp_path / "task" / "baseline", Blobs(tmp_path / "other"), task)


def test_pointers_into_one_allocation_share_one_buffer(tmp_path: Path) -> None:
    run = Run(tmp_path, function("_Z3addPfPKfi", ((0, 8), (8, 8), (16, 4))))
    values = np.arange(1, 65, dtype=np.float32) / 3
    after = values.copy()
    after[32:] += after[:32]
    a = Allocation(0x7000_0000_0000, values.tobytes(), after.tobytes())
    run.launch((1, 1, 1), (32, 1, 1), struct.pack("<QQi", a.base + 128, a.base, 32), {0: a, 8: a})
    task, _, _ = made(tmp_path, run)
    assert [a.name for a in task.arguments] == ["p0", "p2"]
    assert task.launches[0].pointers == (
        Pointer(parameter="p0", buffer="p0", offset=128), Pointer(parameter="p1", buffer="p0", offset=0),
    )  # fmt: skip
    assert task.arguments[0].role is Role.output
    assert task.arguments[1].value == 32  # the same in all launches: a constant


def test_addresses_in_structs_and_variables_of_the_image_are_kept(tmp_path: Path) -> None:
    run = Run(tmp_path, function("_Z4gridN2at5ThingE", ((0, 24),)))
    a = Allocation(0x7000_0000_0000, bytes(range(64)), bytes(range(1, 65)))
    taps = Allocation(0x7000_0200_0000, np.ones(5, np.float32).tobytes())
    content = struct.pack("<qQq", 7, a.base + 16, 9)
    run.launch((2, 1, 1), (64, 1, 1), content, {8: a}, {"taps": taps})
    task, _, _ = made(tmp_path, run)
    assert task.launches[0].pointers == (Pointer(parameter="p0", at=8, buffer="p0_at8", offset=16),)
    assert task.launches[0].raw["p0"] == struct.pack("<qQq", 7, 0, 9).hex()
    assert task.globals == {"var_taps": "taps"}
    assert {a.name: a.role for a in task.arguments} == {"p0_at8": Role.output, "var_taps": Role.input}
    assert {n for n in task.workloads[0].axes if n.startswith("p0_")} == {"p0_0", "p0_4", "p0_16", "p0_20"}


def test_a_kernel_that_writes_nothing_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path, function("_Z4readPKf", ((0, 8),)))
    a = Allocation(0x7000_0000_0000, np.ones(64, np.float32).tobytes())
    run.launch((1, 1, 1), (64, 1, 1), struct.pack("<Q", a.base), {0: a})
    with pytest.raises(BadInput, match="writes nothing that can be seen"):
        made(tmp_path, run)


def test_buffers_that_were_not_kept_are_refused(tmp_path: Path) -> None:
    run = transposes(tmp_path)
    run.snapshots = [s.__class__(*(getattr(s, f) if f != "bytes" else 0 for f in s.__slots__)) for s in run.snapshots]
    with pytest.raises(BadInput, match="could not be kept"):
        run.taken()


def test_weights_are_the_time_of_each_configuration(tmp_path: Path) -> None:
    run = transposes(tmp_path)
    fixtures = Fixtures(tmp_path / "home")
    kernel = run.observed(lambda launch: 2e-3 if launch.sequence else 1e-3)
    found = run.taken()
    weighed = tuple(
        t.__class__(kernel.configurations[[c.grid for c in kernel.configurations].index(t.launch.grid)], t.launch,
                    t.before, t.after, t.image, t.folder) for t in found
    )  # fmt: skip
    task = TaskMaker("captured/test", kernel, weighed, fixtures, Signature()).make(("app",))
    assert sorted(w.weight for w in task.workloads) == [1e-3, 2e-3]


def test_kernels_are_named_as_people_do(tmp_path: Path) -> None:
    kernel = transposes(tmp_path).observed()
    other = kernel.model_copy(update={"symbol": "_Z5scalePfif", "name": "scale(float*, int, float)"})
    run = RunFacts(command=("a",), folder="/", at="", source="injection", status=0, seconds=1.0, binaries=())
    seen = Observation(run=run, kernels=(kernel, other))
    for named in (TRANSPOSE, "transpose", "tiles::transpose", "tiles::transpose<float, 16>", "transp"):
        assert chosen(seen, named) is kernel
    for named, why in (("nothing", "no kernel"), ("s", "2 kernels")):
        with pytest.raises(BadInput, match=why):
            chosen(seen, named)
    assert len(capturable(kernel, 1)) == 1
    with pytest.raises(BadInput, match="cooperatively"):
        capturable(kernel.model_copy(update={"cooperative": True}), 5)


def test_geometry_follows_from_scalars_or_stays_as_it_was() -> None:
    seen = [((4, 3, 1), (32, 8, 1), {"n": 100, "m": 24}), ((7, 2, 1), (32, 8, 1), {"n": 200, "m": 9})]
    block = blocks([b for _, b, _ in seen], {})
    assert block == (32, 8, 1)
    assert grids(seen, block, {}) == ("(n + 32 - 1) // 32", "(m + 8 - 1) // 8", 1)
    odd = [((5, 1, 1), (64, 1, 1), {"n": 100}), ((5, 1, 1), (128, 1, 1), {"n": 900})]
    block = blocks([b for _, b, _ in odd], {"T": 64})
    assert block == ("BLOCK_X", 1, 1)
    assert grids(odd, block, {"T": 64})[0] == "GRID_X"
    assert choices(16) == (4, 8, 16, 32, 64)


def test_types_are_read_or_guessed() -> None:
    assert [element(t) for t in ("float const*", "__half*", "float4*", "unsigned int*", "void*", "Thing*")] == [
        Dtype.f32, Dtype.f16, Dtype.f32, Dtype.i32, None, None,
    ]  # fmt: skip
    assert [is_constant(t) for t in ("float const*", "const int *__restrict__", "float*", "float")] == [
        True, True, False, False,
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    floats = rng.standard_normal(100).astype(np.float32).tobytes()
    whole = rng.integers(0, 1000, 100).astype(np.int32)
    assert [guess([c]) for c in (floats, whole.tobytes(), rng.bytes(400), b"abc")] == [
        Dtype.f32, Dtype.i32, Dtype.u8, Dtype.u8,
    ]  # fmt: skip
    assert variation([floats], Dtype.f32, known=True) == "mixed"
    assert variation([np.arange(9, dtype=np.float32).tobytes()], Dtype.f32, known=True) == "permuted"
    assert variation([whole.tobytes()], Dtype.i32, known=True) == "permuted"
    assert variation([np.sort(whole).tobytes()], Dtype.i32, known=True) == "kept"
    assert variation([b"abc"], Dtype.u8, known=False) == "kept"


def test_equal_content_is_kept_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    fixtures = Fixtures(tmp_path)
    found = {fixtures.put(b"x" * 1000), fixtures.put(bytearray(b"x" * 1000))}
    assert len(found) == 1
    assert fixtures.bytes_of([*found, *found]) == 1000
    assert fixtures.folder.stat().st_mode & 0o077 == 0
    assert fixtures.get(found.pop()) == b"x" * 1000


def test_the_source_of_an_instance_is_one_file_that_compiles(tmp_path: Path) -> None:
    pytest.importorskip("tree_sitter_cuda")
    found = extract(SOURCE, TRANSPOSE, 4)
    assert found.tunables == {"TUNE_TILE": 16}
    assert "std::" not in found.text
    assert "debug" not in found.text
    sums = extract(SOURCE, "_ZN5tiles12partial_sumsIfLi256EEEvPKT_PS1_l", 3)
    assert sums.tunables == {"TUNE_THREADS": 256}
    for one in (found, sums):
        assert set(one.tunables) <= set(one.text.split())
    with pytest.raises(BadInput, match="takes 4 parameters"):
        extract(SOURCE, TRANSPOSE, 3)
    stub = "#define __global__\n#define __device__\n#define __forceinline__ inline\n#define __shared__ static\n"
    stub += "struct Three { unsigned x, y, z; }; extern Three blockIdx, threadIdx, gridDim;\nvoid __syncthreads();\n"
    for number, one in enumerate((found, sums)):
        path = tmp_path / f"{number}.cpp"
        path.write_text("#include <cstddef>\nusing std::size_t;\n" + stub + one.text)
        subprocess.run(("g++", "-std=c++17", "-fsyntax-only", str(path)), check=True)


def test_what_a_kernel_leans_on_comes_with_it(tmp_path: Path) -> None:
    pytest.importorskip("tree_sitter_cuda")
    (tmp_path / "k.cu").write_text(
        '#include <vector>\n#include "h.cuh"\n#define WIDTH 4\nconstexpr int PARTS = 8;\nint host() { return PARTS; }\n'
        'extern "C" __global__ void __launch_bounds__(256) k(float *a, int n) { a[n % PARTS] = twice(a[WIDTH]); }\n'
        "int main() { k<<<1, 1>>>(nullptr, host()); }\n"
    )
    (tmp_path / "h.cuh").write_text("#pragma once\n__device__ inline float twice(float x) { return 2 * x; }\n")
    found = extract(tmp_path / "k.cu", "k", 2)
    assert found.tunables == {"WIDTH": 4, "TUNE_PARTS": 8}
    assert "twice(float x)" in found.text
    assert all(word not in found.text for word in ("host", "main", "vector", "launch_bounds"))
    assert (found.names, found.types) == (("a", "n"), ("float *", "int"))


def test_a_task_is_written_as_toml_that_says_all(tmp_path: Path) -> None:
    task, maker, _ = made(tmp_path, transposes(tmp_path, more=100))
    assert as_toml(task).count("[[launches]]") == 2
    assert geometry(task, maker, {}) == (("(p2_4 + 16 - 1) // 16", "(p2_0 + 16 - 1) // 16", 1), (16, 16, 1))


def recorded(*, without_direct: bool = False) -> dict[str, ObservedKernel]:
    """The kernels of a log of an H200 by their bare names: graphs, and direct launches, which can be taken out."""
    log = golden("graph")
    if without_direct:
        log.times = [t for t in log.times if t.node]
    return {k.symbol: k for k in kernels(executions(log))}


def test_what_graphs_alone_launch_is_refused_with_what_to_do() -> None:
    """``add`` ran five times in a graph, and once beside it; a log without that time is one of graphs only."""
    assert len(capturable(recorded()["_Z3addPfPKfid"], 5)) == 1
    kernel = recorded(without_direct=True)["_Z3addPfPKfid"]
    assert kernel.launches == 5 and kernel.parameters_known
    with pytest.raises(BadInput) as refused:
        capturable(kernel, 5)
    said = str(refused.value)
    assert "launched by CUDA graphs only (5 times)" in said and "cannot be captured" in said
    assert "without graphs" in refused.value.remedy and "'trial' swaps kernels in graphs too" in refused.value.remedy


def test_what_graphs_launch_beside_others_is_left_out_and_named() -> None:
    """``scale`` is launched on 128 blocks by the program, and on 256 by graphs."""
    kernel = recorded()["_Z5scalePfif"]
    assert [c.grid for c in capturable(kernel, 5)] == [(128, 1, 1)]
    assert [c.grid for c in by_graphs_only(kernel)] == [(256, 1, 1)]
    (said,) = left_out(kernel)
    assert "1 configurations (grid 256x1x1" in said and "which graphs launch" in said
    (said,) = left_out(recorded()["_Z3addPfPKfid"])
    assert "grid 256x1x1: graphs launch 5 of its 6 runs, and none of these is captured" in said
    assert left_out(recorded()["_Z6settlePfi"]) == ()


def test_launches_that_were_not_recorded_are_told_from_graphs() -> None:
    log = golden("graph")
    log.launches = [x for x in log.launches if x.how > How.cooperative]
    log.times = [t for t in log.times if not t.node]
    kernel = next(k for k in kernels(executions(log)) if k.symbol == "_Z5scalePfif")
    with pytest.raises(BadInput, match="does not say how the parameters"):
        capturable(kernel, 5)
    with pytest.raises(BadInput, match="was recorded whole"):
        capturable(kernel.model_copy(update={"parameters_known": True}), 5)
