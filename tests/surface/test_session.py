"""The README's session, run as it stands: every command of its list, in order, in an empty folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.projects import calibrate, shrink

README = Path(__file__).parent.parent.parent / "README.md"
PROGRAM = Path(sys.executable).parent / "warpsmith"
ANSWERED = (0, 1, 2)


def commands() -> list[list[str]]:
    block = re.search(r"```console\n(.*?)```", README.read_text(), re.DOTALL)
    assert block is not None, "the README has no session"
    return [shlex.split(line.removeprefix("$ "), comments=True) for line in block.group(1).splitlines()]


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """A command of the session; two candidates an ask and warm caches, to be done sooner."""
    environment = {**os.environ, "NO_COLOR": "1", "WARPSMITH_BATCH": "2", "WARPSMITH_COLD": "false"}
    return subprocess.run(
        [str(PROGRAM), *arguments[1:]], cwd=folder, capture_output=True, text=True, check=False, env=environment
    )


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["nothing asked", "whole"])
def test_the_session_of_the_readme(whole: bool, tmp_path: Path) -> None:
    """Every command in order; to be quick, without asking for candidates, and without the one that is handed in."""
    calibrate(tmp_path)
    ids: dict[str, str] = {}
    seen: dict[str, str] = {}
    for command in commands():
        if command[1] == "submit" and not whole:
            continue
        words = [ids.get(word, word) for word in command]
        if not whole:
            words = [word.replace("rounds=1", "rounds=0") for word in words]
        done = run(words, tmp_path)
        assert done.returncode in ANSWERED, f"{words}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        seen[command[1]] = done.stdout
        if command[1] == "new":
            shrink(tmp_path)
        if command[1] == "history":
            rows = json.loads(run([*words, "--json"], tmp_path).stdout)["rows"]
            leaders = [r["id"] for r in rows if r["leader"]]
            ids = {"BASELINE": leaders[0], "BEST": leaders[-1] if len(leaders) > 1 else rows[1]["id"]}
    handed_in = {"submit"} if whole else set()
    assert set(seen) == handed_in | {
        "doctor", "new", "check", "bench", "optimize", "history", "show", "diff", "report",
    }  # fmt: skip
    assert (tmp_path / "benchmark.csv").read_text().startswith("candidate,")
    lines = (tmp_path / "solutions.jsonl").read_text().splitlines()
    assert len(lines) == len(rows)
    assert all(json.loads(line)["sources"] for line in lines)
    html = tmp_path / ".warpsmith/campaigns/my/axpy/main/report.html"
    assert html.read_text().lower().startswith("<!doctype html>")
    assert str(html) in seen["report"].replace("\n", "")


def test_json_is_one_document_and_nothing_else(tmp_path: Path) -> None:
    done = run(["warpsmith", "doctor", "--json"], tmp_path)
    answer = json.loads(done.stdout)
    assert done.returncode == 0
    assert {c["name"] for c in answer["checks"]} >= {"toolchain c", "device cuda", "ncu"}
    bad = run(["warpsmith", "check", "no/such", "--json"], tmp_path)
    assert bad.returncode == 3
    assert json.loads(bad.stdout)["exit_status"] == 3


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["check", "no/such"], 3, "there is no task 'no/such'"),
        (["optimize"], 3, "task"),
        (["frobnicate"], 3, "frobnicate"),
        (["doctor", "--nonsense"], 3, "nonsense"),
        (["new", "Bad Name"], 3, "no task name"),
        (["new", "a/b", "--kind", "app"], 3, "no template for app tasks on cpu"),
        (["show", "deadbeef"], 3, "is in no ledger"),
    ],
)
def test_bad_usage_is_status_3_with_a_message(words: list[str], status: int, message: str, tmp_path: Path) -> None:
    done = run(["warpsmith", *words], tmp_path)
    assert done.returncode == status, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_what_a_started_task_can_refuse(tmp_path: Path) -> None:
    calibrate(tmp_path)
    assert run(["warpsmith", "new", "my/axpy"], tmp_path).returncode == 0
    for words, message in [
        (["check", "my/axpy", "nobody"], "names no candidate"),
        (["history", "my/axpy"], "no campaign tagged 'main'"),
        (["optimize", "my/axpy", "--budget", "rounds=many"], "--budget: rounds"),
        (["optimize", "my/axpy", "--budget", "patience"], "--budget: 'patience'"),
        (["optimize", "my/axpy", "--proposer", "oracle"], "--proposer: 'oracle'"),
        (["optimize", "my/axpy", "--tag", "../x"], "--tag: '../x'"),
        (["submit", "my/axpy", "--set", "VEC=5"], "VEC=5 is not declared"),
        (["submit", "my/axpy", "missing.c"], "missing.c is no file"),
        (["submit", "my/axpy"], "nothing was handed in"),
    ]:
        done = run(["warpsmith", *words], tmp_path)
        assert (done.returncode, message in done.stderr) == (3, True), f"{words}: {done.returncode} {done.stderr}"
    nothing_runs = run(["warpsmith", "stop", "my/axpy"], tmp_path)
    assert nothing_runs.returncode == 2
    missing = run(["warpsmith", "new", "my/gpu", "--hardware", "cuda"], tmp_path)
    assert missing.returncode == 0


@pytest.mark.slow
def test_a_report_can_be_named_as_the_rival(tmp_path: Path) -> None:
    calibrate(tmp_path)
    assert run(["warpsmith", "new", "my/axpy"], tmp_path).returncode == 0
    shrink(tmp_path)
    first = ["warpsmith", "bench", "my/axpy", "baseline", "--name", "monday", "--notes", "plain", "--effort", "screen"]
    run(first, tmp_path)
    done = run(["warpsmith", "bench", "my/axpy", "--against", "monday", "--effort", "screen", "--json"], tmp_path)
    answer = json.loads(done.stdout)
    monday = json.loads((tmp_path / ".warpsmith/benchmarks/my/axpy/monday.json").read_text())
    assert monday["notes"] == "plain"
    assert monday["command"][1:] == first[1:]
    assert monday["environment"]["target"]["hardware"] == "cpu"
    assert answer["rival"] == monday["entries"][0]["evaluation"]["candidate"]
