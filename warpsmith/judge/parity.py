"""Parity: does a server answer as the baseline's did? Asks servers, compares answers, and tells what differs.

Prompts go to the endpoints that the task's scenarios load; half of them streamed, as a load does it, half of them
whole. Each is asked alone first, then all at once: what a server answers must not depend on who else asks.
"""

from __future__ import annotations

import http.client
import json
import math
import random
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from warpsmith.judge.failures import CandidateFailed
from warpsmith.judge.loadplan import asks
from warpsmith.model.evaluation import Status
from warpsmith.model.harness import Parity, Scenario, ServingTask

MOST_BYTES = 16 << 20
"""Of one answer; more is none."""
TOLD = 3
"""Differences that are told, of all that there are."""
AROUND = 40
"""Characters of a text that are shown."""
By = Literal["token ids", "token texts", "characters"]


@dataclass(frozen=True)
class Question:
    """One request."""

    path: str
    body: dict[str, Any]

    @property
    def streamed(self) -> bool:
        """Whether the answer is to come in chunks."""
        return bool(self.body["stream"])


def draw(task: ServingTask, rng: random.Random) -> tuple[Question, ...]:
    """Questions that nobody has seen, with log-probabilities asked for."""
    rule = task.parity
    drawn: list[Question] = []
    for number in range(rule.prompts):
        like = task.scenarios[number % len(task.scenarios)]
        changes = {"prompt_tokens": (rule.prompt_tokens,) * 2, "output_tokens": (rule.output_tokens,) * 2}
        (question,) = of_load(
            like.model_copy(update={**changes, "seed": rng.getrandbits(62), "requests": 1}), task, (0,)
        )
        more: dict[str, Any] = {"return_token_ids": True, "logprobs": True if like.chat else 1}
        if number // len(task.scenarios) % 2:  # every endpoint both ways; an answer that is whole ends where it likes
            more |= {"stream": False, "stream_options": None, "ignore_eos": False}
        body = {key: value for key, value in {**question.body, **more}.items() if value is not None}
        drawn.append(Question(question.path, body))
    return tuple(drawn)


def of_load(scenario: Scenario, task: ServingTask, numbers: Sequence[int]) -> list[Question]:
    """Requests of a load, by their positions, exactly as it sends them."""
    path = "/v1/chat/completions" if scenario.chat else "/v1/completions"
    made = asks(scenario, task.server.model)
    return [Question(path, made[number].body) for number in numbers]


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    by: By
    """What ``tokens`` holds: the best that the server gives."""
    tokens: tuple[int | str, ...]
    text: str
    logprobs: tuple[float, ...] = ()
    """Of each token, in nats; empty where the server gives none."""


@dataclass(frozen=True)
class Found:
    """How two servers' answers to the same prompts compare."""

    equal: int
    """Tokens up to the first difference of each answer."""
    tokens: int
    """Tokens of the longer answers."""
    off: float
    """Largest difference of the log-probability of an equal token, in nats; 0 where none were compared."""
    differences: tuple[str, ...] = field(default=())
    """What differs in tokens or texts, in words."""
    far: tuple[str, ...] = field(default=())
    """What lies beyond the tolerance, or cannot be compared: no share of equal tokens makes up for it."""
    unit: str = "tokens"

    @property
    def matched(self) -> float:
        """Share of tokens that are equal; 1 where there are none."""
        return self.equal / self.tokens if self.tokens else 1.0

    def problem(self, rule: Parity) -> str | None:
        """What breaks ``rule``, or None."""
        if not self.far and self.matched >= rule.matched:
            return None
        said = [*self.far, *self.differences]
        more = f"; and {len(said) - TOLD} more" if len(said) > TOLD else ""
        share = f"{self.equal} of {self.tokens} {self.unit} ({self.matched:.2%}) equal the baseline's"
        return f"{share}, {rule.matched:.2%} must: {'; '.join(said[:TOLD])}{more}"


@dataclass(frozen=True)
class Answers:
    """What a server said to the questions of one verification."""

    alone: tuple[Answer, ...]
    """One after the other."""
    together: tuple[Answer, ...]
    """All of them at once."""


