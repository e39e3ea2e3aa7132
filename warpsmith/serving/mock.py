"""A backend without a model: tokens that follow from the prompt, and a timing model with real knobs.

Time is that of an engine with continuous batching. A step takes ``step_ms`` and ``request_ms`` for each request in it;
the prompts that join it take their tokens divided by ``prefill_tok_s`` more. At most ``max_batch`` requests share a
step, the others wait in order. Each knob is an option, and an environment variable that goes over it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from warpsmith.serving.backend import Ask, Given, Likely, Limits, Occupancy, Piece, Refused
from warpsmith.serving.bytetokens import LEAST, ByteTokens
from warpsmith.serving.options import Reading

READING = Reading("mock", "MOCK_", {"max_batch": 1, "context": 1})
log = logging.getLogger("warpsmith.serving")
CRASHED = 70
"""Exit status of the faults that crash."""
LETTERS = b" etaoinshrdlcumwfgypbvkjxqz,.ETA"
"""32 of them: what the mock says."""
Fault = Literal[
    "", "crash_at_start", "crash", "hang", "freeze", "never_ready", "slow_start", "leak", "wrong_tokens", "error"
]  # fmt: skip


@dataclass(frozen=True)
class Knobs:
    """Everything that can be set."""

    max_batch: int = 8
    """Requests in one step, at most."""
    step_ms: float = 8.0
    """Of a step, however many requests are in it."""
    request_ms: float = 0.25
    """Of a step, for each request in it."""
    prefill_tok_s: float = 20000.0
    """Prompt tokens per second; 0: they take no time."""
    prefill_chunk: int = 0
    """Prompt tokens in one step, at most; 0: whole prompts."""
    max_queue: int = 0
    """Requests that may wait; beyond, they are refused with status 429. 0: any number."""
    load_ms: float = 0.0
    """From start to ready."""
    cold_requests: int = 0
    """Requests after the start during which steps take ``cold_factor`` times as long."""
    cold_factor: float = 4.0
    context: int = 32768
    """Tokens of prompt and answer together, at most."""
    answer_tokens: int = 0
    """Tokens after which an answer ends by itself; 0: never before its count."""
    seed: int = 0
    """Another seed, other tokens."""
    fault: Fault = ""
    """What goes wrong: ``crash_at_start``, ``never_ready``, ``slow_start`` (ready ``fault_amount`` seconds late);
    and from request ``fault_after`` on: ``crash`` (the process ends within the answer), ``hang`` (no token any more),
    ``freeze`` (the whole process stands still), ``leak`` (``fault_amount`` MiB per request), ``wrong_tokens`` and
    ``error`` (the answer breaks off with an exception).
    """
    fault_after: int = 0
    """Requests that are answered well before the fault."""
    fault_amount: float = 1.0


@dataclass
class _Request:
    """One generation in the engine."""

    ask: Ask
    number: int
    state: bytes
    """What its tokens follow from."""
    unread: int
    """Tokens of its prompt that no step has taken yet."""
    pieces: asyncio.Queue[Piece | Exception] = field(default_factory=asyncio.Queue)
    said: int = 0
    gone: bool = False


class Mock:
    """The backend."""

    def __init__(self, given: Given) -> None:
        self.knobs = READING.read(Knobs, given)
        self._tokens = ByteTokens()
        self._waiting: deque[_Request] = deque()
        self._running: list[_Request] = []
        self._work: asyncio.Event | None = None
        self._engine: asyncio.Task[None] | None = None
        self._seen = 0
        self._leaked: list[bytearray] = []

    def load(self) -> None:
        """Wait as long as the knobs say."""
        if self.knobs.fault == "crash_at_start":
            log.error("mock: crashing at start, as told")
            os._exit(CRASHED)
        late = self.knobs.fault_amount if self.knobs.fault == "slow_start" else 0.0
        time.sleep(self.knobs.load_ms / 1e3 + late)
        while self.knobs.fault == "never_ready":
            time.sleep(1.0)

    def warm_up(self) -> None:
        """Nothing: what is slow at first is so for requests (``cold_requests``)."""

    @property
    def limits(self) -> Limits:
        """As the knobs say."""
        return Limits(self.knobs.context, self.knobs.answer_tokens or 256, LEAST)

    @property
    def occupancy(self) -> Occupancy:
        """At this moment."""
        return Occupancy(len(self._running), len(self._waiting))

    def encode(self, text: str) -> Sequence[int]:
        """Its bytes."""
        return self._tokens.encode(text)

    def chat(self, messages: Sequence[Mapping[str, str]]) -> Sequence[int]:
        """Its bytes, with roles."""
        return self._tokens.chat(messages)

    async def generate(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        """The tokens that follow from prompt and seed, at the times that the model gives. Raises Refused."""
        if self.knobs.max_queue and len(self._waiting) >= self.knobs.max_queue:
            raise Refused(f"{len(self._waiting)} requests wait already")
        if self._work is None:
            self._work = asyncio.Event()
            self._engine = asyncio.get_running_loop().create_task(self._steps(self._work))
        self._seen += 1
        request = _Request(ask, self._seen, self._state(ask), len(ask.prompt))
        self._fault_on_arrival(request)
        self._waiting.append(request)
        self._work.set()
        try:
            while True:
                piece = await request.pieces.get()
                if isinstance(piece, Exception):
                    raise piece
                yield piece
                if piece.finish:
                    return
        finally:
            request.gone = True

    def stop(self) -> None:
        """End the engine."""
        if self._engine is not None:
            self._engine.cancel()

    async def _steps(self, work: asyncio.Event) -> None:
        """One step after the other while there is work; a step that begins late makes the next ones shorter."""
        due = time.monotonic()
        while True:
            self._running = [r for r in self._running if not r.gone]
            self._admit()
            if not self._running:
                work.clear()
                await work.wait()
                due = time.monotonic()
                continue
            seconds = self._step_seconds()
            due += seconds
            if (rest := due - time.monotonic()) > 0:
                await asyncio.sleep(rest)
            else:
                due = max(due, time.monotonic() - 5 * seconds)
                await asyncio.sleep(0)
            self._emit()

    def _admit(self) -> None:
        """The longest waiting join, as many as there is room for."""
        while self._waiting and len(self._running) < self.knobs.max_batch:
            request = self._waiting.popleft()
            if not request.gone:
                self._running.append(request)

    def _step_seconds(self) -> float:
        """What the next step takes; its share of unread prompts is read with it."""
        k = self.knobs
        left = k.prefill_chunk or sys.maxsize
        read = 0
        for request in self._running:
            part = min(request.unread, left - read)
            request.unread -= part
            read += part
        prefill = read / k.prefill_tok_s if k.prefill_tok_s else 0.0
        cold = k.cold_factor if self._seen <= k.cold_requests else 1.0
        return cold * ((k.step_ms + k.request_ms * len(self._running)) / 1e3 + prefill)

    def _emit(self) -> None:
        """A token for each request in the step whose prompt is read."""
        staying = []
        for request in self._running:
            if request.unread or (self.knobs.fault == "hang" and self._faulty(request)):
                staying.append(request)
                continue
            self._fault_within(request)
            piece = self._piece(request)
            request.said += 1
            request.pieces.put_nowait(piece)
            if not piece.finish:
                staying.append(request)
        self._running = staying

    def _piece(self, request: _Request) -> Piece:
        """The next token of a request."""
        ask, at = request.ask, request.said
        drawn = hashlib.blake2b(request.state + at.to_bytes(4, "little"), digest_size=8).digest()
        wrong = 1 if self.knobs.fault == "wrong_tokens" and self._faulty(request) and at >= 2 else 0
        token = LETTERS[(drawn[0] + wrong) % len(LETTERS)]
        logprob = -(drawn[1] + 1) / 512
        ends = self.knobs.answer_tokens and not ask.ignore_eos and at + 1 >= self.knobs.answer_tokens
        others = (LETTERS[(drawn[0] + wrong + n) % len(LETTERS)] for n in range(ask.top))
        top = tuple(Likely(t, chr(t), logprob - n * (1 + drawn[2] / 256)) for n, t in enumerate(others))
        finish: Literal["", "stop", "length"] = "stop" if ends else "length" if at + 1 >= ask.max_tokens else ""
        return Piece(token, chr(token), logprob, finish, top)

    def _state(self, ask: Ask) -> bytes:
        """What tokens follow from: the seed of the backend, the prompt, and the request's seed where it samples."""
        drawn = hashlib.blake2b(self.knobs.seed.to_bytes(8, "little"), digest_size=16)
        drawn.update(b"".join(token.to_bytes(4, "little") for token in ask.prompt))
        if ask.temperature > 0:
            seed = ask.seed if ask.seed is not None else time.time_ns()
            drawn.update(seed.to_bytes(16, "little", signed=True))
        return drawn.digest()

    def _faulty(self, request: _Request) -> bool:
        return request.number > self.knobs.fault_after

    def _fault_on_arrival(self, request: _Request) -> None:
        if not self._faulty(request):
            return
        if self.knobs.fault == "leak":
            block = bytearray(int(self.knobs.fault_amount * (1 << 20)))
            block[:: os.sysconf("SC_PAGE_SIZE")] = b"x" * len(block[:: os.sysconf("SC_PAGE_SIZE")])
            self._leaked.append(block)
        if self.knobs.fault == "freeze":
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
            while True:
                time.sleep(1.0)

    def _fault_within(self, request: _Request) -> None:
        if not self._faulty(request) or request.said < min(2, request.ask.max_tokens - 1):
            return
        if self.knobs.fault == "crash":
            log.error("mock: crashing within an answer, as told")
            os._exit(CRASHED)
        if self.knobs.fault == "error":
            request.pieces.put_nowait(RuntimeError("mock: an answer breaks off, as told"))


def make(given: Given) -> Mock:
    """The backend with its knobs. Raises BadInput."""
    return Mock(given)
