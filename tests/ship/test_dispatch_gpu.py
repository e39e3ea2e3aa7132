"""Exported packages on a GPU: the guard table, what dispatch costs, torch.compile, CUDA graphs, streams, plans."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.judge.test_launch_plans_gpu import CLUSTER, TMA
from tests.ship.export_things import exported, imported, project_with_release, release, rmsnorm
from tests.ship.things import Scripted
from warpsmith.errors import Missing
from warpsmith.judge.machine import detect
from warpsmith.model.target import Target

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]
MOST_NS = 500.0
"""What dispatch may add to a call: the goal of the project, on an H200's host."""


@pytest.fixture(scope="module")
def gpu_target() -> Target:
    try:
        return detect("cuda")
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Scripted:
    return project_with_release(tmp_path_factory.mktemp("exports"))


@pytest.fixture(scope="module")
def package(space: Scripted, gpu_target: Target) -> ModuleType:
    """The rms norm for the device that is here, beside one for another architecture that nobody measured."""
    rmsnorm(space, "1.0.0", gpu_target.architecture)
    answer = exported(space, "cuda/rmsnorm@1.0.0", also=("sm_100a",))
    assert not answer.against
    print("added cost:", answer.added_cost)
    return imported(answer, space.root)


def reference(x: Any, w: Any, eps: float = 1e-6) -> Any:
    import torch

    wide = x.float()
    normed = wide * torch.rsqrt((wide * wide).mean(-1, keepdim=True) + eps)
    return (normed * w.float()).to(x.dtype)


def tensors(rows: int = 64, columns: int = 4096, dtype: str = "bfloat16") -> tuple[Any, Any]:
    import torch

    kind = getattr(torch, dtype)
    return torch.randn(rows, columns, device="cuda", dtype=kind), torch.randn(columns, device="cuda", dtype=kind)


def near(found: Any, wanted: Any) -> bool:
    import torch

    return bool(torch.allclose(found.float(), wanted.float(), rtol=2e-2, atol=2e-2))


def test_the_table_picks_the_device_that_is_here(package: ModuleType) -> None:
    import torch

    dispatch = package.DISPATCH["rmsnorm"]
    dispatch.reset()
    for rows, columns in ((64, 4096), (1, 4096), (37, 3072), (4133, 5120)):
        x, w = tensors(rows, columns)
        assert dispatch.covers(x, w) == ""
        assert near(package.rmsnorm(x, w), reference(x, w))
    x, w = tensors()
    y = torch.empty_like(x)
    assert package.rmsnorm(x, w, y) is y and near(y, reference(x, w))
    folded = torch.randn(2, 32, 4096, device="cuda", dtype=torch.bfloat16)
    assert near(package.rmsnorm(folded, w), reference(folded, w))
    assert (dispatch.hits, dispatch.fallbacks) == (6, 0)


def test_elsewhere_the_original_is_called(package: ModuleType) -> None:
    import torch

    dispatch = package.DISPATCH["rmsnorm"]
    x, w = tensors()
    wide = torch.randn(64, 8192, device="cuda", dtype=torch.bfloat16)
    beside = torch.randn(64 * 4096 + 8, device="cuda", dtype=torch.bfloat16)[1 : 64 * 4096 + 1].view(64, 4096)
    cases = {
        "the shape is outside what was measured": (*tensors(64, 8192),),
        "no row is for these element types": (*tensors(dtype="float16"),),
        "a buffer is not aligned as it was measured": (beside, w),
        "a tensor is not row-major and contiguous": (wide[:, ::2], w),
        "a number is not one that was verified": (x, w, None, 1e-3),
        "an output overlaps another tensor": (x, w, x),
        "the tensors are on different devices": (x, w.cpu()),
    }
    for why, arguments in cases.items():
        assert dispatch.covers(*arguments) == why
    bound = dispatch.bind(lambda x, w, out=None, eps=1e-6: reference(x, w, eps))
    dispatch.reset()
    assert near(bound(beside, w), reference(beside, w))
    assert near(bound(x, w, eps=1e-3), reference(x, w, 1e-3))
    grows = x.clone().requires_grad_()
    bound(grows, w).sum().backward()
    assert grows.grad is not None
    assert (dispatch.hits, dispatch.fallbacks) == (0, 3)