def answers(url: str, questions: Sequence[Question], timeout_s: float) -> Answers:
    """Ask the server at ``url`` everything, twice; see :func:`ask`."""
    alone = ask(url, questions, timeout_s, together=False)
    return Answers(tuple(alone), tuple(ask(url, questions, timeout_s, together=True)))


def held_against(right: Answers, mine: Answers, rule: Parity) -> dict[str, Found]:
    """How a server's answers compare with the baseline's, by how it was asked. The standard is what the baseline said
    when asked alone.
    """
    return {
        "asked alone": compare(right.alone, mine.alone, rule),
        "asked all at once": compare(right.alone, mine.together, rule),
    }


def problem(found: Mapping[str, Found], rule: Parity) -> str | None:
    """The first of them that breaks ``rule``, in words; None where all keep it."""
    said = ((how, one.problem(rule)) for how, one in found.items())
    return next((f"{how}: {what}" for how, what in said if what is not None), None)


def text_only(text: str) -> Answer:
    """An answer of which nothing but its text is known, as of a load."""
    return Answer("characters", tuple(text), text)


def compare(expected: Sequence[Answer], got: Sequence[Answer], rule: Parity, names: Sequence[str] = ()) -> Found:
    """Hold the answers of a server against the baseline's, one by one. ``names`` are what they are called in words;
    without any, ``prompt 1`` and so on.
    """
    names = names or [f"prompt {number}" for number in range(1, len(expected) + 1)]
    equal = tokens = 0
    off = 0.0
    differences: list[str] = []
    far: list[str] = []
    for name, right, mine in zip(names, expected, got, strict=True):
        if mine.by != right.by:
            far.append(f"{name}: the baseline gives {right.by}, and this server {mine.by}")
            continue
        pairs = zip(right.tokens, mine.tokens, strict=False)
        same = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(right.tokens), len(mine.tokens)))
        longest = max(len(right.tokens), len(mine.tokens))
        equal += same
        tokens += longest
        if same < longest:
            differences.append(_told(name, right, mine, same))
        elif right.text != mine.text:
            far.append(f"{name}: equal {right.by}, but the text is {_cut(mine.text)}, not {_cut(right.text)}")
        if rule.mode == "logprobs":
            off, beyond = _logprobs(name, right, mine, same, rule.tolerance, off)
            far += beyond
    unit = "characters" if all(answer.by == "characters" for answer in expected) else "tokens"
    return Found(equal, tokens, off, tuple(differences), tuple(far), unit)


def _told(name: str, right: Answer, mine: Answer, at: int) -> str:
    what = right.by.removesuffix("s")

    def shown(answer: Answer) -> str:
        return repr(answer.tokens[at]) if at < len(answer.tokens) else "the end"

    return f"{name}: {what} {at + 1} is {shown(mine)}, not {shown(right)}"


def _cut(text: str) -> str:
    return repr(text if len(text) <= AROUND else text[:AROUND] + "...")


def _logprobs(
    name: str, right: Answer, mine: Answer, same: int, tolerance: float, off: float
) -> tuple[float, list[str]]:
    """The largest difference so far, and what lies beyond the tolerance, of the tokens that are equal."""
    if len(mine.logprobs) != len(mine.tokens):
        return off, [f"{name}: {len(mine.logprobs)} log-probabilities for {len(mine.tokens)} tokens"]
    for at in range(same):
        apart = abs(mine.logprobs[at] - right.logprobs[at])
        if not apart <= tolerance:  # NaN is beyond
            said = f"{mine.logprobs[at]:.6g}, not {right.logprobs[at]:.6g} within {tolerance:g}"
            return max(off, apart), [f"{name}: the log-probability of token {at + 1} is {said}"]
        off = max(off, apart)
    return off, []


