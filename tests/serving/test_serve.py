"""The verb ``serve``: a task's server in the foreground, with a candidate's overlay, until it is told to end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.serving.servers import LONG_S

pytestmark = pytest.mark.slow

TASK = """
name = "my/served"
kind = "serving"
title = "Served"
hardware = "cpu"
workspace = "workspace"
mutable = ["own.py"]

[objective]
metric = "single.tok_s"
direction = "maximize"

[server]
backend = "own:make"
model = "mine"
options = {{ step_ms = 1.0 }}
drain_s = {drain_s}

[[scenarios]]
name = "single"
requests = 4
concurrency = 1
"""
OWN = """
from dataclasses import replace
from warpsmith.serving.mock import Mock

def make(given):
    return Mock(replace(given, options={**given.options, "answer_tokens": %d}))
"""


def project(root: Path, drain_s: float = LONG_S) -> Path:
    task = root / "tasks/my/served"
    (task / "workspace").mkdir(parents=True)
    (task / "task.toml").write_text(TASK.format(drain_s=drain_s))
    (task / "workspace/own.py").write_text(OWN % 5)
    overlay = task / "faster"
    overlay.mkdir()
    (overlay / "candidate.toml").write_text('toolchain = "overlay"\nsources = ["own.py"]\n')
    (overlay / "own.py").write_text(OWN % 7)
    return root


def serve(root: Path, *more: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "warpsmith.surface.cli", "serve", "my/served", *more]
    return subprocess.Popen(argv, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ready(server: subprocess.Popen[str]) -> str:
    assert server.stderr is not None
    for line in server.stderr:
        if line.startswith("ready: "):
            return line.split()[1]
    raise AssertionError(f"it ended with {server.wait()}")


@pytest.mark.parametrize(
    ("more", "number", "tokens"), [((), signal.SIGINT, 5), (("faster", "--json"), signal.SIGTERM, 7)]
)
def test_a_task_is_served_with_its_overlay_until_a_signal(
    tmp_path: Path, more: tuple[str, ...], number: int, tokens: int
) -> None:
    with serve(project(tmp_path), *more) as server:
        url = ready(server)
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as ask:
            said = ask.completions.create(model="mine", prompt="a", max_tokens=50)
        assert said.usage and said.usage.completion_tokens == tokens
        server.send_signal(number)
        out, _ = server.communicate(timeout=LONG_S)
    assert server.returncode == 0 and "drained" in out
    if "--json" in more:
        answer: dict[str, Any] = json.loads(out)
        assert answer["url"] + "/v1" == url and answer["status"] == 0
    logs = [p for p in (tmp_path / ".warpsmith/serving").rglob("*") if p.is_file()]
    assert [p.name for p in logs] == ["server.log"] and "ended" in logs[0].read_text()


def test_a_server_that_ends_by_itself_ends_the_verb_with_its_log(tmp_path: Path) -> None:
    project(tmp_path)
    (tmp_path / "tasks/my/served/workspace/own.py").write_text(
        "def make(given):\n    raise ValueError('no such wheel')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "warpsmith.surface.cli", "serve", "my/served"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "no such wheel" in done.stderr and "The whole log: " in done.stderr


def test_a_second_signal_ends_what_is_under_way(tmp_path: Path) -> None:
    with serve(project(tmp_path)) as server:
        url = ready(server)
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as ask:
            more = {"ignore_eos": True}
            with ask.completions.create(
                model="mine", prompt="a", max_tokens=30000, stream=True, extra_body=more
            ) as stream:
                next(iter(stream))
                server.send_signal(signal.SIGINT)
                assert server.stderr is not None and "finishing" in server.stderr.readline()
                server.send_signal(signal.SIGINT)
                assert server.wait(LONG_S) == 130


def test_what_cannot_be_served_is_bad_input(tmp_path: Path) -> None:
    path = project(tmp_path) / "tasks/my/served/task.toml"
    path.write_text(path.read_text().replace('backend = "own:make"', 'url = "http://127.0.0.1:9"'))
    done = subprocess.run(
        [sys.executable, "-m", "warpsmith.surface.cli", "serve", "my/served"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3 and "is served at http://127.0.0.1:9 already" in done.stderr


def test_a_stamped_task_is_served_with_a_model(tmp_path: Path) -> None:
    warpsmith = [sys.executable, "-m", "warpsmith.surface.cli"]
    subprocess.run(
        [*warpsmith, "new", "demo/llama", "--kind", "serving"], cwd=tmp_path, check=True, capture_output=True
    )
    argv = [*warpsmith, "serve", "demo/llama", "candidates/rmsnorm-op"]
    with subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        url = ready(server)
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as ask:
            model = next(iter(ask.models.list())).id
            messages: Any = [{"role": "user", "content": "Hello"}]
            said = ask.chat.completions.create(model=model, messages=messages, max_tokens=8, temperature=0)
            assert said.usage and said.usage.completion_tokens <= 8 and said.choices[0].message.content
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=LONG_S)
    assert server.returncode == 0


def test_a_server_without_a_task_names_who_holds_its_port() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "warpsmith.serving", "--backend", "mock", "--port", port],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 3 and f"held by pid {os.getpid()}: " in done.stderr
