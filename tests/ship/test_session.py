"""The road of a release on the command line, with the real judge: promote, verify, hand off, compare, tamper."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.projects import calibrate
from warpsmith.surface.stamp import stamp

PROGRAM = Path(sys.executable).parent / "warpsmith"
TASK = "my/axpy"
SLOW = """\
#include <stdint.h>

void kernel(const float *x, const float *y0, float *y, int64_t n, float alpha)
{
    for (int64_t i = 0; i < n; i++) {
        volatile float t = alpha * x[i];
        for (int wait = 0; wait < 8; wait++)
            t = t;
        y[i] = t + y0[i];
    }
}
"""
"""A baseline that waits for its own stack in every step: the gain over it is far beyond any noise."""


def run(folder: Path, *words: str, status: int = 0) -> str:
    done = subprocess.run(
        [str(PROGRAM), *words], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == status, f"{words}: {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="a release needs callgrind's reports")
def test_from_best_to_used(tmp_path: Path) -> None:
    stamp(tmp_path / "tasks", TASK, "kernel", "cpu")
    page = tmp_path / "tasks" / TASK / "task.toml"
    page.write_text(page.read_text().replace("4194304", "65536").replace("1000003", "40009"))
    (tmp_path / "tasks" / TASK / "baseline/kernel.c").write_text(SLOW)
    calibrate(tmp_path)
    run(tmp_path, "optimize", TASK, "--budget", "rounds=0")
    run(tmp_path, "promote", TASK, "1.0.0", "--notes", "first", "--trade-off", "needs gcc")
    run(tmp_path, "promote", TASK, "1.0.0", status=3)
    verified = json.loads(run(tmp_path, "verify", TASK, "--json"))
    checks = {c["name"]: c["result"] for c in verified["releases"][0]["checks"]}
    assert set(checks.values()) == {"passed"}
    assert {"files", "signature", "rebuild", "correctness", "gain"} <= set(checks)
    listed = json.loads(run(tmp_path, "releases", "--json"))
    assert [r["entry"]["version"] for r in listed["releases"]] == ["1.0.0"]
    assert listed["releases"][0]["stale"] == []
    handed = json.loads(run(tmp_path, "handoff", TASK, "--to", "runtime", "--json"))
    artefact = tmp_path / "releases" / TASK / "1.0.0" / handed["handed"]["files"][0]["path"]
    assert artefact.is_file()
    run(tmp_path, "regress", f"{TASK}@1.0.0", f"{TASK}@1.0.0", "--threshold", "0.5")
    assert (tmp_path / "regression.json").is_file() and (tmp_path / "regression.md").is_file()
    run(tmp_path, "verify", "--no-gain")  # what the page's workflow does on every pull request
    run(tmp_path, "bench", TASK, "entry", "--name", "current", "--effort", "screen")
    current = f".warpsmith/benchmarks/{TASK}/current.json"
    run(tmp_path, "regress", TASK, current, "--threshold", "0.5", "--output", "current.json")
    assert json.loads((tmp_path / "current.json").read_text())["kind"] == "benchmark"
    run(tmp_path, "reject", TASK, "baseline", "--claim", "plain is enough", "--why", "it waits for its stack")
    content = bytearray(artefact.read_bytes())
    content[len(content) // 2] ^= 1
    artefact.chmod(0o644)
    artefact.write_bytes(content)
    found = json.loads(run(tmp_path, "verify", TASK, "--json", status=1))
    bad = [c for c in found["releases"][0]["checks"] if c["result"] == "failed"]
    assert [c["name"] for c in bad] == ["files"] and handed["handed"]["files"][0]["path"] in bad[0]["detail"]


@pytest.mark.slow
def test_bad_usage_is_named(tmp_path: Path) -> None:
    calibrate(tmp_path)
    run(tmp_path, "new", TASK)
    run(tmp_path, "promote", TASK, "1.0.0", status=3)
    run(tmp_path, "verify", status=3)
    run(tmp_path, "verify", "no/such@1", status=3)
    run(tmp_path, "handoff", "no/such", "--to", "runtime", status=3)
    run(tmp_path, "handoff", "no/such", "--to", "nobody", status=3)
    run(tmp_path, "regress", "a.json", "b.json", status=3)
    assert json.loads(run(tmp_path, "releases", "--json"))["releases"] == []
