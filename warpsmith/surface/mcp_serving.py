"""The ``mcp`` verb: where the server starts, and what it must not carry along."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from warpsmith.errors import BadInput, Missing
from warpsmith.mark import PROJECT, role

if TYPE_CHECKING:
    from warpsmith.surface import answers_agents


def mcp(*, project: Path | None = None) -> answers_agents.McpAnswer:
    """Serve every verb as a tool over the Model Context Protocol, on standard input and output.

    Tasks, histories and reports are resources. A cancelled call ends as Ctrl-C ends a command. Ends with its client.

    Args:
        project: The project whose tasks and ledgers count, where it is not that of the current folder.
    """
    if find_spec("mcp") is None:
        raise Missing("the MCP server needs the package mcp.", "Run: pip install 'warpsmith[mcp]'.")
    if project is not None:
        if not project.is_dir():
            raise BadInput(f"--project: {project} is no folder.", "Name the folder that holds tasks/.")
        os.environ[PROJECT] = str(project.resolve())

    from warpsmith.propose.llm.names import without_keys

    if role():  # an agent's own key is its own: no candidate's process may inherit it from here
        kept = without_keys(os.environ)
        for name in set(os.environ) - set(kept):
            del os.environ[name]

    import anyio

    from warpsmith.surface.answers_agents import McpAnswer
    from warpsmith.surface.mcp import serve

    anyio.run(serve)
    return McpAnswer()
