"""The MCP server over stdio: every verb a tool, every task a resource. Owns the protocol's side only.

A call runs in a process of its own (mcp_call.py), so calls run side by side, a cancelled one ends as Ctrl-C ends a
command (the ledger whole, the device free), and a bug in one leaves the server standing. Standard output carries the
protocol and nothing else.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

import anyio
from anyio.abc import Process
from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError

from warpsmith import __version__
from warpsmith.errors import BadInput, WarpsmithError
from warpsmith.propose.agent import GUIDES
from warpsmith.surface import mcp_resources as resources
from warpsmith.surface.cli import BUG
from warpsmith.surface.mcp_tools import tools

CALL = (sys.executable, "-P", "-m", "warpsmith.surface.mcp_call")
BEAT_S = 5.0
"""Between signs of life, which keep a client from giving a long call up."""
GRACE_S = 20.0
"""How long a cancelled call may take to end its steps before its process is killed."""
INSTRUCTIONS = GUIDES / "instructions.md"

Context = ServerRequestContext[Any, Any]


async def serve() -> None:
    """Serve this process's standard input and output until the client closes them."""
    server: Server[Any] = Server(
        "warpsmith",
        version=__version__,
        instructions=INSTRUCTIONS.read_text(encoding="utf-8"),
        on_list_tools=_list_tools,
        on_call_tool=_call_tool,
        on_list_resources=_list_resources,
        on_list_resource_templates=_list_templates,
        on_read_resource=_read_resource,
    )
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


async def _list_tools(_: Context, __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    return types.ListToolsResult(
        tools=[types.Tool(name=t.name, description=t.description, input_schema=t.schema) for t in tools().values()]
    )


async def _call_tool(context: Context, call: types.CallToolRequestParams) -> types.CallToolResult:
    known = tools()
    try:
        if call.name not in known:
            raise BadInput(f"there is no tool {call.name!r} here.", f"Tools: {', '.join(known)}.")
        arguments = known[call.name].checked(call.arguments or {})
    except WarpsmithError as error:
        return _error(error.message, error.remedy, error.exit_status)
    began = time.monotonic()
    doing = [call.name]

    async def tell(text: str = "") -> None:
        doing[:] = [text] if text else doing
        await context.session.report_progress(time.monotonic() - began, message=doing[0])

    async def beat() -> None:
        while True:
            await anyio.sleep(BEAT_S)
            await tell()

    end: dict[str, Any] = {"error": f"the process of {call.name} ended without an answer.", "exit_status": BUG}
    async with anyio.create_task_group() as beside:
        beside.start_soon(beat)
        async with aclosing(_run(call.name, arguments)) as messages:
            async for message in messages:
                if "progress" in message:
                    await tell(message["progress"])
                else:
                    end = message
        beside.cancel_scope.cancel()
    if "error" in end:
        return _error(end["error"], end.get("remedy", ""), end["exit_status"])
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=end["text"])], structured_content=end["answer"]
    )


async def _run(verb: str, arguments: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    """The messages of one call. Ends its process where the caller stops listening."""
    process = await anyio.open_process(CALL, stderr=None, start_new_session=True)
    assert process.stdin is not None and process.stdout is not None
    try:
        await process.stdin.send(json.dumps({"verb": verb, "arguments": arguments}).encode() + b"\n")
        rest = b""
        async for piece in process.stdout:
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield json.loads(line)
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process)


async def _end(process: Process) -> None:
    """Close the call's standard input, which interrupts it; kill its group where that does not end it in time."""
    assert process.stdin is not None and process.stdout is not None
    await process.stdin.aclose()
    with anyio.move_on_after(GRACE_S):
        await process.wait()
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    await process.stdout.aclose()


def _error(message: str, remedy: str, status: int) -> types.CallToolResult:
    """What a verb refused, as the command line says it with ``--json``."""
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=f"{message} {remedy}".rstrip())],
        structured_content={"error": message, "remedy": remedy, "exit_status": status},
        is_error=True,
    )


async def _list_resources(_: Context, __: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
    found = await anyio.to_thread.run_sync(resources.listed)
    made = [types.Resource(uri=r.uri, name=r.name, description=r.what, mime_type=r.mime) for r in found]
    return types.ListResourcesResult(resources=made)


async def _list_templates(_: Context, __: types.PaginatedRequestParams | None) -> types.ListResourceTemplatesResult:
    made = [
        types.ResourceTemplate(uri_template=r.uri, name=r.name, description=r.what, mime_type=r.mime)
        for r in resources.TEMPLATES
    ]
    return types.ListResourceTemplatesResult(resource_templates=made)


async def _read_resource(_: Context, asked: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    try:
        text, mime = await anyio.to_thread.run_sync(resources.read, str(asked.uri))
    except WarpsmithError as error:
        raise MCPError(types.INVALID_PARAMS, str(error), {"exit_status": error.exit_status}) from None
    contents = types.TextResourceContents(uri=asked.uri, mime_type=mime, text=text)
    return types.ReadResourceResult(contents=[contents])
