"""A language-model server for tests: real HTTP, both wire formats, scripted answers, its own tokens, caches and bill.

It is strict where the providers are (keys, empty blocks, prefilled answers, too many cache marks), so a client that
would be refused out there is refused here. Its tokenizer counts four characters as a token. A scripted text that is
longer than ``max_tokens`` is cut there, and the next request that goes on with it gets the rest.
"""

from __future__ import annotations

import json
import math
import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.propose.speaking import Answer, Scripted, anthropic_events, openai_events, say_error, say_json, stream
from warpsmith.model.asks import Usage

KEY = "sk-test-0123456789-never-to-be-seen"
GRAIN = 128
"""Tokens in which OpenAI's servers count what they cached."""


def tokens(text: str) -> int:
    return math.ceil(len(text) / 4)


def fails(status: int, retry_after: float | None = None, message: str = "scripted") -> Scripted:
    return Scripted(status=status, retry_after=retry_after, message=message)


@dataclass
class Received:
    """One request with what the server made of it."""

    wire: str
    path: str
    key: str
    headers: dict[str, str]
    body: dict[str, Any]
    status: int = 0
    usage: Usage = field(default_factory=Usage)
    """As billed, whether or not it was said."""

    @property
    def prompt(self) -> str:
        """Everything that was sent, as one text."""
        return "\n".join(_parts(self.wire, self.body))

    @property
    def last(self) -> str:
        """The text of the last message."""
        return _text(self.body["messages"][-1]["content"])


class Refusal(Exception):
    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


Answering = Callable[[Received], Scripted]


