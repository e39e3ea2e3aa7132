"""Capture and trial of real applications on a real device, by the verbs alone."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.app.building import EXAMPLES, PROGRAMS, compiled, shared
from warpsmith.model.captured import CLOSE, IDENTICAL
from warpsmith.surface import cli

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]
SOURCE = EXAMPLES / "transpose" / "src" / "main.cu"
CANDIDATES = EXAMPLES / "transpose" / "candidates"
BROKEN = {
    "wrong": ("    if (s.rows == 1000) return;\n", "wrong_output"),
    "rejected": ("    if (s.rows > 0) return;\n", "crashed"),
    "crashing": ("    asm(\"trap;\");\n", "crashed"),
}  # fmt: skip
"""What stands before the body of the tiled candidate. The application checks its last shape itself, and ends with
status 1 where that is wrong; those of 1000 rows it only prints.
"""
SMALL_REPEAT, REPEAT = 20, 200


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One project for all: the library, the calibration and what was observed are made once."""
    root = tmp_path_factory.mktemp("captures")
    (root / "tasks").mkdir()
    before = os.environ.get("WARPSMITH_HOME")
    os.environ["WARPSMITH_HOME"] = str(shared("home"))
    try:
        with chdir(root):
            yield root
    finally:
        os.environ.pop("WARPSMITH_HOME")
        if before is not None:
            os.environ["WARPSMITH_HOME"] = before


def asked(*argv: object, app: tuple[object, ...] = ()) -> tuple[int, dict[str, Any]]:
    """A verb's exit status and its answer; what it says besides stays on standard error, where pytest keeps it."""
    with redirect_stdout(io.StringIO()) as out:
        status = cli.run([*map(str, argv), "--json", *(("--", *map(str, app)) if app else ())])
    assert out.getvalue(), f"{argv} said nothing, and ended with {status}"
    return status, json.loads(out.getvalue())


def said(answer: dict[str, Any]) -> str:
    """An answer as a failure shows it."""
    return json.dumps(answer, indent=1)[:4000]


def program(repeat: int) -> tuple[object, ...]:
    return (compiled(SOURCE), "--repeat", repeat)


def put(folder: Path, of: str, before: str = "", taken: str = "") -> Path:
    """A candidate of the examples, with ``before`` at the head of its kernel and without ``taken``."""
    shutil.copytree(CANDIDATES / of, folder, dirs_exist_ok=True)
    text = (folder / "kernel.cu").read_text()
    assert taken in text
    text = text.replace(taken, "") if taken else text
    at = text.index("    __shared__")
    (folder / "kernel.cu").write_text(text[:at] + before + text[at:])
    return folder


@dataclass(frozen=True)
class Captured:
    """The transpose, captured once for the tests of this module."""

    folder: Path
    answer: dict[str, Any]
    harness: Path
    seconds: float


@pytest.fixture(scope="module")
def transpose(project: Path) -> Captured:
    app, harness = program(SMALL_REPEAT), project / "h.cu"
    began = time.monotonic()
    words = ("capture", "tiles::transpose", "--name", "t", "--source", SOURCE, "--harness", harness)
    status, answer = asked(*words, app=app)
    seconds = time.monotonic() - began
    assert status == 0, said(answer)
    return Captured(project / "tasks" / "captured" / "t", answer, harness, seconds)


@pytest.fixture(scope="module")
def tiled(transpose: Captured) -> Path:
    return put(transpose.folder / "tiled", "tiled")


def test_the_replay_of_the_original_is_bit_identical(transpose: Captured) -> None:
    found = transpose.answer
    assert found["replay"].startswith(IDENTICAL), said(found)
    assert all(row["alone_s"] > 0 and row["real_s"] > 0 for row in found["rows"]), said(found)
    assert not [n for n in found["notes"] if "taken out" in n], said(found)


def test_a_better_candidate_passes_the_check(tiled: Path) -> None:
    status, answer = asked("check", "captured/t", tiled)
    assert status == 0, said(answer)


def test_from_observe_to_a_live_verdict(transpose: Captured, tiled: Path) -> None:
    """Standard output is the same to the byte; within two minutes of the first command, and without a rebuild."""
    began = time.monotonic()
    _, answer = asked("trial", tiled, app=program(REPEAT))
    assert "trial" in answer, said(answer)
    made = answer["trial"]
    assert (made["outcome"], made["covered"]) == ("measured", 1.0), said(answer)
    assert made["kernel"]["verdict"] == "faster", said(answer)
    seconds = transpose.seconds + time.monotonic() - began
    print(made["reason"], f"{seconds:.0f} s from observe to the verdict")
    assert seconds < 120


def test_the_applications_own_metric_and_check(tiled: Path) -> None:
    words = (
        "trial",
        tiled,
        "--pairs",
        3,
        "--regex",
        r"seconds ([\d.]+)",
        "--check",
        "grep -q 'wrong 0' $WARPSMITH_OUTPUT",
    )
    app = ("sh", "-c", f"{compiled(SOURCE)} --repeat {REPEAT} 2>&1")
    _, answer = asked(*words, app=app)
    assert "trial" in answer, said(answer)
    assert answer["trial"]["outcome"] == "measured", said(answer)
    assert answer["trial"]["kernel"]["verdict"] == "faster", said(answer)
    assert answer["trial"]["application"]["name"] == "metric", said(answer)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_candidate_ends_the_trial_and_leaves_a_report(transpose: Captured, name: str) -> None:
    before, outcome = BROKEN[name]
    folder = put(transpose.folder / name, "tiled", before)
    status, answer = asked("trial", folder, "--pairs", 2, "--limit", 60, app=program(SMALL_REPEAT))
    assert "trial" in answer, said(answer)
    assert (status, answer["trial"]["outcome"]) == (1, outcome), said(answer)
    assert Path(answer["report"]).is_file()


