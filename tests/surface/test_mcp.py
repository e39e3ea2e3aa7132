"""The MCP server through the official client over real stdio: schemas, calls, concurrency, cancellation, errors."""

from __future__ import annotations

import contextlib
import inspect
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters, stdio_client

from tests.projects import calibrate, project, shrink
from warpsmith.mark import MARK, PROJECT
from warpsmith.store.ledger import read_events, writer
from warpsmith.surface import api, cli
from warpsmith.surface.mcp_tools import NOT_TOOLS
from warpsmith.surface.workspace import Workspace

SERVER = (sys.executable, "-P", "-m", "warpsmith.surface.cli", "mcp")


@contextlib.asynccontextmanager
async def client(root: Path, **environment: str) -> AsyncIterator[Client]:
    told = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", **environment}
    server = StdioServerParameters(command=SERVER[0], args=list(SERVER[1:]), cwd=root, env=told)
    with (root / "server.log").open("a") as log:
        async with Client(stdio_client(server, errlog=log)) as connected:
            yield connected


async def call(connected: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The answer of a tool that must not be an error."""
    result = await connected.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return dict(result.structured_content)


def children(of: str) -> list[int]:
    """Processes whose command line names ``of``."""
    found = subprocess.run(["pgrep", "-f", of], capture_output=True, text=True, check=False).stdout
    return [int(line) for line in found.split()]


def test_every_verb_is_a_tool_with_the_schema_of_its_signature(tmp_path: Path) -> None:
    async def look() -> None:
        async with client(tmp_path) as connected:
            tools = {t.name: t for t in (await connected.list_tools()).tools}
            assert set(tools) == {v.__name__ for v in api.VERBS} - NOT_TOOLS
            for verb in api.VERBS:
                if verb.__name__ in NOT_TOOLS:
                    continue
                taken = {
                    n.rstrip("_") for n in inspect.signature(verb).parameters if n not in cli.HIDDEN - {"application"}
                }
                schema = tools[verb.__name__].input_schema
                assert set(schema.get("properties", {})) == taken
                assert all(f["description"] for f in schema.get("properties", {}).values()), verb.__name__
                said = tools[verb.__name__].description or ""
                assert said and (inspect.getdoc(verb) or "").startswith(said.split("\n")[0])
                assert "Args:" not in said
            assert tools["bench"].input_schema["required"] == ["task"]
            assert tools["bench"].input_schema["properties"]["effort"]["enum"] == ["screen", "confirm", "promote"]

    anyio.run(look)


@pytest.mark.slow
def test_a_stranger_writes_nothing_but_the_protocol_on_standard_output(tmp_path: Path) -> None:
    calls = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "0"}}},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "new", "arguments": {"name": "my/x"}}},
    ]  # fmt: skip
    with subprocess.Popen(
        SERVER, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdin is not None and server.stdout is not None
        for message in calls:
            server.stdin.write(json.dumps(message) + "\n")
        server.stdin.flush()
        lines = [server.stdout.readline(), server.stdout.readline()]
        server.stdin.close()
        lines += server.stdout.readlines()
        assert server.wait(timeout=20) == 0
    answers = [json.loads(line) for line in lines]
    assert [a["jsonrpc"] for a in answers] == ["2.0"] * len(answers)
    assert answers[-1]["result"]["structuredContent"]["task"] == "my/x"


def test_bad_arguments_are_clear_errors(tmp_path: Path) -> None:
    project(tmp_path)

    async def ask() -> None:
        async with client(tmp_path) as connected:
            for tool, arguments, status, words in [
                ("check", {}, 3, "task: it is required"),
                ("check", {"task": "my/axpy", "depth": 3}, 3, "depth: there is no such argument"),
                ("bench", {"task": "my/axpy", "effort": "brave"}, 3, "effort"),
                ("check", {"task": "no/such"}, 3, "there is no task 'no/such'"),
                ("optimize", {"task": "my/axpy", "budget": "rounds=many"}, 3, "--budget: rounds"),
                ("frobnicate", {}, 3, "there is no tool 'frobnicate'"),
                ("mcp", {}, 3, "there is no tool 'mcp'"),
            ]:
                result = await connected.call_tool(tool, arguments)
                assert result.is_error, tool
                told = result.structured_content
                assert told is not None and told["exit_status"] == status
                assert words in told["error"], told
                assert told["remedy"]
                assert told["remedy"] in result.content[0].text  # type: ignore[union-attr]
            with pytest.raises(Exception, match="there is no resource"):
                await connected.read_resource("warpsmith://nothing")

    anyio.run(ask)


@pytest.mark.slow
def test_a_task_from_nothing_to_a_verdict(tmp_path: Path) -> None:
    calibrate(tmp_path)
    told: list[str] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        told.append(f"{progress:.3f} {message}")

    async def work() -> None:
        async with client(tmp_path) as connected:
            assert (await call(connected, "new", name="my/axpy"))["task"] == "my/axpy"
            shrink(tmp_path)
            checked = await call(connected, "check", task="my/axpy")
            assert checked["evaluation"]["status"] == "passed"
            benched = await call(connected, "bench", task="my/axpy", candidates=["entry"], effort="screen")
            assert benched["entries"][0]["status"] == "passed"
            done = await connected.call_tool(
                "optimize", {"task": "my/axpy", "budget": "rounds=1", "batch": 2}, progress_callback=note
            )
            assert not done.is_error, done.content
            history = await call(connected, "history", task="my/axpy")
            assert [r["id"] for r in history["rows"]]
            terminal = subprocess.run(
                [sys.executable, "-m", "warpsmith.surface.cli", "history", "my/axpy", "--json"],
                cwd=tmp_path, capture_output=True, text=True, check=True,
            )  # fmt: skip
            assert json.loads(terminal.stdout) == history
            folder = tmp_path / "tasks/my/axpy/src"
            handed = await call(
                connected, "submit", task="my/axpy", files=[str(folder)], set=["VEC=16", "UNROLL=8"], memo="[t] wide"
            )
            assert handed["row"]["memo"] == "[t] wide"
            explained = await connected.call_tool("explain", {"task": "my/axpy"})
            assert explained.structured_content is not None
            assert explained.is_error, "the rules are those of Nsight Compute; a C task is counted by line instead"
            assert "profile my/axpy --tool cpu" in explained.structured_content["remedy"]
            assert explained.structured_content["exit_status"] == 3
            uris = {str(r.uri) for r in (await connected.list_resources()).resources}
            assert uris >= {"warpsmith://guide", "warpsmith://task/my/axpy", "warpsmith://history/my/axpy/main"}
            for uri, words in [
                ("warpsmith://guide", "submit TASK"),
                ("warpsmith://task/my/axpy", "def reference"),
                ("warpsmith://history/my/axpy/main", '"rows"'),
                ("warpsmith://report/my/axpy", "my/axpy"),
            ]:
                read = await connected.read_resource(uri)
                assert words in read.contents[0].text  # type: ignore[union-attr]

    anyio.run(work)
    assert any("screen" in line and "beside" in line for line in told), told
    seconds = [float(line.split()[0]) for line in told]
    assert seconds == sorted(seconds)


@pytest.mark.slow
def test_calls_run_side_by_side(tmp_path: Path) -> None:
    project(tmp_path)

    async def work() -> None:
        spans: dict[str, tuple[float, float]] = {}
        async with client(tmp_path) as connected:

            async def one(span: str, tool: str, **arguments: Any) -> None:
                began = time.monotonic()
                await call(connected, tool, **arguments)
                spans[span] = (began, time.monotonic())

            async with anyio.create_task_group() as group:
                group.start_soon(partial(one, "slow", "optimize", task="my/axpy", budget="rounds=1", batch=2))
                for number in range(3):
                    group.start_soon(partial(one, f"new {number}", "new", name=f"other/n{number}"))
        assert all(spans[f"new {n}"][1] < spans["slow"][1] for n in range(3)), spans
        assert all((tmp_path / f"tasks/other/n{n}/task.toml").is_file() for n in range(3))

    anyio.run(work)


def _stop_in_the_middle(root: Path, how: str) -> None:
    ledger = Workspace(root).ledger("my/axpy", "main")

    async def work() -> None:
        async with client(root) as connected, anyio.create_task_group() as group:
            group.start_soon(connected.call_tool, "optimize", {"task": "my/axpy", "budget": "rounds=4", "batch": 2})
            while len(read_events(ledger)) < 6:
                await anyio.sleep(0.05)
            assert writer(ledger) is not None
            group.cancel_scope.cancel()
            if how == "cancel":
                with anyio.CancelScope(shield=True), anyio.fail_after(30):
                    while writer(ledger) is not None:
                        await anyio.sleep(0.05)
                    assert (await call(connected, "history", task="my/axpy"))["rows"], "the server went on"

    anyio.run(work)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cancel", "disconnect"])
def test_a_cancelled_campaign_leaves_the_ledger_whole_and_the_device_free(how: str, tmp_path: Path) -> None:
    space = project(tmp_path, batch=2)
    _stop_in_the_middle(tmp_path, how)
    ledger = space.ledger("my/axpy", "main")
    until = time.monotonic() + 30
    while writer(ledger) is not None or children("warpsmith.surface.mcp_call"):
        assert time.monotonic() < until, "the call outlived its client"
        time.sleep(0.05)
    before = read_events(ledger)
    assert not ledger.with_suffix(".torn").exists()

    async def resume() -> None:
        async with client(tmp_path) as connected:
            with anyio.fail_after(90):
                await call(connected, "optimize", task="my/axpy", budget="rounds=1", batch=2)

    anyio.run(resume)
    assert read_events(ledger)[: len(before)] == before


@pytest.mark.slow
def test_inside_an_agent_only_what_its_role_may_do(tmp_path: Path) -> None:
    project(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    async def look(role: str) -> set[str]:
        async with client(elsewhere, **{MARK: f"{role}:r1", PROJECT: str(tmp_path)}) as connected:
            refused = await connected.call_tool("optimize", {"task": "my/axpy"})
            assert refused.is_error
            result = await connected.read_resource("warpsmith://task/my/axpy")
            assert "def reference" in result.contents[0].text  # type: ignore[union-attr]
            return {t.name for t in (await connected.list_tools()).tools}

    assert anyio.run(look, "implementer") >= {"submit", "check", "explain", "history"}
    reviewer = anyio.run(look, "reviewer")
    assert "history" in reviewer
    assert not reviewer & {"submit", "optimize", "launch", "promote", "stop", "new"}


def test_the_command_line_keeps_to_the_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(MARK, "reviewer:r1")
    assert cli.run(["submit", "my/axpy", "x.c"]) == 3
    assert cli.run(["optimize", "my/axpy"]) == 3
    monkeypatch.setenv(MARK, "somebody")
    assert cli.run(["submit", "my/axpy", "x.c"]) == 3
