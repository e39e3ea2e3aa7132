"""How the test server says things: answers, events and errors in both wire formats, over real sockets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

from warpsmith.model.asks import Usage

PIECE = 24
"""Characters per piece of a stream."""


@dataclass(frozen=True)
class Scripted:
    """One answer of the script."""

    text: str = ""
    status: int = 200
    retry_after: float | None = None
    message: str = ""
    """Of an error."""
    cut_after: int | None = None
    """Characters after which the connection breaks; 0: right after the stream began."""
    ends_early: bool = False
    """With ``cut_after``: the stream ends as if all were well, but the message does not."""
    stream_error: str = ""
    """With ``cut_after``: an error of that kind inside the stream, as of an overloaded server."""
    thinking: int = 0
    """Tokens that are thought before anything is written."""
    declines: bool = False
    silent: bool = False
    """Says nothing of what it counted (OpenAI format only)."""
    waits: threading.Event | None = None
    """Holds the answer back until it is set."""
    goes_on: str = ""
    """What was said before, where this is the rest of a cut answer."""


@dataclass(frozen=True)
class Answer:
    """An answer ready to be said."""

    text: str
    stop: str
    usage: Usage
    model: str
    scripted: Scripted
    wire: str

    def anthropic_usage(self, output: int) -> dict[str, int]:
        u = self.usage
        return {
            "input_tokens": u.input,
            "cache_creation_input_tokens": u.cache_write,
            "cache_read_input_tokens": u.cache_read,
            "output_tokens": output,
        }

    def openai_usage(self) -> dict[str, Any]:
        u = self.usage
        return {
            "prompt_tokens": u.prompt,
            "completion_tokens": u.output,
            "total_tokens": u.total,
            "prompt_tokens_details": {"cached_tokens": u.cache_read},
        }

    @property
    def reason(self) -> str:
        """The end in OpenAI's words."""
        return {"end_turn": "stop", "max_tokens": "length", "refusal": "content_filter"}[self.stop]

    def whole(self) -> dict[str, Any]:
        """Without streaming."""
        if self.wire == "openai":
            message = {"role": "assistant", "content": self.text}
            choice = {"index": 0, "message": message, "finish_reason": self.reason}
            head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": self.model}
            return {**head, "choices": [choice], "usage": self.openai_usage()}
        content = [{"type": "text", "text": self.text}]
        head = {"id": "msg_1", "type": "message", "role": "assistant", "model": self.model, "content": content}
        return {
            **head,
            "stop_reason": self.stop,
            "stop_sequence": None,
            "usage": self.anthropic_usage(self.usage.output),
        }


def anthropic_events(answer: Answer) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Events, each with what it is: ``text`` events count for where a stream is cut."""
    start = {"id": "msg_1", "type": "message", "role": "assistant", "model": answer.model, "content": []}
    start |= {"stop_reason": None, "stop_sequence": None, "usage": answer.anthropic_usage(1)}
    yield "message_start", {"type": "message_start", "message": start}
    yield "ping", {"type": "ping"}
    index = 0
    if answer.scripted.thinking:
        block: dict[str, Any] = {"type": "thinking", "thinking": "", "signature": "s"}
        yield "content_block_start", {"type": "content_block_start", "index": 0, "content_block": block}
        yield "content_block_stop", {"type": "content_block_stop", "index": 0}
        index = 1
    block = {"type": "text", "text": ""}
    yield "content_block_start", {"type": "content_block_start", "index": index, "content_block": block}
    for at in range(0, len(answer.text), PIECE):
        delta = {"type": "text_delta", "text": answer.text[at : at + PIECE]}
        yield "text", {"type": "content_block_delta", "index": index, "delta": delta}
    yield "content_block_stop", {"type": "content_block_stop", "index": index}
    ended = {"stop_reason": answer.stop, "stop_sequence": None}
    usage = {"output_tokens": answer.usage.output}
    yield "message_delta", {"type": "message_delta", "delta": ended, "usage": usage}
    yield "message_stop", {"type": "message_stop"}


def openai_events(answer: Answer) -> Iterator[tuple[str, dict[str, Any] | str]]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": answer.model}

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

    yield "start", chunk({"role": "assistant", "content": ""})
    for at in range(0, len(answer.text), PIECE):
        yield "text", chunk({"content": answer.text[at : at + PIECE]})
    yield "end", chunk({}, answer.reason)
    if not answer.scripted.silent:
        yield "usage", {**head, "choices": [], "usage": answer.openai_usage()}
    yield "done", "[DONE]"


def stream(
    http: BaseHTTPRequestHandler, events: Iterator[tuple[str, dict[str, Any] | str]], scripted: Scripted, number: int
) -> None:
    http.send_response(200)
    http.send_header("content-type", "text/event-stream")
    http.send_header("transfer-encoding", "chunked")
    http.send_header("request-id", f"req_{number}")
    http.send_header("x-request-id", f"req_{number}")
    http.end_headers()
    said = 0
    for kind, data in events:
        if scripted.cut_after is not None and kind == "text":
            left = scripted.cut_after - said
            if left <= 0:
                _break(http, scripted)
                return
            data = _shortened(data, left)
        said += PIECE if kind == "text" else 0
        _chunk(http, kind, data)
    http.wfile.write(b"0\r\n\r\n")


def _shortened(data: Any, left: int) -> Any:
    """A piece of text, no longer than what is left before the cut."""
    data = json.loads(json.dumps(data))
    piece = data["delta"] if "delta" in data else data["choices"][0]["delta"]
    name = "text" if "text" in piece else "content"
    piece[name] = piece[name][:left]
    return data


def _break(http: BaseHTTPRequestHandler, scripted: Scripted) -> None:
    if scripted.stream_error:
        error = {"type": "error", "error": {"type": scripted.stream_error, "message": "scripted"}}
        _chunk(http, "error", error)
    if scripted.ends_early or scripted.stream_error:
        http.wfile.write(b"0\r\n\r\n")
    http.close_connection = True


def _chunk(http: BaseHTTPRequestHandler, kind: str, data: dict[str, Any] | str) -> None:
    event = data.get("type", "") if isinstance(data, dict) else ""
    head = f"event: {event}\n" if event else ""
    text = data if isinstance(data, str) else json.dumps(data)
    line = f"{head}data: {text}\n\n".encode()
    http.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
    http.wfile.flush()


def say_error(http: BaseHTTPRequestHandler, scripted: Scripted, number: int) -> None:
    kind = scripted.text or {429: "rate_limit_error", 529: "overloaded_error"}.get(scripted.status, "api_error")
    error = {"type": kind, "message": scripted.message}
    say_json(http, scripted.status, {"type": "error", "error": error}, number, scripted.retry_after)


def say_json(
    http: BaseHTTPRequestHandler, status: int, body: dict[str, Any], number: int, after: float | None = None
) -> None:
    data = json.dumps(body).encode()
    http.send_response(status)
    http.send_header("content-type", "application/json")
    http.send_header("content-length", str(len(data)))
    http.send_header("request-id", f"req_{number}")
    http.send_header("x-request-id", f"req_{number}")
    if after is not None:
        http.send_header("retry-after", str(after))
    http.end_headers()
    http.wfile.write(data)
