"""The shim: an OpenAI-compatible server over a backend. Owns the endpoints and the server's own life.

It listens at once and says under ``/health`` why it takes no requests yet. On SIGTERM it takes no more (503), finishes
those under way, and exits with status 0. A backend that cannot be loaded ends it with status 1.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import PlainTextResponse

from warpsmith.serving.answering import Answer, Service, error_response
from warpsmith.serving.backend import Backend
from warpsmith.serving.wire import Asked, Chat, ChatAsked, Plain, PlainAsked, Refusal, read

LARGEST_BODY = 64 << 20
"""Bytes of a request, at most."""
PLAIN_TOKENS = 16
"""Tokens of a plain completion that says no count, as OpenAI has it."""
log = logging.getLogger("warpsmith.serving")
A = TypeVar("A", bound=Asked)


def app(service: Service) -> FastAPI:
    """The endpoints."""
    made = FastAPI(title="warpsmith", docs_url=None, redoc_url=None, openapi_url=None)
    _completions(made, service)
    _about(made, service)

    @made.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> Response:
        service.metrics.requests[request.url.path.removeprefix("/v1/"), str(error.status)] += 1
        return error_response(error)

    @made.exception_handler(404)
    @made.exception_handler(405)
    async def unknown(request: Request, error: HTTPException) -> Response:
        return error_response(Refusal(error.status_code, f"{request.method} {request.url.path}: {error.detail}."))

    return made


def serve(backend: Backend, model: str, listener: socket.socket) -> int:
    """Serve until SIGTERM or SIGINT, returns the exit status. A
    backend that cannot be loaded ends the process here.
    """
    return asyncio.run(_serve(backend, model, listener))


class _Server(uvicorn.Server):
    """uvicorn without its own idea of signals: it would refuse connections where 503 is to be said."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def _serve(backend: Backend, model: str, listener: socket.socket) -> int:
    service = Service(backend, model)
    service.idle.set()
    config = uvicorn.Config(
        app(service), http="httptools", ws="none", lifespan="off", log_level="warning", access_log=False, backlog=4096,
        timeout_keep_alive=300,
    )  # fmt: skip
    server = _Server(config)

    async def drain() -> None:
        log.info("told to end: no new requests, %d under way", service.under_way)
        await service.idle.wait()
        server.should_exit = True

    def told() -> None:
        if service.doing != "draining":
            service.doing = "draining"
            tasks.append(asyncio.create_task(drain()))

    async def prepare() -> None:
        began = time.monotonic()
        for doing, work in (("loading", backend.load), ("warming up", backend.warm_up)):
            service.doing = service.doing if service.doing == "draining" else doing
            await _apart(doing, work)
        if service.doing != "draining":
            service.doing = ""
            log.info("ready after %.2f s", time.monotonic() - began)

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told)
    tasks = [asyncio.create_task(prepare())]
    await server.serve([listener])
    backend.stop()
    log.info("ended")
    return 0


async def _apart(doing: str, work: Callable[[], None]) -> None:
    """Do it in a thread that nobody waits for at the end of the process; whatever it raises ends that."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def carry_out() -> None:
        try:
            work()
        except Exception:  # a backend may raise anything; the log says what
            log.exception("the backend failed while %s", doing)
            os._exit(1)  # what it began may never end
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=carry_out, name="backend", daemon=True).start()
    await done.wait()


def _completions(made: FastAPI, service: Service) -> None:
    @made.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        asked = await _asked(service, request, ChatAsked)
        messages = [{"role": m.role, "content": m.content} for m in asked.messages]
        prompt = service.backend.chat(messages)
        tokens = _count(service, "messages", len(prompt), asked.limit, service.backend.limits.default_tokens)
        written = Chat(asked, secrets.token_hex(12), int(time.time()))
        return Answer(service, "chat/completions", asked, asked.ask(prompt, tokens), written)

    @made.post("/v1/completions")
    async def plain(request: Request) -> Response:
        asked = await _asked(service, request, PlainAsked)
        said = asked.only_prompt
        prompt = service.backend.encode(said) if isinstance(said, str) else said
        vocabulary = service.backend.limits.vocabulary
        if not prompt or not all(0 <= token < vocabulary for token in prompt):
            raise Refusal(400, f"prompt: one token or more, each below {vocabulary}.", param="prompt")
        tokens = _count(service, "prompt", len(prompt), asked.limit, PLAIN_TOKENS)
        written = Plain(asked, secrets.token_hex(12), int(time.time()))
        return Answer(service, "completions", asked, asked.ask(prompt, tokens), written)

    @made.post("/tokenize")
    async def tokenize(request: Request) -> Response:
        service.refuse_unless_ready()
        try:
            tokens = list(service.backend.encode(json.loads(await request.body())["prompt"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Refusal(400, "prompt: give a text.", param="prompt") from None
        most = service.backend.limits.context
        return _document({"count": len(tokens), "max_model_len": most, "tokens": tokens})


def _about(made: FastAPI, service: Service) -> None:
    card = {"id": service.model, "object": "model", "created": service.created, "owned_by": "warpsmith"}

    @made.get("/v1/models")
    async def models() -> Response:
        return _document({"object": "list", "data": [card]})

    @made.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        if name != service.model:
            raise _no_model(name)
        return _document(card)

    @made.get("/health")
    async def health() -> Response:
        return _document({"status": service.doing or "ready"}, 503 if service.doing else 200)

    @made.get("/metrics")
    async def metrics() -> Response:
        text = service.metrics.text(service.backend.occupancy, service.under_way, not service.doing, _resident())
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


async def _asked(service: Service, request: Request, kind: type[A]) -> A:
    """The request, where it can be taken. Raises Refusal."""
    service.refuse_unless_ready()
    if int(request.headers.get("content-length") or 0) > LARGEST_BODY:
        raise Refusal(413, f"a request has at most {LARGEST_BODY >> 20} MiB.")
    asked = read(kind, await request.body())
    if asked.model != service.model:
        raise _no_model(asked.model)
    return asked


def _count(service: Service, param: str, prompt: int, said: int | None, default: int) -> int:
    """Tokens of the answer. Raises Refusal where the context has no room for them."""
    context = service.backend.limits.context
    wanted = said if said is not None else max(1, min(default, context - prompt))
    if prompt + wanted > context:
        what = f"the context has {context} tokens; the prompt has {prompt}, and {wanted} are asked for."
        raise Refusal(400, what, param=param, code="context_length_exceeded")
    return wanted


def _no_model(name: str) -> Refusal:
    return Refusal(404, f"there is no model {name!r}; GET /v1/models.", param="model", code="model_not_found")


def _document(said: object, status: int = 200) -> Response:
    return Response(json.dumps(said), status, media_type="application/json")


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
