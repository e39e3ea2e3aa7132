"""The scripts that show on a GPU what capture, trial and integrate are for: as far as they can be gone without one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOWS = ("show-capture-and-trial", "show-integrate")


@pytest.mark.parametrize("script", SHOWS)
def test_the_shell_reads_it(script: str) -> None:
    subprocess.run(("sh", "-n", str(ROOT / "scripts" / script)), check=True)
    assert os.access(ROOT / "scripts" / script, os.X_OK)


def test_bad_usage_says_what_is_right() -> None:
    done = subprocess.run((str(ROOT / "scripts/show-integrate"), "--no"), capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "--dry-run" in done.stdout and "LIBNORMS" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("cargo", [True, False])
def test_the_dry_run_builds_everything_and_leaves_the_tree_alone(tmp_path: Path, cargo: bool) -> None:
    """Without cargo, the Rust part is carried: made here by cargo, and linked by nvcc alone."""
    for program in ("cargo", "nvcc"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not here")
    more = {}
    if not cargo:
        rust = tmp_path / "rust-norms"
        shutil.copytree(ROOT / "examples/apps/rust-norms", rust, ignore=shutil.ignore_patterns("target"))
        subprocess.run(("cargo", "build", "--release", "--offline", "--quiet", "--lib"), cwd=rust, check=True)
        folders = [p for p in os.environ["PATH"].split(":") if not (Path(p) / "cargo").exists()]
        more = {"LIBNORMS": str(rust / "target/release/libnorms.a"), "PATH": ":".join(folders)}
    told = {**os.environ, "OUT": str(tmp_path / "out"), "PYTHON": sys.executable, **more}
    done = subprocess.run(
        (str(ROOT / "scripts/show-integrate"), "--dry-run"),
        cwd=ROOT,
        env=told,
        capture_output=True,
        text=True,
        check=False,
    )
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert done.returncode == 0, done.stdout[-3000:]
    assert all(s["right"] for s in summary["steps"])
    assert {"build", "no-device", "untouched", "transpose"} <= {s["name"] for s in summary["steps"]}
    assert bool(summary["cargo"]) is cargo
