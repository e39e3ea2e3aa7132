"""A server that answers each request by a script: the bytes that go out, the pauses between them, and how it ends."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

Act = bytes | float
Script = Callable[[int, dict[str, Any]], Iterable[Act]]
"""Number of the request and its body to what is done: bytes are sent, numbers slept; after the last, if there is no
``CLOSE``, the connection waits for the next request.
"""
CLOSE = b""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


END = chunk(b"")


def event(said: Any) -> bytes:
    return b"data: " + json.dumps(said, ensure_ascii=False).encode() + b"\n\n"


def token(text: str = "word ", **more: Any) -> bytes:
    return event({"choices": [{"index": 0, "text": text, "finish_reason": None, **more}]})


def usage(prompt: Any, output: Any) -> bytes:
    return event({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": output}})


def answer(body: dict[str, Any]) -> list[bytes]:
    """A whole, right answer: chunk by chunk."""
    events = [token() for _ in range(body["max_tokens"])]
    return [HEAD, *map(chunk, events), chunk(usage(7, body["max_tokens"]) + DONE), END]


def right(number: int, body: dict[str, Any]) -> Iterable[Act]:
    return answer(body)


def status(code: int) -> list[bytes]:
    return [b"HTTP/1.1 %d Sorry\r\nContent-Length: 4\r\n\r\nnope" % code]


@dataclass
class Scripted:
    """A server at work."""

    script: Script
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    """Of the requests, in the order of their arrival."""
    connections: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self.connections += 1
                threading.Thread(target=self._connection, args=(connection,), daemon=True).start()

    def _connection(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while (body := self._request(connection)) is not None:
                with self._lock:
                    number = len(self.bodies)
                    self.bodies.append(body)
                for act in self.script(number, body):
                    if act == CLOSE:
                        return
                    if isinstance(act, bytes):
                        connection.sendall(act)
                    else:
                        time.sleep(act)

    def _request(self, connection: socket.socket) -> dict[str, Any] | None:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(1 << 16)
            if not piece:
                return None
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        while len(body) < int(lengths[0].partition(b":")[2]):
            body += connection.recv(1 << 16)
        read: dict[str, Any] = json.loads(body)
        return read


@contextmanager
def scripted(script: Script) -> Iterator[Scripted]:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        server = Scripted(script, f"http://127.0.0.1:{listener.getsockname()[1]}")
        threading.Thread(target=server.serve, args=(listener,), daemon=True).start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
