"""Capture and trial of real applications on a real device, by the verbs alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.app.building import EXAMPLES, PROGRAMS, compiled
from warpsmith.model.captured import CLOSE, IDENTICAL
from warpsmith.surface import cli

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]
SOURCE = EXAMPLES / "transpose" / "src" / "main.cu"
BROKEN = {
    "wrong": ("{ if (threadIdx.x == 0) out[0] = 41; }", "wrong_output"),
    "crashing": ("{ asm(\"trap;\"); }", "crashed"),
}  # fmt: skip
TILED = """
struct Shape { int rows, cols; };
extern "C" __global__ void __launch_bounds__(256) tiled(const float *in, float *out, Shape s, float scale) {
    __shared__ float tile[32][33];
    int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 32 + threadIdx.y;
    for (int i = 0; i < 32; i += 8)
        if (x < s.cols && y + i < s.rows) tile[threadIdx.y + i][threadIdx.x] = in[size_t(y + i) * s.cols + x];
    __syncthreads();
    x = blockIdx.y * 32 + threadIdx.x, y = blockIdx.x * 32 + threadIdx.y;
    for (int i = 0; i < 32; i += 8)
        if (x < s.rows && y + i < s.cols) out[size_t(y + i) * s.rows + x] = scale * tile[threadIdx.x][threadIdx.y + i];
}
"""
PLAN = """toolchain = "cuda"
sources = ["k.cu"]
entry = "tiled"
[[launch]]
kernel = "tiled"
grid = ["(shape_4 + 31) // 32", "(shape_0 + 31) // 32", 1]
block = [32, 8, 1]
arguments = ["in", "out", "shape", "scale"]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tasks").mkdir()
    return tmp_path


def asked(capfd: pytest.CaptureFixture[str], *argv: object, app: tuple[object, ...] = ()) -> tuple[int, dict[str, Any]]:
    capfd.readouterr()
    status = cli.run([*map(str, argv), "--json", *(("--", *map(str, app)) if app else ())])
    read = capfd.readouterr()
    assert read.out, read.err[-2000:]
    return status, json.loads(read.out)


def put(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "k.cu").write_text(text)
    (folder / "candidate.toml").write_text(PLAN)
    return folder


