"""Real servers on this machine that a webhook may meet: one that takes it, and several that do not."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

How = Literal["takes", "fails", "redirects", "never answers", "drips"]


@dataclass
class Webhook:
    port: int
    got: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Path and document of each request."""
    asked: threading.Event = field(default_factory=threading.Event)

    def url(self, secret: str = "hook-secret-1") -> str:
        return f"json://127.0.0.1:{self.port}/{secret}"

    @property
    def lines(self) -> list[str]:
        return [document["message"].splitlines()[0] for _, document in self.got]


@contextmanager
def webhook(how: How = "takes") -> Iterator[Webhook]:
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            there.got.append((self.path, document))
            there.asked.set()
            if how == "never answers":
                over.wait()
            elif how == "drips":  # each byte begins the client's time-out anew
                while not over.wait(0.5):
                    self.wfile.write(b"H")
                    self.wfile.flush()
            else:
                self.send_response({"takes": 200, "fails": 500, "redirects": 302}[how])
                if how == "redirects":
                    self.send_header("Location", f"http://127.0.0.1:{there.port}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def do_GET(self) -> None:
            there.got.append((self.path, {"message": "GET"}))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    there = Webhook(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield there
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def closed_port() -> int:
    """A port that refuses."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def until(condition: Any, seconds: float = 60.0) -> None:
    """Wait for something that has to come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)
