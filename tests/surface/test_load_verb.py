"""The verb ``load``: a serving task's scenarios against its server, or against one that runs already."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.judge.loadserver import DONE as LAST
from tests.judge.loadserver import END, HEAD, Act, answer, chunk, event, scripted, status, usage
from warpsmith.errors import BadInput, Missing
from warpsmith.model.harness import LoadReport
from warpsmith.surface.loading import load
from warpsmith.surface.render import show

TASK = """
name = "my/served"
kind = "serving"
title = "Served"
hardware = "cpu"
failures = 0.3

[objective]
metric = "single.tok_s"
direction = "maximize"

[server]
backend = "mock"
model = "mine"
options = { step_ms = 1.0 }

[[scenarios]]
name = "single"
requests = 4
concurrency = 1
output_tokens = [3, 3]

[[scenarios]]
name = "many"
requests = 8
rate = 200.0
chat = false
vocabulary = 256
prompt_tokens = [5, 5]
output_tokens = [2, 4]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tasks/my/served"
    folder.mkdir(parents=True)
    (folder / "task.toml").write_text(TASK)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def spoken(number: int, body: dict[str, Any]) -> Iterable[Act]:
    if "prompt" in body:
        return answer(body)
    said = [event({"choices": [{"delta": {"content": "so"}}]})] * body["max_tokens"]
    return [HEAD, *map(chunk, said), chunk(usage(9, body["max_tokens"]) + LAST), END]


def test_a_server_that_is_there_is_loaded(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(spoken) as server:
        seen = load("my/served", url=server.url, output=project / "load.json")
    assert {body["model"] for body in server.bodies} == {"mine"}
    assert (seen.exit_status, seen.candidate, seen.failed, seen.crashed) == (0, "", (), "")
    kept = LoadReport.model_validate_json((project / "load.json").read_text())
    assert kept == seen.report
    assert [one.requests for one in kept.scenarios] == [4, 8]
    assert kept.metrics["single.tok_s"] == pytest.approx(12 / kept.scenarios[0].seconds)
    show(seen)
    told = capsys.readouterr().out
    assert "single" in told
    assert all(word in told for word in ("token/s", "ttft", "p99", str(project / "load.json")[:40]))


def test_scenarios_can_be_chosen_and_failures_are_a_no(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def script(number: int, body: dict[str, Any]) -> Iterable[Act]:
        return status(500) if number % 2 else answer(body)

    with scripted(script) as server:
        seen = load("my/served", url=server.url, scenario=("many",))
    (one,) = seen.report.scenarios
    assert (one.requests, one.errors) == (4, {"status_500": 4})
    assert (seen.exit_status, seen.failed) == (1, ("many",))
    assert Path(seen.file).is_relative_to(project / ".warpsmith/load/my/served")
    show(seen)
    assert "4 status_500" in capsys.readouterr().out


def test_what_cannot_be_loaded_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARPSMITH_LOAD_TOOLS", str(project))
    with pytest.raises(BadInput, match="no scenario other"):
        load("my/served", url="http://127.0.0.1:9", scenario=("other",))
    with pytest.raises(BadInput, match="is a folder"):
        load("my/served", url="http://127.0.0.1:9", output=project)
    with pytest.raises(Missing, match="vllm is not in"):
        load("my/served", tool="vllm")
    with pytest.raises(BadInput, match="no address"):
        load("my/served", url="nowhere")


@pytest.mark.slow
def test_the_tasks_own_server_is_started_loaded_and_ended(project: Path) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "warpsmith"), "load", "my/served", "--json"],
        cwd=project, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    single, many = said["report"]["scenarios"]
    assert (single["requests"], single["output_tokens"]) == (4, 12)
    assert (many["requests"], many["errors"], many["input_tokens"]) == (8, {}, 8 * 5)
    refused = load("my/served", url=said["report"]["url"])
    assert [one.errors for one in refused.report.scenarios] == [{"refused": 4}, {"refused": 8}]


@pytest.mark.slow
def test_ctrl_c_ends_client_and_server(project: Path) -> None:
    path = project / "tasks/my/served/task.toml"
    path.write_text(TASK.replace("step_ms = 1.0", "step_ms = 60000.0"))
    command = [str(Path(sys.executable).parent / "warpsmith"), "load", "my/served"]
    with subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        ready = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    assert process.returncode == 130
    url = ready.split()[1].rstrip(";")
    assert load("my/served", url=url, scenario=("single",)).report.scenarios[0].errors == {"refused": 4}


@pytest.mark.slow
def test_a_server_that_crashes_while_it_is_loaded_is_a_no(project: Path) -> None:
    path = project / "tasks/my/served/task.toml"
    path.write_text(TASK.replace("step_ms = 1.0", 'step_ms = 1.0, fault = "crash", fault_after = 3'))
    seen = load("my/served", scenario=("single",))
    assert seen.exit_status == 1
    assert "ended by itself" in seen.crashed
    assert sum(seen.report.scenarios[0].errors.values()) > 0
