"""Servers whose sockets note when requests arrived and when answers were written. Run by load_cost.py.

    python benchmarks/load_servers.py keeper|mock PORT_FILE LOG [OPTIONS_JSON]

``keeper`` does nothing but keep the time; ``mock`` is the shim over the mock backend. Both listen at a port of their
own, which they write to PORT_FILE. On SIGTERM the stamps go to LOG, one list per request: its X-Request-Id, and the
seconds (of the monotonic clock) when it arrived, when its first token was written, and when its end was. A request has
arrived when the kernel took its last bytes: what a busy server does before it reads them is not the client's cost.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

FIRST_S, NEXT_S = 0.020, 0.005
"""Of the keeper: to the first token, and to each one after it."""
TIMESTAMPNS = 35
EVENT = b'data: {"choices":[{"index":0,"text":"word ","finish_reason":null}]}\n\n'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
IDENTITY = re.compile(rb"\r\nx-request-id: ([^\r]*)\r\n", re.IGNORECASE)


class Stamped(socket.socket):
    """A socket that listens, or one that was accepted: one request at a time."""

    log: list[list[Any]] = []

    def accept(self) -> tuple[socket.socket, Any]:
        plain, address = super().accept()
        made = Stamped(plain.family, plain.type, plain.proto, fileno=plain.detach())
        made.setblocking(False)
        made.entry = ["", 0.0, 0.0, 0.0]
        made.setsockopt(socket.SOL_SOCKET, TIMESTAMPNS, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made, address

    def recv(self, size: int, flags: int = 0) -> bytes:
        data, told, _, _ = self.recvmsg(size, 64, flags)
        now = time.monotonic()
        for _, kind, stamp in told:
            if kind == TIMESTAMPNS:
                seconds, nanoseconds = struct.unpack("qq", stamp)
                now -= max(0, time.time_ns() - seconds * 1_000_000_000 - nanoseconds) * 1e-9
        if found := IDENTITY.search(data):
            self.log.append([found[1].decode(), now, 0.0, 0.0])
            self.entry = self.log[-1]
        elif data:
            self.entry[1] = now
        return data

    def send(self, data: Any, flags: int = 0) -> int:
        now = time.monotonic()
        if not self.entry[2] and b'"text"' in bytes(data):
            self.entry[2] = now
        self.entry[3] = now
        return super().send(data, flags)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Keeper(asyncio.Protocol):
    """A connection: it reads requests of a stated length, one at a time, and streams tokens."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.data = b""
        self.loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, found, body = self.data.partition(b"\r\n\r\n")
        if not found:
            return
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if len(body) < int(fields[b"content-length"]):
            return
        self.data = b""
        self.wanted = self.left = json.loads(body)["max_tokens"]
        self.due = self.loop.time() + FIRST_S
        self.loop.call_at(self.due, self.token)

    def token(self) -> None:
        if self.transport.is_closing():
            return
        said = HEAD * (self.left == self.wanted) + chunk(EVENT)
        self.left -= 1
        if self.left:
            self.due += NEXT_S
            self.loop.call_at(self.due, self.token)
        else:
            usage = {"prompt_tokens": 32, "completion_tokens": self.wanted}
            last = b"data: %s\n\ndata: [DONE]\n\n" % json.dumps({"choices": [], "usage": usage}).encode()
            said += chunk(last) + b"0\r\n\r\n"
        self.transport.write(said)


async def keeper(listener: socket.socket) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await asyncio.get_running_loop().create_server(Keeper, sock=listener, backlog=2048)
    await ended.wait()


def mock(listener: socket.socket, options: dict[str, Any]) -> None:
    from warpsmith.serving.backend import Given, factory
    from warpsmith.serving.shim import serve

    given = Given(options, "model", Path.cwd(), None, {})
    serve(factory("mock")(given), "model", listener)


if __name__ == "__main__":
    kind, port_file, log = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    bound = Stamped(socket.AF_INET, socket.SOCK_STREAM)
    bound.bind(("127.0.0.1", 0))
    bound.listen(2048)
    ready = port_file.with_suffix(".writing")
    ready.write_text(str(bound.getsockname()[1]))
    os.replace(ready, port_file)
    if kind == "keeper":
        asyncio.run(keeper(bound))
    else:
        mock(bound, json.loads(sys.argv[4]))
    log.write_text(json.dumps(Stamped.log))
