"""Servers for tests: started, ready, and ended whatever happens."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import openai

from warpsmith.model.harness import Scalar, Server
from warpsmith.serving.process import Running, start

LONG_S = 60.0
"""More than anything here takes, on however busy a machine."""


@contextmanager
def running(
    folder: Path, server: Server | None = None, *, ready: bool = True, port: int = 0, files: Path | None = None,
    environment: dict[str, str] | None = None, **options: Scalar,
) -> Iterator[Running]:  # fmt: skip
    """A server in ``folder``; the mock with these options where none is given."""
    said = server or Server(backend="mock", options=options, ready_s=LONG_S, drain_s=LONG_S)
    variables = {"PATH": os.environ["PATH"], **(environment or {})}
    started = start(said, folder, variables, folder / "server.log", port, files)
    try:
        if ready:
            started.wait_ready()
        yield started
    finally:
        started.stop(at_once=True)


@contextmanager
def client(server: Running) -> Iterator[openai.OpenAI]:
    """The official client of a server."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=LONG_S) as made:
        yield made


def until(condition: Callable[[], object]) -> None:
    """Wait for something that must come."""
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


def alive(process: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
