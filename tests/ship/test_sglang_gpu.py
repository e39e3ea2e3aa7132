"""An exported rmsnorm takes the place of SGLang's own norms on a GPU, and gives it back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ship.export_things import exported, project_with_release, rmsnorm
from warpsmith.judge.machine import detect

ROOT = os.environ.get("SGLANG_ROOT", "")
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not ROOT, reason="SGLANG_ROOT names no unpacked wheel of SGLang")]


def test_norm_infer_runs_our_kernel_and_is_restored(tmp_path: Path) -> None:
    space = project_with_release(tmp_path)
    made = rmsnorm(space, "1.0.0", detect("cuda").architecture)
    answer = exported(space, made.spec)
    assert not answer.against, answer.against
    script = Path(__file__).with_name("sglang_gpu_road.py")
    done = subprocess.run(
        (sys.executable, str(script), ROOT, answer.path), capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(said))
    assert {s["state"] for s in said["installed"]} == {"installed"}, said["installed"]
    assert said["same"] == [True] * 5
    assert (said["hits"], said["fallbacks"]) == (3, 2)
    assert said["restored"] and {s["state"] for s in said["uninstalled"]} == {"removed"}
