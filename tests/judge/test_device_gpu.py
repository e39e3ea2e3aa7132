"""The device contract on a GPU: each way for a candidate to end gets its status, and the judge goes on."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.judge.gpubay import GpuBay, scaling, times
from warpsmith.crew import write_step
from warpsmith.execute.local import LocalExecutor, Session
from warpsmith.judge import gpu
from warpsmith.judge.__main__ import make_bench
from warpsmith.judge.failures import WorkerLost
from warpsmith.judge.health import Health
from warpsmith.judge.kernel import KernelJudge
from warpsmith.model.base import digest
from warpsmith.model.candidate import Candidate, Launch, Scratch
from warpsmith.model.evaluation import Effort, Evaluation, Status
from warpsmith.model.head import Workload
from warpsmith.model.hidden import Extent
from warpsmith.model.step import Result
from warpsmith.model.target import Target
from warpsmith.surface.workspace import JUDGE

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]
TASK = scaling("device", Workload(name="odd", axes={"N": (1 << 20) + 3}), Workload(name="one", axes={"N": 1}))
HEAD = 'extern "C" __global__ void k(float* x, float* y, long long n, float scale) {\n'
EACH = HEAD + "for (long long i = blockIdx.x * 256 + threadIdx.x; i < n; i += 256 * gridDim.x) { BODY }\n AFTER }"


def kernel(body: str = "y[i] = x[i] * scale;", after: str = "") -> str:
    return EACH.replace("BODY", body).replace("AFTER", after)


class Bay(GpuBay):
    """The device contract."""

    task = TASK

    def plain(self) -> Candidate:
        return self.candidate(kernel())

    def candidate(self, source: str, scratch: tuple[Scratch, ...] = (), **launch: Any) -> Candidate:
        said: dict[str, Any] = {
            "kernel": "k", "grid": ("min(4 * SM_COUNT, ceil_div(N, 256))", 1, 1), "block": (256, 1, 1),
            "arguments": ("x", "y", "N", "scale"), **launch,
        }  # fmt: skip
        return Candidate(
            toolchain="cuda",
            entry="k",
            sources=self.source("k.cu", source),
            launch=said.pop("launches", None) or (Launch(**said),),
            scratch=scratch,
        )


@pytest.fixture(scope="module")
def bay(tmp_path_factory: pytest.TempPathFactory, gpu_target: Target) -> Iterator[Bay]:
    yield Bay(tmp_path_factory.mktemp("bay"), gpu_target)
    gpu.forget()


def test_a_right_candidate_passes_with_times_and_facts(bay: Bay) -> None:
    found = bay.judge(bay.candidate(kernel() + "// another"))
    assert found.passed, found.detail
    assert [w.calls > 0 for w in found.workloads] == [True, True]
    mine, rival = times(found)
    assert 1e-6 < mine < 1e-3
    assert 0.5 < mine / rival < 2.0  # the same code on both sides
    assert found.build is not None
    (facts,) = found.build.kernels
    assert 8 <= (facts.registers or 0) <= 64
    assert (facts.spill_bytes, facts.stack_bytes, facts.shared_bytes) == (0, 0, 0)
    said = "; ".join(found.conditions)
    assert "stamps of the device's own timer, watched from outside" in said
    assert "GPU clocks beside timed calls: SM" in said
    assert "launchers: limits" in said


def test_a_warm_cache_is_faster_than_a_cold_one(bay: Bay) -> None:
    cold = bay.judge(bay.candidate(kernel()))
    warm = bay.judge(bay.candidate(kernel()), cold=False)
    assert warm.passed, warm.detail
    assert times(warm)[0] < times(cold)[0]


def test_confirming_also_measures_the_copy_ceiling(bay: Bay) -> None:
    found = bay.judge(bay.candidate(kernel()), Effort.confirm)
    assert found.passed, found.detail
    ceiling = found.workloads[0].ceiling
    assert ceiling is not None
    assert len(ceiling.seconds) == Effort.confirm.pairs
    assert 1e10 < ceiling.bytes / median(ceiling.seconds) < 2e13


BAD: dict[str, tuple[str, Status, str]] = {
    "wrong": (kernel("y[i] = x[i] * scale * 1.01f;"), Status.wrong_values, "relative RMS"),
    "unwritten": (kernel("if (i != 7) y[i] = x[i] * scale;"), Status.wrong_values, "y:"),
    "beyond the end": (kernel(after="y[n] = 1.0f;"), Status.wrong_values, "out of bounds of 'y'"),
    "before the start": (kernel(after="y[-1] = 1.0f;"), Status.wrong_values, "out of bounds of 'y'"),
    "changed input": (kernel("y[i] = x[i] * scale; x[i] = 0;"), Status.cheated, "changed its input 'x'"),
    "restless": (
        kernel("y[i] = x[i] * scale * (1.0f + 1e-6f * (clock64() & 15));"), Status.nondeterministic, "differs",
    ),
    "endless": (kernel(after="while (((volatile float*)x)[0] != 12345.0f) {}"), Status.timed_out, "within 2 s"),
    "illegal address": (kernel(after="*(volatile int*)16 = 1;"), Status.crashed, "CUDA_ERROR_ILLEGAL_ADDRESS"),
    "trap": (kernel(after="__trap();"), Status.crashed, "CUDA_ERROR"),
    "does not compile": (kernel("nonsense;"), Status.build_failed, "nonsense"),
    "fewer parameters": (
        'extern "C" __global__ void k(float* x, float* y, long long n) {}', Status.crashed, "the launch passes",
    ),
    "more parameters": (
        'extern "C" __global__ void k(float* x, float* y, long long n, float s, int* p) {}',
        Status.crashed,
        "the launch passes [8, 8, 8, 4]",
    ),
    "keeps results": (
        "__device__ float kept[2000000]; __device__ int full;\n"
        + kernel("y[i] = full ? kept[i] : x[i] * scale; kept[i] = y[i];", "if (threadIdx.x == 0) full = 1;"),
        Status.wrong_values,
        "y:",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_candidate_gets_its_status_and_the_judge_goes_on(bay: Bay, name: str) -> None:
    source, status, said = BAD[name]
    found = bay.judge(bay.candidate(source), timeout_s=2.0)
    assert (found.status, found.rival_status) == (status, Status.passed), found.detail
    assert said in found.detail
    again = bay.judge(bay.candidate(kernel()), Effort.check)
    assert again.passed, again.detail


def test_a_rival_that_crashes_is_not_the_candidates_failure(bay: Bay) -> None:
    found = bay.judge(bay.candidate(kernel()), rival=bay.candidate(BAD["illegal address"][0]))
    assert (found.status, found.rival_status) == (Status.crashed, Status.crashed)
    assert "the rival failed" in found.detail


def test_two_launches_share_a_scratch_buffer(bay: Bay) -> None:
    source = """extern "C" __global__ void first(const float* x, float* t, long long n) {
        for (long long i = threadIdx.x; i < n; i += blockDim.x) t[i] = x[i];
    }
    extern "C" __global__ void second(const float* t, float* y, long long n, float scale) {
        for (long long i = threadIdx.x; i < n; i += blockDim.x) y[i] = t[i] * scale;
    }"""
    shape: dict[str, Any] = {"grid": (1, 1, 1), "block": (1024, 1, 1)}
    first = Launch(kernel="first", arguments=("x", "t", "N"), **shape)
    second = Launch(kernel="second", arguments=("t", "y", "N", "scale"), **shape)
    scratch = (Scratch(name="t", bytes="4 * N"),)
    found = bay.judge(bay.candidate(source, scratch, launches=(first, second)))
    assert found.passed, found.detail
    found = bay.judge(bay.candidate(source, scratch, launches=(second, first)), Effort.check)
    assert found.status is Status.wrong_values  # scratch is poisoned before every call


@pytest.mark.parametrize(
    ("launch", "said"),
    [
        ({"grid": (0, 1, 1)}, "the grid (0, 1, 1) is out of range"),
        ({"shared_bytes": 1 << 20}, "dynamic shared memory"),
        ({"grid": ("BLOCKS", 1, 1)}, "the name 'BLOCKS' is not known"),
    ],
)
def test_an_impossible_plan_never_reaches_the_device(bay: Bay, launch: dict[str, Any], said: str) -> None:
    found = bay.judge(bay.candidate(kernel(), **launch))
    assert found.status is Status.crashed
    assert said in found.detail


PRINTF = """#ifdef __CUDACC_RTC__
extern "C" __device__ int printf(const char*, ...);
#else
#include <cstdio>
#endif
"""
USES: dict[str, tuple[str, int]] = {
    "shared memory": (
        "extern __shared__ float s[];\n"
        + kernel("s[threadIdx.x + 20000] = x[i]; y[i] = s[threadIdx.x + 20000] * scale;"),
        96 << 10,
    ),
    "a large stack": (
        kernel("float a[999]; for (int j = 0; j < 999; ++j) a[(j + i) % 999] = x[i] + j; y[i] = a[i % 999] * scale;"),
        0,
    ),
    "printf": (PRINTF + kernel(after='if (threadIdx.x == 0) printf("{}\\n");'), 0),
}


@pytest.mark.parametrize("name", USES)
def test_what_a_kernel_may_use(bay: Bay, name: str) -> None:
    source, shared = USES[name]
    found = bay.judge(bay.candidate(source, shared_bytes=shared))
    assert found.passed, found.detail


def test_a_launcher_killed_from_outside_is_a_fault(bay: Bay) -> None:
    request = bay.request(bay.candidate(kernel()))
    folder = bay.root / f"step-{bay.count}"
    write_step(folder, request, bay.root / "task", bay.blobs)
    judge = KernelJudge(request, folder, make_bench)
    killed: list[int] = []
    original = judge._pair

    def kill_first(*arguments: Any, **options: Any) -> None:
        if not killed:
            process = judge.candidate.live._process  # type: ignore[attr-defined]
            killed.append(process._child.pid)
            os.kill(process._child.pid, signal.SIGKILL)
        original(*arguments, **options)

    judge._pair = kill_first  # type: ignore[method-assign,assignment]
    with pytest.raises(WorkerLost, match="killed from outside"):
        judge.judge()


def test_nothing_leaks_over_many_measurements(bay: Bay) -> None:
    import torch

    def used() -> int:
        gpu.forget()
        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info()
        return int(total - free)

    bay.judge(bay.candidate(kernel()), Effort.screen)
    before, descriptors = used(), len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        bay.judge(bay.candidate(kernel()), Effort.screen)
    assert used() - before < 32 << 20
    assert len(os.listdir("/proc/self/fd")) == descriptors


@pytest.fixture
def executor(bay: Bay, tmp_path: Path) -> Iterator[Callable[[Candidate], Result]]:
    session = Session(JUDGE, tmp_path / "log")
    runner = LocalExecutor(tmp_path / "steps", session, f"test-{os.getpid()}", 100.0)

    def run(candidate: Candidate) -> Result:
        request = bay.request(candidate, timeout_s=2.0)
        answer = runner.run(digest(bay.count), 0, lambda f: write_step(f, request, bay.root / "task", bay.blobs))
        assert isinstance(answer, Result), answer
        return answer

    yield run
    runner.close()


def test_a_warm_session_survives_bad_candidates(bay: Bay, executor: Callable[[Candidate], Result]) -> None:
    statuses = []
    for source in (kernel(), BAD["illegal address"][0], BAD["endless"][0], kernel()):
        result = executor(bay.candidate(source))
        assert isinstance(result.outcome, Evaluation), result.outcome
        statuses.append(result.outcome.status)
    assert statuses == [Status.passed, Status.crashed, Status.timed_out, Status.passed]
    assert {"build", "start", "verify", "time"} <= set(result.phases)


AFTERMATH: dict[str, tuple[str, dict[str, Any], bool]] = {
    "a sticky illegal address": (BAD["illegal address"][0], {}, True),
    "an endless kernel": (BAD["endless"][0], {}, True),
    "scratch beyond all memory": (
        'extern "C" __global__ void k(float* x, float* y, char* s, float f) {}',
        {"scratch": (Scratch(name="s", bytes=1 << 42),), "arguments": ("x", "y", "s", "scale")},
        False,
    ),
    "a flood of printf": (
        PRINTF + kernel(after='for (int r = 0; r < 999; r++) printf("%d of a flood of many lines\\n", r);'), {}, True,
    ),
}  # fmt: skip
"""What is judged first, and whether the device is probed then."""


@pytest.mark.parametrize("name", AFTERMATH)
def test_a_good_candidate_is_measured_right_afterwards(bay: Bay, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    good = bay.candidate(kernel() + "// good")
    before = bay.judge(good)
    probed: list[bool] = []
    original = Health.probe
    monkeypatch.setattr(Health, "probe", lambda self: (probed.append(True), original(self)))
    source, launch, suspect = AFTERMATH[name]
    bad = bay.judge(bay.candidate(source, **launch), timeout_s=2.0)
    assert not bad.passed
    assert not probed
    after = bay.judge(good)
    assert after.passed, after.detail
    assert bool(probed) is suspect
    assert 0.8 < times(after)[0] / times(before)[0] < 1.25
    assert 0.8 < times(after)[0] / times(after)[1] < 1.25


@pytest.mark.parametrize("wrong", ["_reported", "_computes", "_copies"])
def test_a_device_that_is_not_well_is_a_fault(bay: Bay, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bay.judge(bay.candidate(BAD["trap"][0])).status is Status.crashed
    with monkeypatch.context() as patched:
        patched.setattr(Health, wrong, lambda self: "a planted reason")
        for _ in range(2):
            with pytest.raises(WorkerLost, match="not well: a planted reason"):
                bay.judge(bay.candidate(kernel()))
    assert bay.judge(bay.candidate(kernel())).passed


def test_a_slow_copy_and_more_errors_are_seen(bay: Bay, monkeypatch: pytest.MonkeyPatch) -> None:
    bay.judge(bay.candidate(kernel()), Effort.check)
    (known,) = gpu._known.values()
    known.health.probe()
    monkeypatch.setattr(known.health, "rate", 10 * known.health.rate)
    with pytest.raises(WorkerLost, match="of its first rate"):
        known.health.probe()
    monkeypatch.undo()
    if known.health.errors is not None:
        monkeypatch.setattr(known.health, "errors", -3)
        with pytest.raises(WorkerLost, match="more memory errors"):
            known.health.probe()


def test_a_slowed_gpu_disturbs_its_rounds(bay: Bay, monkeypatch: pytest.MonkeyPatch) -> None:
    bay.judge(bay.candidate(kernel()), Effort.check)
    looks = itertools.count()
    original = Health.look

    def look(self: Health) -> str:
        said = original(self)
        if next(looks) % 9:
            return said
        self.slowed["slowed for its temperature"] += 1
        return "the GPU was slowed for its temperature"

    monkeypatch.setattr(Health, "look", look)
    found = bay.judge(bay.candidate(kernel()))
    assert found.passed, found.detail
    assert found.disturbed is not None
    assert found.disturbed.dropped > 0
    assert "the GPU was slowed for its temperature" in found.disturbed.why
    assert any("slowed for its temperature at" in condition for condition in found.conditions)


def test_a_call_of_seconds_is_timed_and_a_call_without_end_ends(bay: Bay) -> None:
    wait = (
        'unsigned long long t, s; asm volatile("mov.u64 %0, %globaltimer;" : "=l"(s));'
        ' do asm volatile("mov.u64 %0, %globaltimer;" : "=l"(t)); while (t - s < 600000000ull);'
    )
    tiny = TASK.model_copy(update={"workloads": TASK.workloads[1:]})
    found = bay.judge(bay.candidate(kernel(after=wait)), task=tiny)
    assert found.passed, found.detail
    assert times(found)[0] == pytest.approx(0.6, rel=0.01)


SHAPED = TASK.model_copy(update={"shapes": {"N": Extent(min=0, max=4 << 20)}, "alignment": 16})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("y[i] = x[i] * scale;", ""),
        ("if (n == 1 || n == (1 << 20) + 3) y[i] = x[i] * scale;", "'hidden, "),
        ("if ((long long)x % 256 == 0) y[i] = x[i] * scale;", "aligned to 16 bytes only"),
    ],
)
def test_hidden_shapes_and_tight_alignment(bay: Bay, body: str, said: str) -> None:
    """Empty shapes among them: a grid of no blocks is not launched."""
    text = kernel(body)
    found = bay.judge(bay.candidate(text, grid=("ceil_div(N, 256)", 1, 1)), Effort.check, task=SHAPED)
    assert found.passed is (said == ""), found.detail
    assert said in found.detail
    assert said or any("empty: N=0" in condition for condition in found.conditions)


@pytest.mark.parametrize("effort", [Effort.screen, Effort.check])
def test_twice_the_baseline(bay: Bay, effort: Effort) -> None:
    cut = "y[i] = __int_as_float(__float_as_int(x[i] * scale) & ~15);"
    wide = TASK.model_copy(update={"arguments": tuple(
        a.model_copy(update={"shape": ("ROWS", 256)}) if a.is_tensor else a for a in TASK.arguments
    ), "workloads": (Workload(name="rows", axes={"ROWS": 4096, "N": 4096 * 256}),)})  # fmt: skip
    baseline = bay.candidate(kernel())
    found = bay.judge(bay.candidate(kernel(cut)), effort, task=wide, baseline=baseline)
    assert found.status is Status.wrong_values
    assert "less precise than twice the baseline" in found.detail
    third = bay.candidate(kernel() + "// another rival")
    found = bay.judge(bay.candidate(kernel() + "// same"), effort, task=wide, baseline=baseline, rival=third)
    assert found.passed, found.detail
    assert found.workloads[0].errors[0].baseline is not None
