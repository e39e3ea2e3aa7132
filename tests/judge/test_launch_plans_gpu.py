"""What a launch plan can say, on a GPU: clusters, tensor maps, PTX, Triton ahead of time, several kernels, variants."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.judge.test_device_gpu import Bay
from warpsmith.errors import Missing
from warpsmith.model.candidate import Candidate, Launch, Scratch, TensorMap
from warpsmith.model.evaluation import Effort, Evaluation, Status
from warpsmith.model.head import Workload
from warpsmith.model.hidden import Extent
from warpsmith.model.target import Target
from warpsmith.model.task import Argument, Dtype, KernelTask, Role
from warpsmith.toolchains import toolchain

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]


def task(name: str, dtype: Dtype = Dtype.f32, *more: Argument) -> KernelTask:
    """Rows of one tensor to rows of another, on a square, an odd and a small workload, and hidden shapes."""
    return KernelTask(
        name=f"test/{name}",
        title=name,
        hardware="cuda",
        contract="device",
        arguments=(
            Argument(name="x", role=Role.input, dtype=dtype, shape=("M", "N")),
            Argument(name="y", role=Role.output, dtype=dtype, shape=("M", "N")),
            Argument(name="M", role=Role.axis),
            Argument(name="N", role=Role.axis),
            *more,
        ),
        bytes="8 * M * N",
        alignment=16,
        shapes={"M": Extent(min=0, max=4096), "N": Extent(max=2048)},
        workloads=(
            Workload(name="square", axes={"M": 1024, "N": 1024}),
            Workload(name="odd", axes={"M": 333, "N": 1009}),
            Workload(name="small", axes={"M": 3, "N": 67}),
        ),
    )


EPS = Argument(name="eps", role=Role.scalar, dtype=Dtype.f32, value=1e-6)
NORM, NORM_BF16, SOFTMAX = task("norm", Dtype.f32, EPS), task("norm", Dtype.bf16, EPS), task("softmax")
REFERENCES = {
    "norm": "def reference(xp, x, eps):\n    return x / xp.sqrt(xp.mean(x * x, axis=-1, keepdims=True) + eps)\n",
    "softmax": "def reference(xp, x):\n    e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))\n"
    "    return e / xp.sum(e, axis=-1, keepdims=True)\n",
}
SUM = """
__device__ float block_sum(float mine) {
    __shared__ float part[256];
    part[threadIdx.x] = mine;
    __syncthreads();
    for (int width = 128; width; width /= 2) {
        if (threadIdx.x < width) part[threadIdx.x] += part[threadIdx.x + width];
        __syncthreads();
    }
    return part[0];
}
"""
NORM_F32 = (
    SUM
    + """
extern "C" __global__ void k(const float* x, float* y, long long m, long long n, float eps) {
    const float* row = x + blockIdx.x * n;
    float sum = 0;
    for (long long j = threadIdx.x; j < n; j += 256) sum += row[j] * row[j];
    float scale = rsqrtf(block_sum(sum) / n + eps);
    for (long long j = threadIdx.x; j < n; j += 256) y[blockIdx.x * n + j] = row[j] * scale;
}"""
)
SOFTMAX_F32 = (
    SUM
    + """
