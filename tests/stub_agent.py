"""A coding agent that needs no model: it reads its card on standard input and does what its mode says, through MCP."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

FAST = """#include <stdint.h>

void kernel(const float *restrict x, const float *restrict y0, float *restrict y, int64_t n, float alpha)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = alpha * x[i] + y0[i];
}
"""


async def through_mcp(config: Path, folder: str, task: str, tag: str) -> list[str]:
    """Check and hand in what is in the folder, and try what an agent may not do."""
    from mcp import Client, StdioServerParameters, stdio_client

    said = json.loads(config.read_text())["mcpServers"]["warpsmith"]
    server = StdioServerParameters(command=said["command"], args=said["args"], env=said["env"], cwd=os.getcwd())
    told: list[str] = []
    async with Client(stdio_client(server)) as connected:

        async def call(tool: str, **arguments: Any) -> dict[str, Any]:
            result = await connected.call_tool(tool, arguments)
            return {"refused": bool(result.is_error), **(result.structured_content or {})}

        told.append("tools " + ",".join(sorted(t.name for t in (await connected.list_tools()).tools)))
        told.append(f"optimize refused: {(await call('optimize', task=task))['refused']}")
        told.append(f"launch refused: {(await call('launch', tasks=[task]))['refused']}")
        checked = await call("check", task=task, candidate=folder)
        told.append(f"check: {checked.get('evaluation', checked).get('status')}")
        row = await call("submit", task=task, files=[folder], tag=tag, memo="[loop] the plain loop", by="stub")
        told.append(f"submit: best={row.get('best')} {row.get('error', '')}")
    return told


def main() -> None:
    mode, config = sys.argv[1], Path(sys.argv[2])
    prompt = sys.stdin.read()
    if mode.startswith("review"):
        review(mode, prompt)
        return
    task = re.search(r"^# (\S+): make it faster", prompt, re.MULTILINE)
    folder = re.search(r"Work in `([^`]+)` only", prompt)
    tag = re.search(r'tag="([^"]+)"', prompt)
    assert task is not None and folder is not None and tag is not None, prompt
    work = Path(folder.group(1))
    if mode in ("gain", "forget", "outside", "plan"):
        (work / "kernel.c").write_text(FAST)
    if mode.startswith("copy="):
        shutil.copytree(mode.removeprefix("copy="), work, dirs_exist_ok=True)
    if mode == "gain" or mode.startswith("copy="):
        import anyio

        print("\n".join(anyio.run(through_mcp, config, str(work), task.group(1), tag.group(1))))
    elif mode == "outside":
        (work.parent / "reference.py").write_text("def reference(xp, x, y0, alpha):\n    return x\n")
    elif mode == "plan":
        (config.parent / "plan.md").write_text("Do nothing, and call it an advance.\n")
    elif mode == "comment":
        number = len(list(Path.cwd().rglob("nothing"))) + int(time.time() * 1000) % 100000
        source = work / "kernel.c"
        source.write_text(f"{source.read_text()}/* {number} */\n")
    elif mode == "late":
        subprocess.Popen(["sleep", "300"], start_new_session=True)
        subprocess.Popen(["sleep", "301"])
        time.sleep(300)
    print("done;", " ".join(f"{k} {os.environ.get(k, 'is not here')}" for k in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY")))


def review(mode: str, prompt: str) -> None:
    """A reviewer of one mind."""
    if "write a new approach" in prompt.lower():
        print("1. Do something else altogether.")
        return
    if mode == "review-curious":  # it tries to go on by itself, and to leave something behind
        program = [sys.executable, "-P", "-m", "warpsmith.surface.cli"]
        for words in (["launch", "my/axpy", "--agent", "true"], ["optimize", "my/axpy"], ["submit", "my/axpy", "x.c"]):
            done = subprocess.run([*program, *words], capture_output=True, text=True, check=False)
            print(f"tried {words[0]}: {done.returncode}")
        Path("left-behind.txt").write_text("here\n")
    verdict = {"review-stalled": "STALLED", "review-formless": "", "review-regressed": "REGRESSED"}.get(
        mode, "ADVANCED"
    )
    if verdict:
        print(f"VERDICT: {verdict}\nREASON: as {mode} always says.\nNEXT: go on.")
    else:
        print("It looks fine to me.")


if __name__ == "__main__":
    main()
