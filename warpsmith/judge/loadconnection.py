"""One connection of the load client, and one request over it. Reads and writes a socket; never waits."""

from __future__ import annotations

import errno
import select
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import httptools

from warpsmith.judge.loadstream import NoAnswer, Reading

if TYPE_CHECKING:
    from warpsmith.judge.loadclient import Client

TIMESTAMPNS = 35
"""SO_TIMESTAMPNS, and the type of its control message: when the kernel took the bytes, by the wall clock."""
READ = 1 << 16


class Exchange:
    """One request and what became of it. Times in nanoseconds of the monotonic clock."""

    __slots__ = ("cause", "number", "planned", "reading", "request", "sent")

    def __init__(self, number: int, request: bytes, asked: int, planned: int) -> None:
        self.number = number
        self.request = request
        self.reading = Reading(asked)
        self.planned = planned
        self.sent = 0
        self.cause = "not_sent"


class Connection:
    """One connection, with at most one exchange at a time; the callbacks are those of httptools."""

    def __init__(self, client: Client, exchange: Exchange) -> None:
        self.client = client
        self.exchange: Exchange | None = exchange
        self.idle_since = 0
        self._when = 0
        self._status = 0
        self._complete = False
        self._lasts = False
        self._sendable = exchange.request
        self._parser = httptools.HttpResponseParser(self)
        self._connected = False
        self.socket = socket.socket(client.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, TIMESTAMPNS, 1)
        self.fd = self.socket.fileno()
        code = self.socket.connect_ex(client.address)
        client.epoll.register(self.fd, select.EPOLLIN | select.EPOLLOUT)
        client.connections[self.fd] = self
        if code not in (0, errno.EINPROGRESS):
            self._refuse(code)

    @property
    def quiet(self) -> bool:
        """Whether nothing has come that nobody asked for: the end of the connection, most likely."""
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except OSError as error:
            return error.errno == errno.EAGAIN
        return False

    def begin(self, exchange: Exchange) -> None:
        """Send another request over this connection."""
        self.exchange, self._sendable = exchange, exchange.request
        self._status, self._complete = 0, False
        self._send()

    def ready(self, mask: int) -> None:
        """The socket can be read or written, or has failed."""
        if not self._connected:
            if code := self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                return self._refuse(code)
            if not mask & select.EPOLLOUT:
                return None
            self._connected = True
        if self._sendable and mask & select.EPOLLOUT:
            self._send()
        if mask & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) and self.fd in self.client.connections:
            self._receive()
        return None

    def _refuse(self, code: int) -> None:
        self._lose("refused" if code == errno.ECONNREFUSED else "unreachable")

    def _send(self) -> None:
        assert self.exchange is not None
        try:
            sent = self.socket.send(self._sendable)
        except BlockingIOError:
            sent = 0
        except OSError:
            return self._receive()  # it may have said why before it closed
        self._sendable = self._sendable[sent:]
        self.client.epoll.modify(self.fd, select.EPOLLIN | (select.EPOLLOUT if self._sendable else 0))
        return None

    def _receive(self) -> None:
        try:
            data, told, _, _ = self.socket.recvmsg(READ, 64)
        except BlockingIOError:
            return None
        except OSError:
            return self._lose("cut")
        if not data:
            return self._closed()
        if self.exchange is None:
            return self.close()  # nobody asked
        self._when = self.client.arrived(told)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            cause = error.__context__
            return self._lose(str(cause) if isinstance(cause, NoAnswer) else "malformed")
        if self._complete:
            self._completed()
        return None

    def _closed(self) -> None:
        """The other end has closed: a body without a stated length ends so."""
        if self.exchange is not None and self._status == 200:
            try:
                self.exchange.reading.finish()
            except NoAnswer as cause:
                return self._lose(str(cause))
            return self._lose("")
        return self._lose(f"status_{self._status}" if self._status else "cut")

    def _completed(self) -> None:
        assert self.exchange is not None
        exchange, self.exchange = self.exchange, None
        cause = "" if self._status == 200 else f"status_{self._status}"
        if not cause:
            try:
                exchange.reading.finish()
            except NoAnswer as why:
                cause = str(why)
        if self._lasts and not self._sendable:
            self._parser = httptools.HttpResponseParser(self)
            self.idle_since = time.monotonic_ns()
            self.client.idle.append(self)
        else:
            self.close()
        self.client.ended(exchange, cause)

    def _lose(self, cause: str) -> None:
        self.close()
        if self.exchange is not None:
            exchange, self.exchange = self.exchange, None
            self.client.ended(exchange, cause)

    def close(self) -> None:
        """Let go of it."""
        if self.client.connections.pop(self.fd, None) is not None:
            self.client.epoll.unregister(self.fd)
            self.client.closing.append(self.socket)

    def on_message_begin(self) -> None:
        """Called by the parser."""
        if self._complete:
            raise NoAnswer("malformed")

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._status = self._parser.get_status_code()
        self._lasts = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """Called by the parser for each piece of the body."""
        if self._status == 200 and self.exchange is not None:
            self.exchange.reading.feed(body, max(self._when, self.exchange.sent))

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._complete = True