extern "C" __global__ void k(const float* x, float* y, long long m, long long n) {
    const float* row = x + blockIdx.x * n;
    float top = row[0], sum = 0;
    for (long long j = 0; j < n; ++j) top = fmaxf(top, row[j]);
    for (long long j = threadIdx.x; j < n; j += 256) sum += expf(row[j] - top);
    float scale = 1 / block_sum(sum);
    for (long long j = threadIdx.x; j < n; j += 256) y[blockIdx.x * n + j] = expf(row[j] - top) * scale;
}"""
)
BASELINES = {
    ("norm", Dtype.f32): NORM_F32,
    ("softmax", Dtype.f32): SOFTMAX_F32,
    ("norm", Dtype.bf16): "#include <cuda_bf16.h>\n"
    + NORM_F32.replace("const float*", "const __nv_bfloat16*")
    .replace("float* y", "__nv_bfloat16* y")
    .replace("row[j] * row[j]", "__bfloat162float(row[j]) * __bfloat162float(row[j])")
    .replace("= row[j] * scale", "= __float2bfloat16(__bfloat162float(row[j]) * scale)"),
}

Shop = Callable[[KernelTask], "Bench"]


class Bench:
    """One task, and what measures candidates of it beside its baseline."""

    def __init__(self, bay: Bay, on: KernelTask) -> None:
        self.bay, self.task = bay, on
        (bay.root / "task" / "reference.py").write_text(REFERENCES[on.title])
        launch = Launch(
            kernel="k",
            grid=("M", 1, 1),
            block=(256, 1, 1),
            arguments=tuple(a.name for a in on.arguments),
        )
        self.baseline = self.candidate("cuda", "k.cu", BASELINES[on.title, on.arguments[0].element], launch=(launch,))

    def candidate(self, toolchain: str, name: str, source: str, **said: Any) -> Candidate:
        return Candidate(toolchain=toolchain, entry="k", sources=self.bay.source(name, source), **said)

    def judge(self, candidate: Candidate, effort: Effort = Effort.screen) -> Evaluation:
        return self.bay.judge(candidate, effort, task=self.task, rival=self.baseline, baseline=self.baseline)

    def proves(self, candidate: Candidate) -> None:
        """It is right on every family and hidden shape, and its calls have times."""
        found = self.judge(candidate, Effort.check)
        assert found.passed, found.detail
        found = self.judge(candidate)
        assert found.passed, found.detail
        assert all(w.metric("time") for w in found.workloads)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, gpu_target: Target) -> Shop:
    if int(re.findall(r"\d+", gpu_target.architecture)[0]) < 90:
        pytest.skip("clusters and tensor maps need compute capability 9.0")
    return lambda on: Bench(Bay(tmp_path_factory.mktemp("plans"), gpu_target), on)


CLUSTER = (
    SUM
    + """extern "C" __global__ void k(const float* x, float* y, long long m, long long n, float eps) {
    __shared__ float mine;
    unsigned rank, size;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
    long long first = blockIdx.x / size * n;
    float sum = 0, total = 0;
    for (long long j = rank * 256 + threadIdx.x; j < n; j += 256 * size) sum += x[first + j] * x[first + j];
    sum = block_sum(sum);
    if (threadIdx.x == 0) mine = sum;
    asm volatile("barrier.cluster.arrive.aligned;\\n barrier.cluster.wait.aligned;" ::: "memory");
    unsigned here = __cvta_generic_to_shared(&mine), there;
    for (unsigned other = 0; other < size; ++other) {
        float part;
        asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(here), "r"(other));
        asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(part) : "r"(there) : "memory");
        total += part;
    }
    asm volatile("barrier.cluster.arrive.aligned;\\n barrier.cluster.wait.aligned;" ::: "memory");
    float scale = rsqrtf(total / n + eps);
    for (long long j = rank * 256 + threadIdx.x; j < n; j += 256 * size) y[first + j] = x[first + j] * scale;
}"""
)
IN_CLUSTERS: dict[str, Any] = {
    "kernel": "k", "grid": ("M * CLUSTER", 1, 1), "block": (256, 1, 1), "cluster": ("CLUSTER", 1, 1),
    "arguments": ("x", "y", "M", "N", "eps"),
}  # fmt: skip


@pytest.mark.parametrize("size", [2, 8, 16])
def test_blocks_of_a_cluster_read_each_others_shared_memory(shop: Shop, size: int) -> None:
    bench = shop(NORM)
    launch = Launch(**IN_CLUSTERS)
    bench.proves(bench.candidate("cuda", "k.cu", CLUSTER, launch=(launch,), parameters={"CLUSTER": size}))


FIXED = CLUSTER.replace("__global__ void k", "__global__ void __cluster_dims__(4, 1, 1) k")


@pytest.mark.parametrize(
    ("source", "changed", "said"),
    [
        (CLUSTER, {"cluster": (17, 1, 1), "grid": ("17 * M", 1, 1)}, "is out of range (1 to 16 blocks)"),
        (CLUSTER, {"grid": ("M * CLUSTER + 1", 1, 1)}, "is not a multiple of the cluster"),
        (FIXED, {}, "k: clusters of [2, 1, 1] blocks: CUDA_ERROR"),
    ],
)
def test_a_cluster_that_cannot_be(shop: Shop, source: str, changed: dict[str, Any], said: str) -> None:
    bench = shop(NORM)
    launch = Launch(**{**IN_CLUSTERS, **changed})
    found = bench.judge(bench.candidate("cuda", "k.cu", source, launch=(launch,), parameters={"CLUSTER": 2}))
    assert found.status is Status.crashed
    assert said in found.detail


TMA = """struct alignas(64) Map { unsigned long long opaque[16]; };
extern "C" __global__ void sums(const float* x, float* t, long long n, float eps) {
    __shared__ float part[256];
    float sum = 0;
    for (long long j = threadIdx.x; j < n; j += 256) sum += x[blockIdx.x * n + j] * x[blockIdx.x * n + j];
    part[threadIdx.x] = sum;
    __syncthreads();
    for (int width = 128; width; width /= 2) {
        if (threadIdx.x < width) part[threadIdx.x] += part[threadIdx.x + width];
        __syncthreads();
    }
    if (threadIdx.x == 0) t[blockIdx.x] = rsqrtf(part[0] / n + eps);
}
extern "C" __global__ void plain(const float* x, const float* t, float* y, long long n) {
    for (long long j = threadIdx.x; j < n; j += 256) y[blockIdx.x * n + j] = x[blockIdx.x * n + j] * t[blockIdx.x];
}
extern "C" __global__ void tiled(const __grid_constant__ Map from, const float* t, const __grid_constant__ Map to,
                                 long long m) {
    __shared__ alignas(128) float tile[8][64];
    __shared__ unsigned long long arrived;
    unsigned at = __cvta_generic_to_shared(tile), bar = __cvta_generic_to_shared(&arrived), done = 0;
    int column = blockIdx.x * 64, row = blockIdx.y * 8;
    if (threadIdx.x == 0) {
        asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;\\n fence.mbarrier_init.release.cluster;" :: "r"(bar));
        asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], 2048;" :: "r"(bar) : "memory");
        asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
                     "[%0], [%1, {%2, %3}], [%4];"
                     :: "r"(at), "l"(&from), "r"(column), "r"(row), "r"(bar) : "memory");
    }
    __syncthreads();
    while (!done)
        asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], 0; selp.u32 %0, 1, 0, p; }"
                     : "=r"(done) : "r"(bar) : "memory");
    for (int i = threadIdx.x; i < 512; i += 256) {
        long long r = row + i / 64;
        tile[i / 64][i % 64] *= r < m ? t[r] : 0;
    }
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncthreads();
    if (threadIdx.x == 0) {
        asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];"
                     :: "l"(&to), "r"(column), "r"(row), "r"(at) : "memory");
        asm volatile("cp.async.bulk.commit_group;\\n cp.async.bulk.wait_group 0;" ::: "memory");
    }
}"""


def tiled(**changed: Any) -> dict[str, Any]:
    """Two kernels, and the second by tensor maps where rows lie at multiples of 16 bytes, else without."""
    said: dict[str, Any] = {"dims": ("N", "M"), "box": (64, 8), "l2_promotion": "128B", **changed}
    rows: dict[str, Any] = {"grid": ("M", 1, 1), "block": (256, 1, 1)}
    whole = Launch(kernel="tiled", grid=("ceil_div(N, 64)", "ceil_div(M, 8)", 1), block=(256, 1, 1),
                   arguments=("from", "t", "to", "M"), when="N % 4 == 0")  # fmt: skip
    return {
        "launch": (
            Launch(kernel="sums", arguments=("x", "t", "N", "eps"), **rows),
            whole,
            Launch(kernel="plain", arguments=("x", "t", "y", "N"), when="N % 4", **rows),
        ),
        "scratch": (Scratch(name="t", bytes="4 * M"),),
        "tensor_map": (TensorMap(name="from", of="x", **said), TensorMap(name="to", of="y", **said)),
    }


def test_tensor_maps_scratch_and_a_launch_by_shape(shop: Shop) -> None:
    bench = shop(NORM)
    bench.proves(bench.candidate("cuda", "k.cu", TMA, **tiled()))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"box": (512, 8)}, "the box (512, 8) is out of range (1 to 256)"),
        ({"strides": ("4 * N + 4",)}, "must be multiples of 16 bytes"),
        ({"box": (64, 8), "swizzle": "128B"}, "more than the 128 of the swizzle"),
    ],
)
def test_a_tensor_map_that_cannot_be(shop: Shop, changed: dict[str, Any], said: str) -> None:
    bench = shop(NORM)
    found = bench.judge(bench.candidate("cuda", "k.cu", TMA, **tiled(**changed)))
    assert found.status is Status.crashed
    assert said in found.detail


PTX = """.version 7.8
.target sm_80
.address_size 64
.visible .entry k(.param .u64 x, .param .u64 y, .param .u64 m, .param .u64 n, .param .f32 eps)
{
    .reg .pred %p<2>;
    .reg .f32 %f<8>;
    .reg .b32 %r<4>;
    .reg .b64 %d<12>;
    ld.param.u64 %d1, [x];
    ld.param.u64 %d2, [y];
    ld.param.u64 %d3, [n];
    ld.param.f32 %f1, [eps];
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r2, %tid.x;
    cvt.u64.u32 %d4, %r1;
    cvt.u64.u32 %d5, %r2;
    mul.lo.u64 %d6, %d4, %d3;
    shl.b64 %d6, %d6, 2;
    add.u64 %d1, %d1, %d6;
    add.u64 %d2, %d2, %d6;
    shl.b64 %d3, %d3, 2;
    shl.b64 %d5, %d5, 2;
    mov.f32 %f2, 0f00000000;
    mov.u64 %d7, %d5;
sum:
    setp.ge.u64 %p1, %d7, %d3;
    @%p1 bra fold;
    add.u64 %d8, %d1, %d7;
    ld.global.f32 %f3, [%d8];
    fma.rn.f32 %f2, %f3, %f3, %f2;
    add.u64 %d7, %d7, 128;
    bra sum;
fold:
FOLD
    shr.u64 %d9, %d3, 2;
    cvt.rn.f32.u64 %f5, %d9;
    div.rn.f32 %f2, %f2, %f5;
    add.f32 %f2, %f2, %f1;
    sqrt.rn.f32 %f2, %f2;
    mov.u64 %d7, %d5;
scale:
    setp.ge.u64 %p1, %d7, %d3;
    @%p1 bra done;
    add.u64 %d8, %d1, %d7;
    ld.global.f32 %f3, [%d8];
    div.rn.f32 %f3, %f3, %f2;
    add.u64 %d8, %d2, %d7;
    st.global.f32 [%d8], %f3;
    add.u64 %d7, %d7, 128;
    bra scale;
done:
    ret;
}
"""
FOLD = "    shfl.sync.bfly.b32 %f4, %f2, {}, 31, 0xffffffff;\n    add.f32 %f2, %f2, %f4;\n"
PTX = PTX.replace("FOLD\n", "".join(FOLD.format(width) for width in (16, 8, 4, 2, 1)))


def test_ptx_as_it_is(shop: Shop) -> None:
    bench = shop(NORM)
    launch = Launch(kernel="k", grid=("M", 1, 1), block=(32, 1, 1), arguments=("x", "y", "M", "N", "eps"))
    bench.proves(bench.candidate("ptx", "k.ptx", PTX, launch=(launch,)))


TRITON = """
import triton
import triton.language as tl


