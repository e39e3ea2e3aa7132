"""compute-sanitizer as a gate, on a GPU: each tool finds its mistake, and only that; a clean kernel passes all four."""

from __future__ import annotations

import pytest

from tests.judge.test_device_gpu import TASK, Bay, bay  # noqa: F401
from warpsmith.judge import sanitize_device
from warpsmith.judge.sanitize import DEVICE_TOOLS, STATUS
from warpsmith.model.candidate import Scratch
from warpsmith.model.evaluation import Effort, Evaluation, SanitizerResult
from warpsmith.model.head import Workload
from warpsmith.model.hidden import Extent

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]
SMALL = TASK.model_copy(
    update={
        "workloads": (Workload(name="whole", axes={"N": 1024}),),  # tensors that lie side by side where nothing pads
        "shapes": {"N": Extent(min=0, max=4096)},
    }
)
HEAD = """extern "C" __global__ void k(float* x, float* y, float* scratch, long long n, float scale) {
    long long i = blockIdx.x * 256 + threadIdx.x;
"""
TAIL = """
    if (i < n) y[i] = x[i] * scale;
}
"""
CLEAN = """
    __shared__ float t[256];
    t[threadIdx.x] = i < n ? x[i] : 0;
    __syncthreads();
    if (i < n) { scratch[i] = t[threadIdx.x]; if (scratch[i] != x[i]) return; }
"""
MISTAKES = {
    "a read past the end": (
        "\n    if (i == n - 1 && ((volatile float*)x)[n] == 1e30f) return;",
        "memcheck", "Invalid __global__ read of size 4 bytes is out of bounds",
    ),
    "a read before the beginning": (
        "\n    if (i == 0 && ((volatile float*)y)[-1] == 1e30f) return;",
        "memcheck", "Invalid __global__ read of size 4 bytes is out of bounds",
    ),
    "a race in shared memory": (
        "__shared__ volatile float t[256]; t[threadIdx.x] = i;\n    if (t[255 - threadIdx.x] == -1e30f) return;",
        "racecheck", "Race condition: write at",
    ),
    "scratch that nobody wrote": (
        "\n    if (i < n && ((volatile float*)scratch)[i] == 1e30f) return;",
        "initcheck", "Uninitialized __global__ memory read of size 4 bytes",
    ),
    "an output that nobody wrote": (
        "\n    if (i < n && ((volatile float*)y)[i] == 1e30f) return;",
        "initcheck", "Uninitialized __global__ memory read of size 4 bytes",
    ),
    "a barrier in a divergent branch": (
        "\n    if (threadIdx.x % 2) __syncthreads();", "synccheck", "Barrier error: Divergent thread(s) in warp",
    ),
}  # fmt: skip
"""Silent ones: every output is right. The mistake is in line 4."""
ALSO = {"a read past the end": {"initcheck"}}
"""Where nothing is between two tensors, what lies past one is another that nobody wrote."""


def checked(bay: Bay, body: str) -> Evaluation:  # noqa: F811
    candidate = bay.candidate(
        HEAD + body + TAIL,
        (Scratch(name="scratch", bytes="4 * N"),),
        grid=("ceil_div(N, 256)", 1, 1),
        arguments=("x", "y", "scratch", "N", "scale"),
    )
    return bay.judge(candidate, Effort.check, task=SMALL, sanitizers=DEVICE_TOOLS)


def by_tool(evaluation: Evaluation) -> dict[str, SanitizerResult]:
    assert [s.tool for s in evaluation.sanitizers] == list(DEVICE_TOOLS), evaluation.detail
    return {s.tool: s for s in evaluation.sanitizers}


def test_a_clean_kernel_passes_all(bay: Bay) -> None:  # noqa: F811
    evaluation = checked(bay, CLEAN)
    assert {t: (s.status, s.reason) for t, s in by_tool(evaluation).items()} == dict.fromkeys(
        DEVICE_TOOLS, ("passed", "")
    )
    assert evaluation.passed


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_found_by_its_tool_alone(name: str, bay: Bay) -> None:  # noqa: F811
    body, tool, kind = MISTAKES[name]
    evaluation = checked(bay, body)
    found = by_tool(evaluation)
    failed = {t for t, s in found.items() if s.status == "failed"}
    assert tool in failed
    assert failed - {tool} <= ALSO.get(name, set())
    assert {s.status for t, s in found.items() if t not in failed} == {"passed"}
    finding = found[tool].findings[0]
    assert finding.kind.startswith(kind)
    assert (finding.kernel, finding.location) == ("k", "k.cu:4")
    assert evaluation.status is STATUS[tool]
    assert evaluation.detail.startswith(f"{tool}: {kind}")


def test_a_tool_that_is_blind_passes_nobody(bay: Bay, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setitem(sanitize_device.OPTIONS, "memcheck", ("--kernel-name", "kne=nothing"))
    evaluation = checked(bay, CLEAN)
    found = by_tool(evaluation)["memcheck"]
    assert found.status == "unavailable"
    assert "the judge planted" in found.reason


def test_the_next_candidate_is_judged_right(bay: Bay) -> None:  # noqa: F811
    assert not checked(bay, MISTAKES["a read past the end"][0]).passed
    assert bay.judge(bay.candidate(HEAD.replace("float* scratch, ", "") + TAIL), Effort.screen, task=SMALL).passed