def test_the_road_of_the_transpose(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    app = (compiled(SOURCE), "--repeat", 200)
    began = time.monotonic()
    status, found = asked(
        capfd, "capture", "tiles::transpose", "--name", "t", "--source", SOURCE, "--harness", "h.cu", app=app
    )
    assert status == 0, found
    assert found["replay"].startswith(IDENTICAL)
    assert all(row["alone_s"] > 0 and row["real_s"] > 0 for row in found["rows"])
    folder = put(project / "tasks" / "captured" / "t" / "tiled", TILED)
    checked, answer = asked(capfd, "check", "captured/t", folder)
    assert checked == 0, answer
    status, answer = asked(capfd, "trial", folder, "--regex", r"seconds ([\d.]+)", "--check", "true", app=(
        "sh", "-c", f"{app[0]} --repeat 200 2>&1",
    ))  # fmt: skip
    print(answer["trial"]["reason"], f"{time.monotonic() - began:.0f} s from observe to the verdict")
    assert answer["trial"]["outcome"] == "measured"
    assert answer["trial"]["kernel"]["verdict"] == "faster"
    assert answer["trial"]["covered"] == 1.0
    status, answer = asked(capfd, "trial", folder, "--pairs", 3, app=app)  # its output is the same to the byte
    assert answer["trial"]["outcome"] == "measured"
    assert time.monotonic() - began < 120
    for name, (body, outcome) in BROKEN.items():
        head = TILED.partition("{\n    __shared__")[0]
        status, answer = asked(capfd, "trial", put(folder.parent / name, head + body), "--pairs", 3, app=app)
        assert (status, answer["trial"]["outcome"]) == (1, outcome)
        assert Path(answer["report"]).is_file()
    subprocess.run((shutil.which("nvcc") or "nvcc", "-O3", "-std=c++17", "-arch=native", "-o", "h", "h.cu"), check=True)
    ran = subprocess.run("./h", capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("right") == len(found["rows"]) + 1


@pytest.mark.parametrize("kernel", ["tiles::transpose", "partial_sums"])
def test_a_captured_kernel_is_optimised_by_a_sweep(
    project: Path, capfd: pytest.CaptureFixture[str], kernel: str
) -> None:
    app = (compiled(SOURCE), "--repeat", 20)
    status, found = asked(capfd, "capture", kernel, "--name", "s", "--source", SOURCE, app=app)
    assert status == 0, found
    assert found["replay"].startswith(IDENTICAL)
    assert not [n for n in found["notes"] if "taken out" in n]
    status, answer = asked(capfd, "optimize", "captured/s", "--budget", "rounds=2")
    print(kernel, status, answer["view"]["best"], answer["view"].get("speedup"))
    assert status in (0, 2)
    if status == 0:
        _, answer = asked(capfd, "trial", "best", "--task", "captured/s", app=app)
        assert answer["trial"]["outcome"] == "measured", answer["trial"]["reason"]
        assert answer["ledger"]


@pytest.mark.parametrize(
    ("kernel", "said"), [("histogram", IDENTICAL), ("total", CLOSE), ("blur", IDENTICAL), ("gather", IDENTICAL)]
)
def test_awkward_kernels_are_replayed(project: Path, capfd: pytest.CaptureFixture[str], kernel: str, said: str) -> None:
    status, found = asked(capfd, "capture", kernel, "--name", kernel, app=(compiled(PROGRAMS / "captured.cu"),))
    assert status == 0, found
    # a sum of floats by atomics may come out the same by chance
    assert found["replay"].startswith((said, IDENTICAL)), found["replay"]
    text = (project / "tasks" / "captured" / kernel / "task.toml").read_text()
    if kernel == "blur":
        assert '"taps"' in text
        assert '"calls"' in text
    if kernel == "gather":
        assert text.count('buffer = "p0"') == 2
    assert os.stat(project / ".warpsmith" / "fixtures").st_mode & 0o077 == 0


MISTAKES = {
    "memcheck": (
        "    x = blockIdx.y",
        "    if (((volatile const float *)in)[-1] == 1e30f) return;\n",
    ),
    "racecheck": ("    __syncthreads();\n", None),
}
"""What each tool finds: a line of TILED, and what goes before it; None takes the line out."""


def test_a_captured_kernel_passes_the_sanitizers_is_profiled_and_promoted(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """All that a release of a captured kernel needs: four tools of compute-sanitizer, reports of ncu and of nsys."""
    app = (compiled(SOURCE), "--repeat", 20)
    status, found = asked(capfd, "capture", "tiles::transpose", "--name", "t", "--source", SOURCE, app=app)
    assert status == 0, found
    task = project / "tasks" / "captured" / "t"
    status, answer = asked(capfd, "check", "captured/t", put(task / "tiled", TILED), "--sanitize")
    said = {s["tool"]: (s["status"], s["reason"]) for s in answer["evaluation"]["sanitizers"]}
    assert said == dict.fromkeys(("memcheck", "racecheck", "initcheck", "synccheck"), ("passed", "")), answer
    assert status == 0
    for tool, (line, mistake) in MISTAKES.items():
        wrong = TILED.replace(line, f"{mistake}{line}" if mistake else "")
        status, answer = asked(capfd, "check", "captured/t", put(task / f"for_{tool}", wrong), "--sanitize")
        print(tool, status, answer["evaluation"]["status"], answer["evaluation"]["detail"])
        assert status == 1
    folder = task / "tiled"
    status, answer = asked(capfd, "explain", "captured/t", folder)
    print("explain", status, json.dumps(answer)[:600])
    assert status in (0, 2), answer
    shutil.copytree(folder, task / "src", dirs_exist_ok=True)
    status, answer = asked(capfd, "optimize", "captured/t", "--budget", "rounds=0")
    assert status in (0, 2), answer
    status, answer = asked(capfd, "promote", "captured/t", "1.0.0", "--candidate", "entry")
    print("promote", status, json.dumps(answer.get("refusals")))
    reasons = {r["reason"] for r in answer["refusals"]}
    assert reasons <= {"not_faster", "below_gate", "regression"}, "nothing is lacking but, perhaps, a gain"
    if status == 0:
        status, answer = asked(capfd, "trial", "captured/t@1.0.0", "--pairs", 3, app=app)
        assert answer["trial"]["outcome"] == "measured", answer
