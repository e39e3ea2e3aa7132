"""Real profiles on a GPU: the judge's launcher under Nsight Compute and Nsight Systems."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from warpsmith.crew import write_step
from warpsmith.model.profile import Profile, ProfileEffort
from warpsmith.model.step import Explain, ProfileRequest
from warpsmith.profilers.reports import read_report
from warpsmith.profilers.tools import available
from warpsmith.surface.diagnoses import diagnoses
from warpsmith.surface.profiling import Tool, profile_request
from warpsmith.surface.workspace import Workspace

ROOT = Path(__file__).parents[2]
APP = """
#include <cstdio>
__global__ void scale(float *x, int n) { int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) x[i] *= 2.0f; }
__global__ void once(float *x) { x[0] = 1.0f; }
int main()
{
    const int n = 1 << 24;
    float *x;
    cudaMalloc(&x, n * sizeof(float));
    for (int i = 0; i < 20; i++)
        scale<<<n / 256, 256>>>(x, n);
    once<<<1, 1>>>(x);
    std::printf("%s\\n", cudaGetErrorString(cudaDeviceSynchronize()));
}
"""


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace(ROOT, {"home": str(tmp_path / "home")})


def request(space: Workspace, tool: Tool, effort: ProfileEffort = ProfileEffort.quick) -> ProfileRequest:
    known = space.task("cuda/rmsnorm")
    step = Explain(candidate=known.entry.id, round=0)
    target = space.target(known)
    return profile_request(space, known, target, step, known.entry, tool=tool, effort=effort, workload="4096x4096")


def taken(space: Workspace, tmp_path: Path, asked: ProfileRequest) -> Profile:
    """The profile, taken in this process."""
    from warpsmith.profilers import steps

    folder = tmp_path / "steps" / asked.tool
    write_step(folder, asked, space.task("cuda/rmsnorm").loaded.folder, space.blobs)
    return steps.profile(asked, folder)


needs_ncu = pytest.mark.skipif(not available("ncu"), reason="ncu is not here")
needs_nsys = pytest.mark.skipif(not available("nsys"), reason="nsys is not here")


@pytest.mark.gpu
@needs_ncu
def test_a_quick_profile_has_what_every_rule_needs_and_points_at_lines(space: Workspace, tmp_path: Path) -> None:
    asked = request(space, "ncu")
    found = taken(space, tmp_path, asked)
    (kernel,) = found.kernels
    assert kernel.kernel == "rmsnorm" and kernel.grid == (4096, 1, 1) and kernel.block == (256, 1, 1)
    assert not kernel.missing and kernel.registers
    assert kernel.metrics["compulsory_bytes"] == 2 * (2 * 4096 * 4096 + 4096)
    assert kernel.metrics["dram_bytes"] > 0.4 * kernel.metrics["compulsory_bytes"], "caches were cold"
    source = (ROOT / "tasks/cuda/rmsnorm/src/rmsnorm.cu").read_text().splitlines()
    for line in kernel.lines:
        if line.file == "rmsnorm.cu":
            assert line.text == source[line.line - 1].strip()[:200]
    assert kernel.lines and sum(line.samples for line in kernel.lines) > 0.5
    assert any("LACKING" in c or "sandbox" in c for c in found.conditions)
    (made,) = diagnoses(found, asked.target, {}, {})
    assert not made.not_evaluated


@pytest.mark.gpu
@needs_ncu
def test_a_full_profile_has_the_vendors_advice_and_its_report_is_kept(space: Workspace, tmp_path: Path) -> None:
    found = taken(space, tmp_path, request(space, "ncu", ProfileEffort.full))
    (kernel,) = found.kernels
    assert {a.rule for a in kernel.advice} >= {"SOLBottleneck", "CPIStall"}
    assert any(a.speedup is not None and 0 < a.speedup < 1 and a.scope for a in kernel.advice)
    assert any(line.sass for line in kernel.lines)
    (report,) = (tmp_path / "steps" / "ncu" / "kept").iterdir()
    assert report.stem == found.reports[0]
    assert read_report(report)[0].metrics["duration"] == kernel.metrics["duration"]


@pytest.mark.gpu
@needs_ncu
def test_without_memory_for_a_replay_every_pass_is_a_process(
    space: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from warpsmith.profilers.launches import Calls

    monkeypatch.setattr(Calls, "crowded", True)
    found = taken(space, tmp_path, request(space, "ncu"))
    assert any("application replay" in c for c in found.conditions)
    (kernel,) = found.kernels
    assert {"dram", "occupancy", "stall_long_scoreboard"} <= set(kernel.metrics)


@pytest.mark.gpu
@needs_ncu
def test_where_that_fails_too_times_and_launches_are_left(
    space: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from warpsmith.errors import ProfilerFailed
    from warpsmith.profilers.launches import Calls

    def refused(*told: object) -> None:
        raise ProfilerFailed("it was killed.", "")

    monkeypatch.setattr(Calls, "crowded", True)
    monkeypatch.setattr(Calls, "rerun", refused)
    found = taken(space, tmp_path, request(space, "ncu"))
    assert any("one pass, times and launches only" in c and "it was killed" in c for c in found.conditions)
    (kernel,) = found.kernels
    assert kernel.metrics["duration"] > 0 and kernel.metrics["registers"] > 0 and "dram" in kernel.missing


@pytest.mark.gpu
@needs_nsys
def test_a_timeline_of_a_candidate(space: Workspace, tmp_path: Path) -> None:
    found = taken(space, tmp_path, request(space, "nsys"))
    assert found.timeline is not None
    kernels = {a.name: a for a in found.timeline.activities if a.kind == "kernel"}
    assert kernels["rmsnorm"].count == 11
    assert 0 < found.timeline.busy <= 1 and found.timeline.gaps > 0


@pytest.mark.gpu
@needs_ncu
@needs_nsys
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not here")
def test_a_combined_capture_of_a_program(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from warpsmith.profilers.application import Application

    (tmp_path / "app.cu").write_text(APP)
    subprocess.run(("nvcc", "-o", str(tmp_path / "app"), str(tmp_path / "app.cu")), check=True)
    kept: list[Path] = []

    def keep(report: Path) -> str:
        kept.append(report)
        return "0" * 64

    found = Application((str(tmp_path / "app"),), 30.0, keep).profile("all", ProfileEffort.quick)
    assert found.timeline is not None
    first = found.timeline.activities[0]
    assert first.kind == "kernel" and first.name == "scale" and first.count == 20
    assert {k.kernel for k in found.kernels} == {"scale", "once"}
    assert "ncu" in found.tool and "nsys" in found.tool
    assert [path.suffix for path in kept] == [".nsys-rep", ".ncu-rep"]
    assert "no error" in capfd.readouterr().err