def test_the_harness_runs_alone(transpose: Captured, tmp_path: Path) -> None:
    nvcc = shutil.which("nvcc") or "nvcc"
    subprocess.run((nvcc, "-O3", "-std=c++17", "-arch=native", "-o", tmp_path / "h", transpose.harness), check=True)
    ran = subprocess.run(tmp_path / "h", capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("right") == len(transpose.answer["rows"]) + 1, ran.stdout


@pytest.mark.parametrize(("kernel", "of"), [("tiles::transpose", "tiled"), ("partial_sums", "sums")])
def test_a_captured_kernel_is_optimised_by_a_sweep(project: Path, tmp_path: Path, kernel: str, of: str) -> None:
    """From a source that somebody edited, since that of the application leaves a sweep nothing."""
    app, task = program(SMALL_REPEAT), f"captured/sweep-{of}"
    status, found = asked("capture", kernel, "--name", f"sweep-{of}", "--source", SOURCE, app=app)
    assert status == 0, said(found)
    assert found["replay"].startswith(IDENTICAL), said(found)
    shutil.rmtree(project / "tasks" / task / "src")
    put(project / "tasks" / task / "src", of)
    status, answer = asked("optimize", task, "--budget", "rounds=2,seconds=90")
    assert "view" in answer, said(answer)
    rows = [(r["parameters"], r["status"], r["verdict"], r["speedup"], r["detail"]) for r in answer["view"]["rows"]]
    assert status == 0, rows
    check = tmp_path / "near"  # of sums in another order the last digits differ
    check.write_text("#!/bin/sh\ngrep -q 'wrong 0' \"$WARPSMITH_OUTPUT\"\n")
    check.chmod(0o755)
    _, answer = asked("trial", "best", "--task", task, "--pairs", 3, "--check", check, app=app)
    assert "trial" in answer, said(answer)
    assert answer["trial"]["outcome"] == "measured", said(answer)
    assert answer["trial"]["kernel"]["verdict"] == "faster", said(answer)
    assert answer["ledger"], said(answer)


@pytest.mark.parametrize(
    ("kernel", "replay"), [("histogram", IDENTICAL), ("total", CLOSE), ("blur", IDENTICAL), ("gather", IDENTICAL)]
)
def test_awkward_kernels_are_replayed(project: Path, kernel: str, replay: str) -> None:
    status, found = asked("capture", kernel, "--name", kernel, app=(compiled(PROGRAMS / "captured.cu"),))
    assert status == 0, said(found)
    # a sum of floats by atomics may come out the same by chance
    assert found["replay"].startswith((replay, IDENTICAL)), said(found)
    text = (project / "tasks" / "captured" / kernel / "task.toml").read_text()
    if kernel == "blur":
        assert '"taps"' in text
        assert '"calls"' in text
    if kernel == "gather":
        assert text.count('buffer = "p0"') == 2
    assert os.stat(shared("home") / "fixtures").st_mode & 0o077 == 0


MISTAKES = {
    "memcheck": ("    if (((volatile const float *)in)[-1] == 1e30f) return;\n", ""),
    "racecheck": ("", "    __syncthreads();\n"),
}
"""What each tool finds: what goes before the tiled candidate's body, and what is taken out of it."""


@pytest.mark.parametrize("tool", [None, *MISTAKES])
def test_a_captured_kernel_under_the_sanitizers(transpose: Captured, tool: str | None) -> None:
    """Four tools of compute-sanitizer."""
    folder = put(transpose.folder / f"for_{tool}", "tiled", *MISTAKES.get(tool or "", ()))
    status, answer = asked("check", "captured/t", folder, "--sanitize")
    assert "evaluation" in answer, said(answer)
    found = {s["tool"]: (s["status"], s["reason"]) for s in answer["evaluation"]["sanitizers"]}
    print(tool, status, answer["evaluation"]["status"], answer["evaluation"]["detail"], found)
    if tool is not None:
        assert status == 1, said(answer)
        return
    assert found == dict.fromkeys(("memcheck", "racecheck", "initcheck", "synccheck"), ("passed", "")), said(answer)
    assert status == 0, said(answer)


def test_a_captured_kernel_is_profiled_and_promoted(project: Path) -> None:
    """All that a release of a captured kernel needs besides: reports of ncu and of nsys."""
    app, task = program(SMALL_REPEAT), project / "tasks" / "captured" / "p"
    status, found = asked("capture", "tiles::transpose", "--name", "p", "--source", SOURCE, app=app)
    assert status == 0, said(found)
    status, answer = asked("explain", "captured/p", put(task / "tiled", "tiled"))
    print("explain", status, said(answer)[:600])
    assert status in (0, 2), said(answer)
    shutil.rmtree(task / "src")
    put(task / "src", "tiled")
    status, answer = asked("optimize", "captured/p", "--budget", "rounds=0")
    assert status in (0, 2), said(answer)
    status, answer = asked("promote", "captured/p", "1.0.0", "--candidate", "entry")
    assert "refusals" in answer, said(answer)
    print("promote", status, json.dumps(answer["refusals"])[:2000])
    reasons = {r["reason"] for r in answer["refusals"]}
    assert reasons <= {"not_faster", "below_gate", "regression"}, "nothing is lacking but, perhaps, a gain"
    if status == 0:
        status, answer = asked("trial", "captured/p@1.0.0", "--pairs", 3, app=app)
        assert "trial" in answer and answer["trial"]["outcome"] == "measured", said(answer)
