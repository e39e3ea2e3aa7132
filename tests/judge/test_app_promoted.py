"""A captured kernel on its way to a release, on an original in C: sanitizers, callgrind, promotion, verification."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.judge import apptask
from tests.judge.test_app import FASTER
from tests.projects import calibrate
from warpsmith.errors import ProfilerFailed
from warpsmith.judge.machine import detect
from warpsmith.model.release import Manifest
from warpsmith.model.step import Explain
from warpsmith.profilers.steps import profile
from warpsmith.surface import cli
from warpsmith.surface.profiling import profile_request
from warpsmith.surface.workspace import Known, Workspace

pytestmark = pytest.mark.skipif(shutil.which("valgrind") is None, reason="callgrind counts, and a release needs it")
SLOW = apptask.ORIGINAL.replace(
    "{\n    for", "{\n    volatile float w = 0;\n    for (int64_t i = 0; i < 4 * n; ++i) w += x[i % n];\n    for"
)
"""Waits for its own stack: the gain over it is far beyond any noise."""
BEYOND = FASTER.replace("    for (int i = 0", "    if (((volatile float *)x)[n] == 41.0f) return;\n    for (int i = 0")
"""Reads one element too far; its outputs are right."""


def profiled(root: Path, known: Known, name: str) -> Any:
    """A profile, taken in this process."""
    from warpsmith.crew import write_step

    space = Workspace(root)
    candidate = space.candidate(known, name, "main")
    step = Explain(candidate=candidate.id, round=0)
    request = profile_request(space, known, detect("cpu"), step, candidate, tool="cpu", workload="launch 1")
    write_step(root / "step", request, known.loaded.folder, space.blobs)
    return profile(request, root / "step")


@pytest.mark.slow
def test_calls_under_callgrind_are_verified_beside_the_original(tmp_path: Path) -> None:
    apptask.make(tmp_path)
    apptask.candidate(tmp_path, "src", FASTER)
    known = Workspace(tmp_path).task("captured/gather")
    made = profiled(tmp_path, known, "src")
    assert made.workload == "launch 1" and made.kernels[0].kernel == "gather"
    assert any(line.file == "k.c" for line in made.kernels[0].lines)
    apptask.candidate(tmp_path, "wrong", FASTER.replace("i < n;", "i < n - 1;"))
    with pytest.raises(ProfilerFailed, match="outputs are wrong: sums"):
        profiled(tmp_path, known, "wrong")


def asked(capfd: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict[str, Any]]:
    capfd.readouterr()
    status = cli.run([*argv, "--json"])
    return status, json.loads(capfd.readouterr().out)


@pytest.mark.slow
def test_a_mistake_that_no_output_shows_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    apptask.make(tmp_path)
    apptask.candidate(tmp_path, "src", FASTER)
    apptask.candidate(tmp_path, "beyond", BEYOND)
    status, answer = asked(capfd, "check", "captured/gather", "src", "--sanitize")
    assert status == 0, answer
    assert {s["tool"]: s["status"] for s in answer["evaluation"]["sanitizers"]} == dict.fromkeys(
        ("address", "undefined"), "passed"
    )
    status, answer = asked(capfd, "check", "captured/gather", "beyond", "--sanitize")
    assert status == 1, answer
    assert "address" in answer["evaluation"]["detail"], answer


@pytest.mark.slow
def test_a_captured_kernel_is_promoted_and_proved_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    apptask.make(tmp_path)
    calibrate(tmp_path)
    apptask.candidate(tmp_path, "baseline", SLOW)
    apptask.candidate(tmp_path, "src", FASTER)
    assert cli.run(["optimize", "captured/gather", "--budget", "rounds=0"]) == 0
    status, answer = asked(capfd, "promote", "captured/gather", "1.0.0")
    assert status == 0, answer
    manifest = Manifest.model_validate(answer["manifest"])
    space = Workspace(tmp_path)
    task = space.task("captured/gather").loaded.task
    assert set(manifest.fixtures.values()) > set(task.fixtures), "what it was judged on is named"
    assert [(r.role, r.subject) for r in manifest.reports] == [("counters", "candidate"), ("timeline", "baseline")]
    assert {s.status for s in manifest.sanitizers} == {"passed"}
    held = [space.home / "fixtures" / d[:2] / d for d in task.fixtures]
    released = [p.read_bytes() for p in (tmp_path / "releases").rglob("*") if p.is_file()]
    assert not any(f.read_bytes() in released for f in held), "and never taken along"
    status, answer = asked(capfd, "verify", "captured/gather", "--no-gain")
    assert status == 0, answer
    assert {c["result"] for c in answer["releases"][0]["checks"]} <= {"passed", "skipped"}
    held[0].unlink()  # on another machine the captured buffers are not there: that is said, and nothing else breaks
    status, answer = asked(capfd, "verify", "captured/gather", "--no-gain")
    assert status == 4, answer
    assert any("is not whole here" in c["detail"] for c in answer["releases"][0]["checks"])