@triton.jit
def norm(x, y, N, eps, BLOCK: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * N
    squares = tl.zeros([BLOCK], tl.float32)
    for at in range(0, N, BLOCK):
        columns = at + tl.arange(0, BLOCK)
        v = tl.load(x + first + columns, mask=columns < N, other=0.0).to(tl.float32)
        squares += v * v
    scale = 1 / tl.sqrt(tl.sum(squares) / N + eps)
    for at in range(0, N, BLOCK):
        columns = at + tl.arange(0, BLOCK)
        v = tl.load(x + first + columns, mask=columns < N, other=0.0).to(tl.float32)
        tl.store(y + first + columns, (v * scale).to(y.dtype.element_ty), mask=columns < N)


@triton.jit
def softmax(x, y, N, BLOCK: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * N
    columns = tl.arange(0, BLOCK)
    v = tl.load(x + first + columns, mask=columns < N, other=-float("inf"))
    e = tl.exp(v - tl.max(v))
    tl.store(y + first + columns, e / tl.sum(e), mask=columns < N)


@triton.jit
def sums(x, t, N, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    squares = tl.zeros([BLOCK], tl.float32)
    for at in range(0, N, BLOCK):
        columns = at + tl.arange(0, BLOCK)
        v = tl.load(x + row * N + columns, mask=columns < N, other=0.0).to(tl.float32)
        squares += v * v
    tl.store(t + row, tl.sum(squares) / N)


@triton.jit
def scaled(x, t, y, M, N, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    row, column = tl.program_id(0) * ROWS, tl.program_id(1) * BLOCK
    source = tl.make_tensor_descriptor(x, shape=[M, N], strides=[N, 1], block_shape=[ROWS, BLOCK])
    target = tl.make_tensor_descriptor(y, shape=[M, N], strides=[N, 1], block_shape=[ROWS, BLOCK])
    rows = row + tl.arange(0, ROWS)
    scale = 1 / tl.sqrt(tl.load(t + rows, mask=rows < M, other=0.0) + eps)
    target.store([row, column], (source.load([row, column]).to(tl.float32) * scale[:, None]).to(y.dtype.element_ty))
"""


def triton_candidate(bench: Bench, source: str = TRITON, **said: Any) -> Candidate:
    try:
        toolchain("triton").version()
    except Missing as missing:
        pytest.skip(str(missing))
    return bench.candidate("triton", "k.py", source, **said)


@pytest.mark.parametrize("on", [NORM, NORM_BF16], ids=["f32", "bf16"])
def test_triton_ahead_of_time_with_a_variant_for_wide_loads(shop: Shop, on: KernelTask) -> None:
    bench = shop(on)
    common: dict[str, Any] = {"kernel": "norm", "grid": ("M", 1, 1), "arguments": ("x", "y", "N", "eps")}
    wide = Launch(**common, when="N % 16 == 0", divisible={"N": 16})
    rest = Launch(**common, when="N % 16", constants={"num_warps": 2})
    bench.proves(triton_candidate(bench, launch=(wide, rest), parameters={"BLOCK": 512, "num_warps": 4}))


def test_triton_softmax_in_sizes(shop: Shop) -> None:
    bench = shop(SOFTMAX)
    common: dict[str, Any] = {"kernel": "softmax", "grid": ("M", 1, 1), "arguments": ("x", "y", "N")}
    sizes = ((0, 128), (128, 1024), (1024, 4096))
    launches = tuple(
        Launch(**common, when=f"{low} < N <= {high}", constants={"BLOCK": high, "num_warps": 1 if high < 1024 else 4})
        for low, high in sizes
    )
    bench.proves(triton_candidate(bench, launch=launches))


def test_triton_in_two_kernels_with_descriptors_of_its_own(shop: Shop) -> None:
    bench = shop(NORM_BF16)
    bench.task = bench.task.model_copy(update={"workloads": bench.task.workloads[:1], "shapes": {}})
    launches = (
        Launch(kernel="sums", grid=("M", 1, 1), arguments=("x", "t", "N"), constants={"BLOCK": 1024}),
        Launch(kernel="scaled", grid=("ceil_div(M, ROWS)", "ceil_div(N, BLOCK)", 1),
               arguments=("x", "t", "y", "M", "N", "eps"), divisible={"N": 16}),
    )  # fmt: skip
    scratch = (Scratch(name="t", bytes="4 * M", dtype=Dtype.f32),)
    parameters = {"ROWS": 8, "BLOCK": 128}
    bench.proves(triton_candidate(bench, launch=launches, scratch=scratch, parameters=parameters))


def test_a_triton_kernel_that_is_wrong_or_in_the_wrong_place(shop: Shop) -> None:
    bench = shop(NORM)
    launch = Launch(kernel="norm", grid=("M", 1, 1), arguments=("x", "y", "N", "eps"), constants={"BLOCK": 512})
    wrong = bench.judge(triton_candidate(bench, TRITON.replace("v * scale", "v * scale * 1.001"), launch=(launch,)))
    assert wrong.status is Status.wrong_values, wrong.detail
    assumed = bench.judge(triton_candidate(bench, launch=(launch.model_copy(update={"divisible": {"N": 16}}),)))
    assert assumed.status is Status.crashed
    assert "compiled for N divisible by 16" in assumed.detail
    never = bench.judge(triton_candidate(bench, launch=(launch.model_copy(update={"when": "N > 100000"}),)))
    assert never.status is Status.crashed
    assert "no launch applies" in never.detail