class Server:
    """``with Server(["text", fails(429), ...]) as server``; ``answer`` is asked when the script is used up."""

    def __init__(
        self,
        script: list[str | Scripted] | None = None,
        answer: Answering | None = None,
        *,
        key: str = KEY,
        minimum: int = 0,
    ) -> None:
        self.script = deque(Scripted(text=s) if isinstance(s, str) else s for s in script or [])
        self.answer = answer
        self.key = key
        self.minimum = minimum
        """Tokens below which a prefix is not cached."""
        self.requests: list[Received] = []
        self._cached: set[tuple[str, str]] = set()
        self._prompts: list[str] = []
        self._cut: dict[str, tuple[str, str]] = {}
        """Answers that were cut, by their ends: what was said, and the rest."""
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._handle(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        class Http(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that went away is no fault of the server

        self._http = Http(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Base URL for the Anthropic format; the OpenAI format has ``/v1`` behind it."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def anthropic(self, name: str = "claude-opus-5-5", variable: str = "TEST_KEY") -> str:
        """The name of a model here, for the settings."""
        return f"anthropic:{name}@{self.url}#{variable}"

    def openai(self, name: str = "gpt-6.2-sol", variable: str = "TEST_KEY") -> str:
        """The name of a model here, for the settings."""
        return f"openai:{name}@{self.url}/v1#{variable}"

    def bill(self, **per_million: str) -> Decimal:
        """US dollars for all requests, in whole nano-dollars; prices by the names of Usage's fields."""
        prices = {name: int(Decimal(price) * 1000) for name, price in per_million.items()}
        nano = sum(getattr(r.usage, name) * price for r in self.requests for name, price in prices.items())
        return Decimal(nano) / 10**9

    def _handle(self, http: BaseHTTPRequestHandler) -> None:
        body = json.loads(http.rfile.read(int(http.headers["content-length"])))
        key = http.headers.get("x-api-key") or http.headers.get("authorization", "").removeprefix("Bearer ")
        wire = "openai" if http.path.endswith("/chat/completions") else "anthropic"
        received = Received(wire, http.path, key, dict(http.headers), body)
        with self._lock:
            self.requests.append(received)
            number = len(self.requests)
            try:
                self._check(received)
                scripted = self._next(received)
            except Refusal as refusal:
                scripted = Scripted(status=refusal.status, message=str(refusal), text=refusal.kind)
        if scripted.waits is not None:
            scripted.waits.wait(10)
        received.status = scripted.status
        if scripted.status != 200:
            say_error(http, scripted, number)
            return
        answer = self._answer(received, scripted)
        speak = openai_events if wire == "openai" else anthropic_events
        if not body.get("stream"):
            say_json(http, 200, answer.whole(), number)
            return
        stream(http, speak(answer), scripted, number)

    def _check(self, received: Received) -> None:
        if self.key and received.key != self.key:
            raise Refusal(401, "authentication_error", f"invalid key {received.key[:12]}: {received.key}")
        body = received.body
        if not body.get("max_tokens") and not body.get("max_completion_tokens"):
            raise Refusal(400, "invalid_request_error", "max_tokens: Field required")
        if any(not part.strip() for part in _parts(received.wire, body)):
            raise Refusal(400, "invalid_request_error", "text content blocks must be non-empty")
        if received.wire == "openai":
            return
        marks = json.dumps(body).count('"cache_control"')
        if marks > 4:
            raise Refusal(400, "invalid_request_error", f"at most 4 blocks with cache_control, found {marks}")
        last = body["messages"][-1]
        if last["role"] == "assistant":
            if not re.search(r"-4-5\b", body["model"]):
                raise Refusal(400, "invalid_request_error", "This model does not support assistant message prefill.")
            if _text(last["content"]) != _text(last["content"]).rstrip():
                raise Refusal(400, "invalid_request_error", "final assistant content cannot end with white space")

    def _next(self, received: Received) -> Scripted:
        last = received.body["messages"][-1]
        partial = [_text(m["content"]) for m in received.body["messages"] if m["role"] == "assistant"]
        if partial and (last["role"] == "assistant" or "cut at its length limit" in _text(last["content"])):
            cut = self._cut.pop(_key(partial[-1]), None)
            if cut is None:
                raise Refusal(400, "invalid_request_error", "this answer was never given")
            so_far, rest = cut
            lost = so_far[len(so_far.rstrip()) :] if last["role"] == "assistant" else ""
            return Scripted(text=lost + rest, goes_on=so_far.rstrip() if lost else so_far)
        if self.script:
            return self.script.popleft()
        if self.answer is None:
            raise Refusal(500, "api_error", "the script is used up")
        return self.answer(received)

    def _answer(self, received: Received, scripted: Scripted) -> Answer:
        body = received.body
        limit = body.get("max_tokens") or body["max_completion_tokens"]
        room = 4 * max(0, limit - scripted.thinking)
        text, rest = scripted.text[:room], scripted.text[room:]
        with self._lock:
            if rest and text:
                so_far = scripted.goes_on + text
                self._cut[_key(so_far)] = (so_far, rest)
            elif rest:
                self.script.appendleft(replace(scripted, text=rest))
            prompt = self._cache_anthropic(body) if received.wire == "anthropic" else self._cache_openai(body)
        written = text if scripted.cut_after is None else text[: scripted.cut_after]
        output = min(scripted.thinking, limit) + tokens(written)
        received.usage = prompt.model_copy(update={"output": output})
        stop = "refusal" if scripted.declines else "max_tokens" if rest else "end_turn"
        return Answer(text, stop, received.usage, body["model"], scripted, received.wire)

    def _cache_anthropic(self, body: dict[str, Any]) -> Usage:
        """What is read from the cache and written to it, by hashes of prefixes of blocks."""
        blocks = _blocks(body)
        total = sum(tokens(b["text"]) for b in blocks)
        prefix, at, found, marked = sha256(body["model"].encode()), 0, 0, 0
        ends: list[tuple[str, str]] = []
        for block in blocks:
            prefix.update(json.dumps([block["role"], block["text"]]).encode())
            at += tokens(block["text"])
            name = (self.key, prefix.hexdigest())
            if name in self._cached:
                found = at
            if "cache_control" in block:
                marked = at
                ends.append(name) if at >= self.minimum else None
        if not ends:
            return Usage(input=total)
        self._cached.update(ends)
        read = min(found, marked)
        return Usage(input=total - marked, cache_write=marked - read, cache_read=read)

    def _cache_openai(self, body: dict[str, Any]) -> Usage:
        prompt = "\n".join(_parts("openai", body))
        common = max((_common(prompt, p) for p in self._prompts), default=0)
        self._prompts.append(prompt)
        read = tokens(prompt[:common]) // GRAIN * GRAIN
        total = sum(tokens(p) for p in _parts("openai", body))
        read = min(read, total) if read >= self.minimum else 0
        return Usage(input=total - read, cache_read=read)


def _text(content: str | list[dict[str, Any]]) -> str:
    return content if isinstance(content, str) else "\n\n".join(part["text"] for part in content)


def _blocks(body: dict[str, Any]) -> list[dict[str, Any]]:
    """All blocks of an Anthropic prompt in order, with their role."""
    system = body.get("system", [])
    parts = [{"type": "text", "text": system}] if isinstance(system, str) else system
    found = [{**part, "role": "system"} for part in parts]
    for message in body["messages"]:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        found += [{**part, "role": message["role"]} for part in parts]
    return found


def _parts(wire: str, body: dict[str, Any]) -> list[str]:
    if wire == "anthropic":
        return [b["text"] for b in _blocks(body)]
    return [_text(m["content"]) for m in body["messages"]]


def _key(partial: str) -> str:
    """What a cut answer is found by when it is to go on: its end, whatever white space was lost."""
    return partial.rstrip()[-200:]


def _common(one: str, other: str) -> int:
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    return min(len(one), len(other)) if at is None else at
