"""``python -m warpsmith.serving``: one server over one backend, in the foreground."""

from __future__ import annotations

import argparse
import json
import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any

from warpsmith.errors import BadInput, WarpsmithError
from warpsmith.serving import ports
from warpsmith.serving.backend import Given, factory


def main(arguments: list[str]) -> int:
    """Serve as the arguments say; ends the process; returns the exit status where nothing could be
    served, or under a profiler.
    """
    said = _parser().parse_args(arguments[1:] if arguments[:1] == ["warpsmith.serving"] else arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    workspace = Path(said.workspace).resolve()
    snapshot = Path(said.snapshot).resolve() if said.snapshot else None
    try:
        listener = socket.socket(fileno=said.fd) if said.fd is not None else ports.bound(said.port, said.host).held
        os.chdir(workspace)
        sys.path.insert(0, str(workspace))
        given = Given(_options(said.options), said.model, workspace, snapshot, dict(os.environ))
        backend = factory(said.backend)(given)
    except WarpsmithError as error:
        sys.stderr.write(f"warpsmith.serving: {error}\n")
        return error.exit_status
    host, port = listener.getsockname()[:2]
    logging.getLogger("warpsmith.serving").info("%s (%s) at http://%s:%d/v1", said.model, said.backend, host, port)

    from warpsmith.serving.shim import serve
    from warpsmith.serving.traced import traced

    status = serve(backend, said.model, listener)
    logging.shutdown()
    if traced():
        return status
    os._exit(status)  # torch takes seconds to take itself apart


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m warpsmith.serving", description="An OpenAI-compatible server.")
    parser.add_argument("--backend", required=True, help="mock, transformers, or module:factory in the workspace")
    parser.add_argument("--workspace", default=".", help="the folder that it runs in")
    parser.add_argument("--options", default="{}", help="of the backend, as JSON")
    parser.add_argument("--model", default="model", help="the name under which it is served")
    parser.add_argument("--snapshot", default="", help="folder of the model's files")
    parser.add_argument("--host", default=ports.HOST)
    parser.add_argument("--port", type=int, default=8000, help="0: any free one")
    parser.add_argument("--fd", type=int, default=None, help="a bound socket to listen at, instead of host and port")
    return parser


def _options(text: str) -> dict[str, Any]:
    """The options of the backend. Raises BadInput."""
    try:
        said = json.loads(text)
    except ValueError as error:
        raise BadInput(f"--options: not JSON: {error}.", "Give one object.") from None
    if not isinstance(said, dict):
        raise BadInput(f"--options: {text} is no object.", 'Give one, such as {"max_batch": 4}.')
    return said


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
