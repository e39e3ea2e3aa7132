"""One call of one verb in a process of its own, for the MCP server: what cancels it is the end of its standard input.

In: a line ``{"verb": NAME, "arguments": {...}}``, then nothing until the caller wants it to end. Out, a line each:
``{"progress": TEXT}``, and at last ``{"answer": {...}, "text": TEXT}`` or ``{"error", "remedy", "exit_status"}``.
Whatever else writes to standard output writes to standard error instead.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import IO, Any

from warpsmith.campaign import Watcher
from warpsmith.errors import WarpsmithError
from warpsmith.surface.cli import BUG, INTERRUPTED
from warpsmith.surface.mcp_tools import tools

Say = Callable[[dict[str, Any]], None]


def main() -> None:
    """Carry out the call on standard input; ends with 0, whatever came of it."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        _serve(out)


def _serve(out: IO[str]) -> None:
    writing = threading.Lock()

    def say(message: dict[str, Any]) -> None:
        with writing, contextlib.suppress(BrokenPipeError):  # the server is gone, and this call is ended with it
            out.write(json.dumps(message) + "\n")
            out.flush()

    call = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        say(_answer(call["verb"], call["arguments"], say))
    except WarpsmithError as error:
        say({"error": error.message, "remedy": error.remedy, "exit_status": error.exit_status})
    except KeyboardInterrupt:
        told = "interrupted; the ledger is whole."
        say({"error": told, "remedy": "The same call resumes.", "exit_status": INTERRUPTED})
    except Exception as error:  # the edge of this process: anything unexpected is our own bug, and says so
        traceback.print_exc()
        told = f"a bug in warpsmith: {error!r}."
        say({"error": told, "remedy": "Please report it; the server's log has more.", "exit_status": BUG})


def _answer(verb: str, arguments: dict[str, Any], say: Say) -> dict[str, Any]:
    from warpsmith.surface.progress import told
    from warpsmith.surface.render import show

    tool = tools()[verb]

    def watching(space: object) -> Watcher:
        return lambda event, history: _tell(told(event, history))

    def _tell(text: str) -> None:
        if text:
            say({"progress": text})

    hooks = {"watch": watching, "tell": _tell}
    answer = tool.call(arguments, **{name: hook for name, hook in hooks.items() if tool.takes(name)})
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        show(answer)
    return {"answer": json.loads(answer.model_dump_json()), "text": text.getvalue()}


def _end_with_input() -> None:
    """Interrupt this process, as Ctrl-C would, when the other end closes: the call was cancelled or the server died."""
    while os.read(0, 4096):  # not through the buffer of sys.stdin, whose lock this thread would hold to the very end
        pass
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    main()