def test_what_nobody_measured_is_not_dispatched_unless_allowed(space: Scripted, gpu_target: Target) -> None:
    """The other way round: measured elsewhere, compiled for here."""
    rmsnorm(space, "3.0.0", "sm_100a", name="cuda/elsewhere")
    answer = exported(space, "cuda/elsewhere@3.0.0", also=(gpu_target.architecture,))
    assert not answer.against
    package = imported(answer, space.root)
    dispatch = package.DISPATCH["elsewhere"]
    x, w = tensors()
    assert dispatch.covers(x, w) == "the variant for this architecture was compiled, not measured"
    with pytest.raises(package.NotCovered, match="not measured"):
        package.elsewhere(x, w)
    package.allow_unmeasured(gpu_target.architecture)
    assert near(package.elsewhere(x, w), reference(x, w)) and dispatch.hits == 1


def test_dispatch_costs_next_to_nothing(package: ModuleType) -> None:
    import torch

    cost = importlib.import_module(f"{package.__name__}._runtime.cost")
    with torch.no_grad():
        quiet = cost.of(package)
    found = cost.of(package)
    print("added without gradients:", quiet)
    print("added:", found)
    assert found["ns"] <= MOST_NS and quiet["ns"] <= MOST_NS


def test_torch_compile_sees_one_operation(package: ModuleType) -> None:
    import torch

    dispatch = package.DISPATCH["rmsnorm"]

    def block(x: Any, w: Any) -> Any:
        return package.rmsnorm(x * 2, w) + 1

    x, w = tensors()
    assert torch._dynamo.explain(block)(x, w).graph_break_count == 0
    compiled = torch.compile(block, fullgraph=True)
    dispatch.reset()
    for rows in (64, 65, 128):
        x, w = tensors(rows)
        assert near(compiled(x, w), reference(x * 2, w) + 1)
    assert dispatch.hits == 3

    def in_place(x: Any, w: Any, y: Any) -> Any:
        package.rmsnorm(x, w, y)
        return y + 1

    y = torch.empty_like(x)
    assert near(torch.compile(in_place, fullgraph=True)(x, w, y), reference(x, w) + 1) and near(y, reference(x, w))
    bound = dispatch.bind(lambda x, w, scale=None, out=None, eps=1e-6: reference(x, w, eps))
    dispatch.reset()
    outside, other = tensors(64, 8192)
    assert near(torch.compile(bound, fullgraph=True)(outside, other), reference(outside, other))
    assert (dispatch.hits, dispatch.fallbacks) == (0, 1)


def test_it_can_be_captured_in_a_graph(package: ModuleType) -> None:
    import torch

    x, w = tensors()
    y = torch.empty_like(x)
    assert package.warm() == 1
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        package.rmsnorm(x, w, y)
    for _ in range(3):
        x.normal_()
        graph.replay()
        torch.cuda.synchronize()
        assert near(y, reference(x, w))
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    package.rmsnorm(x, w, y)
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before


def test_it_runs_on_the_current_stream(package: ModuleType) -> None:
    import torch

    x, w = tensors()
    x.zero_()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        x.fill_(3.0)
        y = package.rmsnorm(x, w)
    stream.synchronize()
    assert near(y, reference(torch.full_like(x, 3.0), w))