def ask(url: str, questions: Sequence[Question], timeout_s: float, *, together: bool) -> list[Answer]:
    """The answers of the server at ``url``, one by one or all at once.

    Raises CandidateFailed with the number of the prompt: ``timed_out`` where its answer is not whole ``timeout_s``
    after the first was asked, ``crashed`` where the connection breaks or an error is answered, ``wrong_shape`` for what
    is none.
    """
    until = time.monotonic() + timeout_s

    def one(numbered: tuple[int, Question]) -> Answer:
        number, question = numbered
        try:
            return _ask(url, question, until)
        except TimeoutError:
            failed = CandidateFailed(Status.timed_out, f"no whole answer within {timeout_s:g} s of the first question")
        except CandidateFailed as error:
            failed = error
        when = ", asked with all others" if together else ""
        raise CandidateFailed(failed.status, f"parity, prompt {number}{when}: {failed.detail}")

    if not together:
        return [one(numbered) for numbered in enumerate(questions, 1)]
    with ThreadPoolExecutor(len(questions), "parity") as threads:
        return list(threads.map(one, enumerate(questions, 1)))


def _ask(url: str, question: Question, until: float) -> Answer:
    body = _post(url, question.path, json.dumps(question.body).encode(), until)
    try:
        chunks = list(_events(body)) if question.streamed else [json.loads(body)]
        return _answer([chunk["choices"][0] for chunk in chunks if chunk["choices"]])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}"
        raise CandidateFailed(Status.wrong_shape, f"this is no completion ({said}): {body[:200]!r}") from None


def _post(url: str, path: str, body: bytes, until: float) -> bytes:
    """The whole body of an answer with status 200. Raises TimeoutError, and CandidateFailed."""
    at = urlsplit(url)
    assert at.hostname is not None
    seconds = max(0.001, until - time.monotonic())
    kind = http.client.HTTPSConnection if at.scheme == "https" else http.client.HTTPConnection
    connection = kind(at.hostname, at.port, timeout=seconds)
    late = threading.Event()
    clock: threading.Timer | None = None
    try:
        connection.connect()
        clock = threading.Timer(seconds, _cut_off, (connection.sock, late))
        clock.start()  # a time-out of the socket alone would let a server drip
        connection.request("POST", at.path.rstrip("/") + path, body, {"Content-Type": "application/json"})
        with connection.getresponse() as response:
            said = response.read(MOST_BYTES)
    except (OSError, http.client.HTTPException) as error:
        if late.is_set() or isinstance(error, TimeoutError):
            raise TimeoutError from None
        why = f"{type(error).__name__}: {error}".rstrip(": ")
        raise CandidateFailed(Status.crashed, f"the connection broke ({why})") from None
    finally:
        if clock is not None:
            clock.cancel()
        connection.close()
    if late.is_set():
        raise TimeoutError
    if response.status != http.client.OK:
        shown = said[:500].decode(errors="replace")
        raise CandidateFailed(Status.crashed, f"answered with status {response.status}: {shown}")
    return said


def _cut_off(connection: socket.socket, late: threading.Event) -> None:
    late.set()
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _events(body: bytes) -> Iterator[Any]:
    """The chunks of a stream. Raises ValueError for one that was cut."""
    for line in body.splitlines():
        kind, _, data = line.partition(b":")
        if kind != b"data":
            continue
        if data.strip() == b"[DONE]":
            return
        yield json.loads(data)
    raise ValueError("the stream has no end")


def _answer(choices: Sequence[dict[str, Any]]) -> Answer:
    """What the chunks of one answer, or the answer whole, amount to. Raises ValueError for none."""
    if not choices:
        raise ValueError("it has no choices")
    text = ""
    ids: list[int] = []
    texts: list[str] = []
    logprobs: list[float] = []
    for choice in choices:
        said = choice.get("message") or choice.get("delta")
        text += (said.get("content") if said is not None else choice.get("text")) or ""
        ids += [int(x) for x in choice.get("token_ids") or ()]
        given = choice.get("logprobs") or {}
        if (content := given.get("content")) is not None:
            texts += [str(entry["token"]) for entry in content]
            logprobs += [_nats(entry["logprob"]) for entry in content]
        else:
            texts += [str(token) for token in given.get("tokens") or ()]
            logprobs += [_nats(value) for value in given.get("token_logprobs") or ()]
    if ids:
        return Answer("token ids", tuple(ids), text, tuple(logprobs))
    if texts:
        return Answer("token texts", tuple(texts), text, tuple(logprobs))
    return text_only(text)


def _nats(value: float | None) -> float:
    """A log-probability; NaN where the server says nothing of the token."""
    return math.nan if value is None else float(value)
