"""One request from the moment it is understood to its last byte: generation, stop texts, stream or document.

Owns what becomes of a client that goes away: its generation is closed at once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import Response

from warpsmith.serving.backend import Ask, Backend, Piece, Refused
from warpsmith.serving.metrics import Metrics
from warpsmith.serving.wire import Asked, Format, Refusal

log = logging.getLogger("warpsmith.serving")
Told = MutableMapping[str, Any]
"""A message of ASGI."""
Receive = Callable[[], Awaitable[Told]]
Send = Callable[[Told], Awaitable[None]]


@dataclass
class Client:
    """Who asked."""

    gone: bool = False
    answered: bool = False
    """Nothing more is owed to it."""


@dataclass
class Service:
    """What the server is doing."""

    backend: Backend
    model: str
    doing: str = "loading"
    """Why no requests are taken; empty once they are."""
    under_way: int = 0
    metrics: Metrics = field(default_factory=Metrics)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while nothing is under way."""
    created: int = field(default_factory=lambda: int(time.time()))

    def refuse_unless_ready(self) -> None:
        """Raise Refusal where no requests are taken."""
        if self.doing:
            raise Refusal(503, f"the server is not ready: {self.doing}.", code="not_ready")


@dataclass(frozen=True)
class Chunk:
    """Some text with the tokens that it comes from."""

    text: str
    pieces: tuple[Piece, ...]
    finish: str = ""


async def chunks(backend: Backend, ask: Ask, stops: Sequence[str]) -> AsyncGenerator[Chunk, None]:
    """The answer in pieces that can be shown: what may be the beginning of a stop text is held back."""
    text, held = "", []
    async with aclosing(backend.generate(ask)) as pieces:
        async for piece in pieces:
            if not piece.silent:
                held.append(piece)
                text += piece.text
            ends = [at for stop in stops if (at := text.find(stop)) >= 0]
            if ends:
                yield Chunk(text[: min(ends)], tuple(held), "stop")
                return
            if piece.finish or not _may_begin(text, stops):
                yield Chunk(text, tuple(held), piece.finish)
                text, held = "", []


class Answer(Response):
    """The answer to one request."""

    def __init__(self, service: Service, endpoint: str, asked: Asked, ask: Ask, written: Format) -> None:
        self.service = service
        self.endpoint = endpoint
        self.asked = asked
        self.ask = ask
        self.written = written
        self.background = None
        self.began = time.perf_counter()
        self.first = 0.0
        """When the first token came."""
        self.said = 0

    async def __call__(self, scope: Told, receive: Receive, send: Send) -> None:
        """Generate and write; whatever goes wrong becomes an error of the format."""
        service = self.service
        service.under_way += 1
        service.idle.clear()
        outcome = "cancelled"
        try:
            async with _while_there(receive) as client:
                outcome = await self._answer(send, client)
        finally:
            service.under_way -= 1
            self._count(outcome)
            if not service.under_way:
                service.idle.set()

    async def _answer(self, send: Send, client: Client) -> str:
        """How it ended."""
        started = False
        try:
            async with aclosing(chunks(self.service.backend, self.ask, self.asked.stops)) as made:
                if not self.asked.stream:
                    return await self._whole(made, send, client)
                first = await anext(made)
                await send(_head(200, b"text/event-stream; charset=utf-8"))
                started = True
                return await self._stream(first, made, send, client)
        except Refused as error:
            return await _refuse(Refusal(429, f"the server is busy: {error}.", code="busy"), send, client, started)
        except Exception as error:  # a backend may raise anything: the request fails, the server goes on
            log.exception("a generation failed")
            what = Refusal(500, f"the generation failed: {type(error).__name__}: {error}", code="generation_failed")
            await _refuse(what, send, client, started)
            return "error"

    async def _whole(self, made: AsyncIterator[Chunk], send: Send, client: Client) -> str:
        text: list[str] = []
        pieces: list[Piece] = []
        finish = ""
        async for chunk in made:
            self._note(chunk)
            text.append(chunk.text)
            pieces += chunk.pieces
            finish = chunk.finish
        body = self.written.whole("".join(text), pieces, finish, self.ask.prompt)
        client.answered = True
        await send(_head(200, b"application/json", len(body)))
        await send({"type": "http.response.body", "body": body})
        return finish

    async def _stream(self, first: Chunk, made: AsyncIterator[Chunk], send: Send, client: Client) -> str:
        finish = await self._send(first, send, self.written.begin())
        async for chunk in made:
            finish = await self._send(chunk, send)
        end = b""
        if self.asked.stream_options and self.asked.stream_options.include_usage:
            end = self.written.count(len(self.ask.prompt), self.said)
        client.answered = True
        await send({"type": "http.response.body", "body": end + b"data: [DONE]\n\n"})
        return finish

    async def _send(self, chunk: Chunk, send: Send, before: bytes = b"") -> str:
        """One chunk, and the end of the text where it is the last; a chunk of nothing is not sent."""
        self._note(chunk)
        body = before + (self.written.chunk(chunk.text, chunk.pieces) if chunk.pieces else b"")
        if chunk.finish:
            body += self.written.finish(chunk.finish)
        await send({"type": "http.response.body", "body": body, "more_body": True})
        return chunk.finish

    def _note(self, chunk: Chunk) -> None:
        if not self.said:
            self.first = time.perf_counter()
        self.said += len(chunk.pieces)

    def _count(self, outcome: str) -> None:
        metrics, now = self.service.metrics, time.perf_counter()
        metrics.requests[self.endpoint, outcome] += 1
        metrics.output_tokens += self.said
        metrics.prompt_tokens += len(self.ask.prompt)
        if outcome in ("stop", "length"):
            metrics.whole.add(now - self.began)
            metrics.first_token.add(self.first - self.began)
            if self.said > 1:
                metrics.between_tokens.add((now - self.first) / (self.said - 1))


def error_response(refusal: Refusal) -> Response:
    """An error as an answer."""
    return Response(json.dumps(refusal.document), refusal.status, media_type="application/json")


@asynccontextmanager
async def _while_there(receive: Receive) -> AsyncIterator[Client]:
    """Whoever is within is cancelled once the client has gone away; that ends here."""
    task, client = asyncio.current_task(), Client()
    assert task is not None

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if not client.answered:
            client.gone = True
            task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield client
    except asyncio.CancelledError:
        if not client.gone:
            raise
        task.uncancel()
    finally:
        watcher.cancel()


async def _refuse(refusal: Refusal, send: Send, client: Client, started: bool) -> str:
    """Answer with an error: as a document, or as the last event of a stream that has begun. Returns the status."""
    body = json.dumps(refusal.document).encode()
    client.answered = True
    if started:
        await send({"type": "http.response.body", "body": b"data: %s\n\n" % body})
    else:
        await send(_head(refusal.status, b"application/json", len(body)))
        await send({"type": "http.response.body", "body": body})
    return str(refusal.status)


def _head(status: int, kind: bytes, length: int | None = None) -> dict[str, Any]:
    headers = [(b"content-type", kind)]
    headers += [] if length is None else [(b"content-length", str(length).encode())]
    return {"type": "http.response.start", "status": status, "headers": headers}


def _may_begin(text: str, stops: Sequence[str]) -> bool:
    """Whether the end of the text may be the beginning of a stop text."""
    return any(text.endswith(stop[:n]) for stop in stops for n in range(1, min(len(stop), len(text) + 1)))