NORM = """\
name = "cuda/norm"
kind = "kernel"
title = "norm"
hardware = "cuda"
contract = "device"
reference = "reference.py"
baseline = "baseline"
entry = "src"
bytes = "8 * M * N"
alignment = 16
[shapes]
M = { min = 0, max = 4096 }
N = { max = 2048 }
[[arguments]]
name = "x"
role = "input"
dtype = "f32"
shape = ["M", "N"]
[[arguments]]
name = "y"
role = "output"
dtype = "f32"
shape = ["M", "N"]
[[arguments]]
name = "M"
role = "axis"
[[arguments]]
name = "N"
role = "axis"
[[arguments]]
name = "eps"
role = "scalar"
dtype = "f32"
value = 1e-6
[[workloads]]
name = "square"
axes = { M = 1024, N = 1024 }
[[workloads]]
name = "small"
axes = { M = 3, N = 67 }
"""
ROWS = 'grid = ["M", 1, 1]\nblock = [256, 1, 1]\n'
TILED = f"""\
toolchain = "cuda"
sources = ["k.cu"]
entry = "k"
[[scratch]]
name = "t"
bytes = "4 * M"
[[tensor_map]]
name = "from"
of = "x"
dims = ["N", "M"]
box = [64, 8]
[[tensor_map]]
name = "to"
of = "y"
dims = ["N", "M"]
box = [64, 8]
l2_promotion = "128B"
[[launch]]
kernel = "sums"
{ROWS}arguments = ["x", "t", "N", "eps"]
[[launch]]
kernel = "tiled"
grid = ["ceil_div(N, 64)", "ceil_div(M, 8)", 1]
block = [256, 1, 1]
arguments = ["from", "t", "to", "M"]
when = "N % 4 == 0"
[[launch]]
kernel = "plain"
{ROWS}arguments = ["x", "t", "y", "N"]
when = "N % 4"
"""
CLUSTERED = """\
toolchain = "cuda"
sources = ["k.cu"]
entry = "k"
[tunables]
CLUSTER = { values = [16], default = 16 }
[[launch]]
kernel = "k"
grid = ["M * CLUSTER", 1, 1]
block = [256, 1, 1]
cluster = ["CLUSTER", 1, 1]
arguments = ["x", "y", "M", "N", "eps"]
"""
BIG_SHARED = """\
extern "C" __global__ void k(const float* x, float* y, long long m, long long n, float eps) {
    extern __shared__ float row[];
    float sum = 0;
    for (long long j = 0; j < n; ++j) sum += x[blockIdx.x * n + j] * x[blockIdx.x * n + j];
    for (long long j = threadIdx.x; j < n; j += 256) row[j + 20000] = x[blockIdx.x * n + j] * rsqrtf(sum / n + eps);
    for (long long j = threadIdx.x; j < n; j += 256) y[blockIdx.x * n + j] = row[j + 20000];
}
"""
SHARED = f"""\
toolchain = "cuda"
sources = ["k.cu"]
entry = "k"
[[launch]]
kernel = "k"
{ROWS}shared_bytes = "4 * (20000 + N)"
arguments = ["x", "y", "M", "N", "eps"]
"""
PLANS = {"tiled": (TILED, TMA), "clustered": (CLUSTERED, CLUSTER), "shared": (SHARED, BIG_SHARED)}


@pytest.mark.parametrize("name", sorted(PLANS))
def test_plans_with_scratch_tensor_maps_clusters_and_large_shared_memory(
    name: str, space: Scripted, gpu_target: Target, tmp_path: Path
) -> None:
    import torch

    plan, source = PLANS[name]
    for folder in ("src", "baseline"):
        (tmp_path / "task" / folder).mkdir(parents=True)
        (tmp_path / "task" / folder / "candidate.toml").write_text(plan)
        (tmp_path / "task" / folder / "k.cu").write_text(source)
    (tmp_path / "task" / "task.toml").write_text(NORM)
    (tmp_path / "task" / "reference.py").write_text("def reference(xp, x, eps):\n    return x\n")
    edit = {'name = "cuda/norm"': f'name = "cuda/{name}"'}
    release(space, f"cuda/{name}", source=tmp_path / "task", architecture=gpu_target.architecture, edit=edit)
    answer = exported(space, f"cuda/{name}")
    assert not answer.against
    package = imported(answer, tmp_path)
    function, dispatch = getattr(package, name), package.DISPATCH[name]
    for rows, columns in ((1024, 1024), (3, 67), (100, 512), (7, 101)):
        for _ in range(3):
            x = torch.randn(rows, columns, device="cuda")
            wanted = x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6)
            assert torch.allclose(function(x), wanted, rtol=1e-4, atol=1e-5), (rows, columns)
            direct = torch.empty_like(x)
            dispatch.direct(*[{"x": x, "y": direct, "eps": 1e-6}[n] for n in dispatch.positional])
            assert torch.allclose(direct, wanted, rtol=1e-4, atol=1e-5)
    assert dispatch.fallbacks == 0
    x = torch.randn(64, 256, device="cuda")
    y = torch.empty_like(x)
    package.warm()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function(x, y)
    x.normal_()
    graph.replay()
    torch.cuda.synchronize()
    assert torch.allclose(y, x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6), rtol=1e-4, atol=1e-5)
