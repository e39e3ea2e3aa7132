"""The scripts that show on a GPU what observe, capture, trial and integrate are for: what goes without one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PARTS = {
    "show-observe": {"transpose", "rust", "graph", "triton", "torch", "overhead"},
    "show-capture-and-trial": {"transpose", "sweep", "reduction", "release", "awkward"},
    "show-integrate": {"rust", "cpp", "road", "kills"},
}


def shown(script: str, out: Path, *words: str, **more: str) -> tuple[int, str, dict[str, Any]]:
    told = {**os.environ, "OUT": str(out), "PYTHON": sys.executable, "PYTHONDONTWRITEBYTECODE": "1", **more}
    argv = (sys.executable, str(ROOT / "scripts" / script), *words)
    done = subprocess.run(argv, cwd=ROOT, env=told, capture_output=True, text=True, check=False)
    path = out / "summary.json"
    return done.returncode, done.stdout + done.stderr, json.loads(path.read_text()) if path.is_file() else {}


@pytest.mark.parametrize("script", PARTS)
def test_bad_usage_says_what_is_right(script: str, tmp_path: Path) -> None:
    assert os.access(ROOT / "scripts" / script, os.X_OK)
    status, said, summary = shown(script, tmp_path, "--only", "nothing")
    assert (status, summary) == (2, {})
    assert all(part in said for part in PARTS[script])


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="here is a GPU")
@pytest.mark.parametrize("script", PARTS)
def test_without_a_gpu_nothing_is_shown_and_that_is_no_success(script: str, tmp_path: Path) -> None:
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is not here")
    status, said, summary = shown(script, tmp_path, "--only", sorted(PARTS[script])[0])
    assert status == 1, said
    assert summary["unfit"] and not summary["claims"]
    assert set(summary["not_shown"]) == PARTS[script]


@pytest.mark.slow
@pytest.mark.parametrize("script", PARTS)
def test_the_dry_run_builds_everything(script: str, tmp_path: Path) -> None:
    for program in ("cargo", "nvcc"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not here")
    status, said, summary = shown(script, tmp_path, "--dry-run")
    assert status == 0, said[-3000:]
    assert summary["claims"] and all(c["right"] for c in summary["claims"])
    assert set(summary["not_shown"]) == PARTS[script], "a dry run shows no part"


@pytest.mark.slow
@pytest.mark.parametrize("script", ["show-observe", "show-integrate"])
def test_without_cargo_the_rust_part_is_carried(script: str, tmp_path: Path) -> None:
    """Made here by cargo, and linked by nvcc alone."""
    for program in ("cargo", "nvcc"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not here")
    rust = tmp_path / "rust-norms"
    shutil.copytree(ROOT / "examples/apps/rust-norms", rust, ignore=shutil.ignore_patterns("target"))
    subprocess.run(("cargo", "build", "--release", "--offline", "--quiet", "--lib"), cwd=rust, check=True)
    library = str(rust / "target/release/libnorms.a")
    path = ":".join(p for p in os.environ["PATH"].split(":") if not (Path(p) / "cargo").exists())
    status, said, summary = shown(script, tmp_path / "out", "--dry-run", PATH=path, LIBNORMS=library)
    assert status == 0, said[-3000:]
    assert any(c["app"] == "rust" and c["claim"] == "builds" for c in summary["claims"])


def test_a_wrong_claim_and_a_part_that_breaks_off_are_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("OUT", str(tmp_path))
    monkeypatch.setattr("signal.signal", lambda *_: None)  # this process keeps its own
    monkeypatch.setenv("PATH", os.environ["PATH"])
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    from showing import Show

    def ended(*claims: bool, breaks: bool = False) -> tuple[int, dict[str, Any]]:
        show = Show("about", ("a", "b"), "out", ["--only", "a"])

        def body() -> None:
            for one in claims:
                show.claim("app", "it is so", one, True, one)
            if breaks:
                raise ValueError("the answer lacks it")

        status = show.go({"a": body, "b": lambda: None}, lambda: None, lambda: None)
        return status, json.loads((tmp_path / "summary.json").read_text())

    assert ended(True)[0] == 0
    assert ended(True)[1]["not_shown"] == ["b"]
    assert ended(True, False)[0] == 1
    status, summary = ended(True, breaks=True)
    assert status == 1
    assert [c["right"] for c in summary["claims"]] == [True, False]
    assert ended()[0] == 1, "nothing was claimed"
    assert "WRONG" in capsys.readouterr().out
