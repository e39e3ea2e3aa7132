"""The load client: a process of its own that sends requests when they are due and notes when answers came.

    python -P start.py warpsmith.judge.loadclient LIFE

JSON on standard input says what to send, JSON on standard output what was seen. LIFE is a socket: a byte there says
that the warm-up is over, and when its other end closes, whoever asked is gone, and the client ends. One thread, one
epoll, no garbage collection, timers of the kernel: nothing here waits for anything but the server. Where the kernel
says when bytes arrived, that counts, and not when this process came to read them.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import select
import socket
import struct
import sys
import time
from collections import deque
from contextlib import suppress
from typing import Any

from warpsmith.judge.loadconnection import TIMESTAMPNS, Connection, Exchange

IDLE_NS = 1_000_000_000
"""A connection that lay idle for longer is not used again: the server may be closing it at this very moment."""
_STAMP = struct.Struct("qq")
_libc = ctypes.CDLL(None, use_errno=True)


class Client:
    """Sends what is due, and reads what comes."""

    def __init__(self, plan: dict[str, Any], life: int) -> None:
        self.family: int = plan["family"]
        self.address = tuple(plan["address"])
        self.concurrency: int | None = plan["concurrency"]
        self.epoll = select.epoll()
        self.connections: dict[int, Connection] = {}
        self.idle: list[Connection] = []
        self.closing: list[socket.socket] = []
        """Closed after the batch of events that they were part of, so that no new one gets their number meanwhile."""
        self._due: deque[Exchange] = deque()
        self._under_way = 0
        self._deadline = time.monotonic_ns() + int(plan["timeout_s"] * 1e9)
        self._woke = self._floor = time.monotonic_ns()
        self._armed = 0
        self._life = life
        self._timer = _libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._timer < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self.epoll.register(self._timer, select.EPOLLIN)
        self.epoll.register(life, select.EPOLLIN)

    def run(self, asked: list[dict[str, Any]]) -> list[Exchange]:
        """Carry out requests until each is answered, has failed, or the time is over."""
        begin = time.monotonic_ns()
        made = [
            Exchange(number, one["request"].encode("latin-1"), one["asked"], begin + int(one["at_s"] * 1e9))
            for number, one in enumerate(asked)
        ]
        self._due.extend(made)
        self._begin_due()
        while (self._due or self._under_way) and time.monotonic_ns() < self._deadline:
            self._arm()
            events = self.epoll.poll()
            self._floor, self._woke = self._woke, time.monotonic_ns()
            for fd, mask in events:
                self._begin_due()
                self._happened(fd, mask)
            self._begin_due()
            self._close()
        self._give_up()
        return made

    def _happened(self, fd: int, mask: int) -> None:
        if fd == self._timer:
            self._armed = 0
            with suppress(BlockingIOError):
                os.read(self._timer, 8)
        elif fd == self._life:
            raise SystemExit("whoever asked for this load is gone")
        elif fd in self.connections:
            self.connections[fd].ready(mask)

    def arrived(self, told: list[tuple[int, int, bytes]]) -> int:
        """When the bytes just read arrived: as the kernel says, within what is possible, or now."""
        now = time.monotonic_ns()
        for _, kind, data in told:
            if kind == TIMESTAMPNS:
                seconds, nanoseconds = _STAMP.unpack(data)
                age: int = time.time_ns() - seconds * 1_000_000_000 - nanoseconds
                return max(self._floor, min(now, now - age))
        return now

    def ended(self, exchange: Exchange, cause: str) -> None:
        """An exchange is over; ``cause`` is empty where it was answered."""
        exchange.cause = cause
        self._under_way -= 1

    def _begin_due(self) -> None:
        while self._due:
            if self.concurrency is not None and self._under_way >= self.concurrency:
                return
            if self.concurrency is None and self._due[0].planned > time.monotonic_ns():
                return
            self._begin(self._due.popleft())

    def _begin(self, exchange: Exchange) -> None:
        self._under_way += 1
        exchange.cause = "timeout"
        exchange.sent = time.monotonic_ns()
        while self.idle:
            connection = self.idle.pop()
            if self.connections.get(connection.fd) is connection:
                if exchange.sent - connection.idle_since < IDLE_NS and connection.quiet:
                    return connection.begin(exchange)
                connection.close()
        try:
            Connection(self, exchange)
        except OSError:  # no descriptors left, say
            self.ended(exchange, "unreachable")
        return None

    def _arm(self) -> None:
        until = self._deadline
        if self.concurrency is None and self._due:
            until = min(until, self._due[0].planned)
        if until == self._armed:
            return
        self._armed = until
        wanted = struct.pack("qqqq", 0, 0, *divmod(max(until, 1), 1_000_000_000))
        if _libc.timerfd_settime(self._timer, 1, wanted, None):  # 1: TFD_TIMER_ABSTIME
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def _give_up(self) -> None:
        for connection in list(self.connections.values()):
            if connection.exchange is not None:
                connection.close()
                self._under_way -= 1
        self._due.clear()
        self._close()

    def _close(self) -> None:
        for one in self.closing:
            one.close()
        self.closing.clear()


def said(exchange: Exchange, begin: int) -> dict[str, Any]:
    """What is told of one exchange; times in nanoseconds after ``begin``."""
    reading = exchange.reading
    return {
        "number": exchange.number,
        "cause": exchange.cause,
        "planned": exchange.planned - begin,
        "sent": exchange.sent - begin,
        "times": [when - begin for when in reading.times],
        "end": reading.end - begin,
        "asked": reading.asked,
        "input_tokens": reading.input_tokens,
        "output_tokens": reading.output_tokens,
        "text": "".join(reading.texts),
    }


def main() -> None:
    """Read the plan, carry it out, say what was seen."""
    plan = json.load(sys.stdin)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    life = int(sys.argv[-1])
    client = Client(plan, life)
    gc.collect()
    gc.freeze()
    gc.disable()
    client.run(plan["warmup"])
    os.write(life, b"w")
    seen = client.run(plan["counted"])
    begin = min(exchange.planned for exchange in seen)
    sys.stdout.write(json.dumps([said(exchange, begin) for exchange in seen], separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
