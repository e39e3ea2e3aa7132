"""The scripts that show on a GPU what observe, capture, trial and integrate are for: what goes without one."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.app.building import needs

ROOT = Path(__file__).parents[2]
PARTS = {
    "show-observe": {"transpose", "rust", "graph", "triton", "torch", "overhead"},
    "show-capture-and-trial": {"transpose", "sweep", "reduction", "graphs", "awkward", "release"},
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
    needs("nvcc")
    status, said, summary = shown(script, tmp_path, "--only", sorted(PARTS[script])[0])
    assert status == 1, said
    assert summary["unfit"] and not summary["claims"]
    assert set(summary["not_shown"]) == PARTS[script]


@pytest.mark.slow
@pytest.mark.parametrize("script", PARTS)
def test_the_dry_run_builds_everything(script: str, tmp_path: Path) -> None:
    needs("cargo", "nvcc")
    status, said, summary = shown(script, tmp_path, "--dry-run")
    assert status == 0, said[-3000:]
    assert summary["claims"] and all(c["right"] for c in summary["claims"])
    assert set(summary["not_shown"]) == PARTS[script], "a dry run shows no part"


@pytest.mark.slow
@pytest.mark.parametrize("script", ["show-observe", "show-integrate"])
def test_without_cargo_the_rust_part_is_carried(script: str, tmp_path: Path) -> None:
    """Made here by cargo, and linked by nvcc alone."""
    needs("cargo", "nvcc")
    rust = tmp_path / "rust-norms"
    shutil.copytree(ROOT / "examples/apps/rust-norms", rust, ignore=shutil.ignore_patterns("target"))
    subprocess.run(("cargo", "build", "--release", "--offline", "--quiet", "--lib"), cwd=rust, check=True)
    library = str(rust / "target/release/libnorms.a")
    path = ":".join(p for p in os.environ["PATH"].split(":") if not (Path(p) / "cargo").exists())
    status, said, summary = shown(script, tmp_path / "out", "--dry-run", PATH=path, LIBNORMS=library)
    assert status == 0, said[-3000:]
    assert any(c["app"] == "rust" and c["claim"] == "builds" for c in summary["claims"])


def killing(out: Path, kills: int) -> subprocess.Popen[str]:
    told = {**os.environ, "OUT": str(out), "KILLS": str(kills), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = (sys.executable, "-P", "-m", "tests.app.killing")
    told["PYTHONPATH"] = str(ROOT)
    return subprocess.Popen(argv, cwd=ROOT, env=told, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def interrupted(said: str) -> int:
    """Kills of which a line says that they interrupted something, and what it ended in."""
    return len(re.findall(r"^   kill \d+ after [\d.]+ of [\d.]+ s, (?!at its end)\w+: as it was;", said, re.M))


@pytest.mark.slow
def test_every_kill_that_counts_interrupted_an_integration_and_says_what_became_of_it(tmp_path: Path) -> None:
    with killing(tmp_path, 4) as running:
        said = running.communicate(timeout=300)[0]
    assert running.returncode == 0, said
    (claim,) = json.loads((tmp_path / "summary.json").read_text())["claims"]
    assert interrupted(said) == 4 and claim["right"] and claim["value"].startswith("4 interrupted of ")


@pytest.mark.slow
def test_kills_that_are_ended_from_outside_say_how_many_were_done(tmp_path: Path) -> None:
    with killing(tmp_path, 50) as running:
        assert running.stdout is not None
        said = ""
        while interrupted(said) < 1 and (line := running.stdout.readline()):
            said += line
        running.terminate()
        said += running.stdout.read()
        assert running.wait() == 128 + signal.SIGTERM, said
    first, last = json.loads((tmp_path / "summary.json").read_text())["claims"]
    done = len(re.findall(r"^   kill \d+ after", said, re.M))
    assert first["value"].startswith(f"{interrupted(said)} interrupted of {done}: ") and not first["right"]
    assert "check not run" in first["value"] and first["wanted"].startswith("50 interrupted")
    assert last["value"] == "ended from outside"


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


@pytest.fixture
def showing(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return importlib.import_module("showing")


def test_a_median_has_the_interval_of_its_order_statistics(showing: Any) -> None:
    """By the usual table of the sign test: ranks 1 and 6 of 6, 2 and 8 of 9, 6 and 15 of 20."""
    assert [showing.middle(list(range(n, 0, -1))) for n in (6, 9, 20)] == [(3.5, 1, 6), (5, 2, 8), (10.5, 6, 15)]
    with pytest.raises(ValueError, match="six"):
        showing.middle([1.0] * 5)


def test_a_page_has_every_claim_and_no_folder_of_this_machine(showing: Any, tmp_path: Path) -> None:
    def summary(part: str, *claims: dict[str, Any], left: tuple[str, ...] = ()) -> Path:
        said = {
            "command": f"scripts/show-it --only {part}", "at": "2026-11-22", "machine": f"Linux {part}",
            "gpu": ["A", "A"], "visible": "", "nvcc": [], "dry_run": False, "parts": {"prepare": 1.0, part: 2.0},
            "not_shown": list(left), "unfit": "", "claims": list(claims), "steps": [],
        }  # fmt: skip
        path = tmp_path / f"{part}.json"
        path.write_text(json.dumps(said))
        return path

    good = {"part": "a", "app": "x", "claim": "it is | so", "value": [1], "wanted": [1], "right": True}
    bad = {**good, "part": "b", "claim": "it is there", "value": "no /tmp/some-1/kernel.cu: gone", "right": False}
    words = [str(tmp_path / "made.json"), str(summary("a", good, left=("b", "c"))), str(summary("b", bad, left=("a",)))]
    argv = [sys.executable, str(ROOT / "scripts/showing.py"), *words, "--why", "it is there=Nobody put it there."]
    subprocess.run(argv, check=True)
    page, made = (tmp_path / "made.md").read_text(), json.loads((tmp_path / "made.json").read_text())
    assert "| a | x | it is \\| so | [1] | [1] | yes |" in page
    assert "| b | x | it is there | no …/kernel.cu: gone | [1] | **no** |" in page
    assert "- x, it is there: Nobody put it there." in page and "Not shown here: c." in page
    assert "On 2 x A (driver); Linux a; Linux b" in page and "/tmp" not in page + json.dumps(made)
    assert [c["right"] for c in made["claims"]] == [True, False] and made["parts"] == {
        "prepare": 1.0,
        "a": 2.0,
        "b": 2.0,
    }
    assert subprocess.run([*argv[:-1], "it was=no"], check=False, capture_output=True).returncode != 0
