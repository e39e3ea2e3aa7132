"""The whole road of a served model, as a user walks it: ``new``, ``serve``, the official client, ``load``, Ctrl-C.

One of these is in the fast set: a real transformers model with small random weights, in a stamped workspace.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from warpsmith.errors import WarpsmithError
from warpsmith.surface import api

READY_S = 240
"""Longest wait for anything here; a machine may be busy."""
MODEL = "random-llama"


def shorten(task: Path) -> None:
    """A load of seconds, and a server that may take its time."""
    text = (task / "task.toml").read_text()
    assert "requests = 24" in text
    text = text.replace("requests = 24", "requests = 4").replace("[server]\n", f"[server]\nready_s = {READY_S}\n")
    (task / "task.toml").write_text(text)


@contextmanager
def served(root: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The verb ``serve`` in a process, and its address."""
    argv = [sys.executable, "-m", "warpsmith.surface.cli", "serve", "demo/llama", *more]
    server = subprocess.Popen(argv, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        url = next((line.split()[1] for line in server.stderr if line.startswith("ready: ")), "")
        assert url, f"it ended with status {server.wait()}: {server.stdout and server.stdout.read()}"
        yield server, url
    finally:
        if server.poll() is None:
            os.kill(server.pid, signal.SIGTERM)
        server.communicate(timeout=READY_S)


def ask(url: str, text: str, *, stream: bool = False) -> str:
    """A chat completion by the official client, whole or in pieces; checks what it says of its usage."""
    client = openai.OpenAI(base_url=url, api_key="none", timeout=READY_S, max_retries=0)
    asked = {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 8, "temperature": 0}
    if not stream:
        said = client.chat.completions.create(**asked)  # type: ignore[call-overload]
        assert said.usage.completion_tokens == 8
        return str(said.choices[0].message.content)
    pieces = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))  # type: ignore[call-overload]
    assert pieces[-1].usage.completion_tokens == 8
    assert len([p for p in pieces if p.choices]) > 1
    return "".join(p.choices[0].delta.content or "" for p in pieces if p.choices)


def test_new_serve_ask_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path(api.new("demo/llama", kind="serving").folder)
    shorten(folder)
    with served(tmp_path, "candidates/rmsnorm-op", "--json") as (server, url):
        whole = ask(url, "Say something.")
        assert whole == ask(url, "Say something.", stream=True)
        assert whole != ask(url, "Say something else.")
        loaded = api.load("demo/llama", url=url.removesuffix("/v1"), scenario=("single",))
        (report,) = loaded.report.scenarios
        assert (loaded.exit_status, loaded.failed) == (0, ())
        assert json.loads(Path(loaded.file).read_text())["scenarios"][0]["scenario"] == "single"
        assert (report.scenario, report.requests, report.errors) == ("single", 4, {})
        assert report.output_tokens == 4 * 16
        assert set(report.latencies) >= {"ttft", "tpot", "e2e"}
        os.kill(server.pid, signal.SIGINT)
        said, _ = server.communicate(timeout=READY_S)
    answer = json.loads(said)
    assert (answer["how"], answer["status"], server.returncode) == ("drained", 0, 0)
    log = Path(answer["log"]).read_text()
    assert "LlamaForCausalLM" in log
    assert "in place of 5 LlamaRMSNorm" in log


@pytest.mark.slow
def test_load_starts_the_server_itself_and_asks_every_scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shorten(Path(api.new("demo/llama", kind="serving").folder))
    loaded = api.load("demo/llama", "candidates/rmsnorm-op")
    assert (loaded.exit_status, loaded.crashed) == (0, "")
    assert [(s.scenario, s.errors) for s in loaded.report.scenarios] == [
        ("single", {}),
        ("batch16", {}),
        ("steady", {}),
    ]
    assert {"batch16.tok_s", "single.ttft_p99"} <= set(loaded.report.metrics)


@pytest.mark.slow
def test_a_named_operation_that_cannot_run_ends_the_server_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path(api.new("demo/llama", kind="serving").folder)
    (folder / "candidates/cuda").mkdir()
    said = 'toolchain = "overlay"\n[environment]\nOPS_RMSNORM = "cuda"\n'
    (folder / "candidates/cuda/candidate.toml").write_text(said)
    with pytest.raises(WarpsmithError, match="rmsnorm: cuda: it does not take a tensor on cpu"):
        api.load("demo/llama", "candidates/cuda")


@pytest.mark.slow
def test_the_module_serves_the_workspace_without_the_verb(tmp_path: Path) -> None:
    """As the documents say: ``python -m warpsmith.serving --backend backend.glue:make``, on any free port."""
    argv = [sys.executable, "-m", "warpsmith.surface.cli", "new", "demo/llama", "--kind", "serving"]
    subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True)
    workspace = tmp_path / "tasks/demo/llama/workspace"
    options = json.dumps({"hidden": 64, "layers": 1})
    argv = [sys.executable, "-m", "warpsmith.serving", "--backend", "backend.glue:make", "--workspace", str(workspace)]
    server = subprocess.Popen(
        [*argv, "--options", options, "--model", MODEL, "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stderr is not None
        lines = []
        url = ""
        for line in server.stderr:
            lines.append(line)
            url = next((word for word in line.split() if word.startswith("http://")), url)
            if " ready after " in line:
                break
        assert url, "".join(lines)
        assert ask(url, "Say something.") == ask(url, "Say something.", stream=True)
    finally:
        server.terminate()
        _, rest = server.communicate(timeout=READY_S)
    assert server.returncode == 0, "".join(lines) + rest
