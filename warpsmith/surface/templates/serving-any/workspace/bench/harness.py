"""The backend as task.toml has it, loaded in this process and asked without a server."""

import asyncio
import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from backend import glue
from warpsmith.serving.backend import Ask, Backend, Given, Piece

WORKSPACE = Path(__file__).resolve().parent.parent
TASK = WORKSPACE.parent


def task() -> dict:
    """What task.toml says."""
    return tomllib.loads((TASK / "task.toml").read_text(encoding="utf-8"))


def given() -> Given:
    """What the server would give the factory."""
    server = task()["server"]
    snapshot = (TASK / server["snapshot"]).resolve() if server.get("snapshot") else None
    return Given(server.get("options", {}), server.get("model", "model"), WORKSPACE, snapshot, dict(os.environ))


@contextmanager
def loaded() -> Iterator[Backend]:
    """The backend, loaded and warmed up; stopped at the end."""
    backend = glue.make(given())
    backend.load()
    backend.warm_up()
    try:
        yield backend
    finally:
        backend.stop()


def prompts(backend: Backend, count: int, length: int, seed: int = 0) -> list[tuple[int, ...]]:
    """Random tokens."""
    draw = torch.Generator().manual_seed(seed)
    most = min(backend.limits.vocabulary, 256)
    return [tuple(torch.randint(1, most, (length,), generator=draw).tolist()) for _ in range(count)]


def ask(backend: Backend, asked: list[tuple[int, ...]], tokens: int) -> list[list[Piece]]:
    """The greedy answers to all prompts at once, each of so many tokens."""

    async def one(prompt: tuple[int, ...]) -> list[Piece]:
        return [piece async for piece in backend.generate(Ask(prompt, tokens, ignore_eos=True))]

    async def everyone() -> list[list[Piece]]:
        return list(await asyncio.gather(*(one(prompt) for prompt in asked)))

    return asyncio.run(everyone())
