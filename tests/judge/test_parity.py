"""Parity: what is asked, over real connections; what differs, and how it is told."""

from __future__ import annotations

import json
import math
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from warpsmith.judge.failures import CandidateFailed
from warpsmith.judge.loadplan import asks
from warpsmith.judge.parity import Answer, Question, ask, compare, draw, of_load
from warpsmith.model.evaluation import Status
from warpsmith.model.harness import Parity, Scenario, Server, ServingTask
from warpsmith.model.head import Direction, Objective

TOKENS = Parity(mode="tokens")
LOGPROBS = Parity(mode="logprobs", tolerance=0.01)
Answering = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


def answer(*ids: int, logprobs: tuple[float, ...] = (), text: str | None = None) -> Answer:
    return Answer("token ids", ids, text if text is not None else " ".join(map(str, ids)), logprobs)


def test_equal_answers_have_no_problem() -> None:
    same = [answer(1, 2, 3), answer(4)]
    found = compare(same, same, TOKENS)
    assert found.problem(TOKENS) is None and found.matched == 1 and found.tokens == 4


def test_a_difference_is_told_with_prompt_position_and_both_tokens() -> None:
    found = compare([answer(1, 2, 3), answer(4, 5, 6, 7)], [answer(1, 2, 3), answer(4, 9, 6, 7)], TOKENS)
    said = found.problem(TOKENS)
    assert said is not None
    assert "prompt 2: token id 2 is 9, not 5" in said
    assert "4 of 7 tokens (57.14%)" in said  # what follows the first difference follows from it


@pytest.mark.parametrize(("right", "mine"), [((1, 2, 3), (1, 2)), ((1, 2), (1, 2, 3))])
def test_an_answer_that_ends_elsewhere_differs(right: tuple[int, ...], mine: tuple[int, ...]) -> None:
    said = compare([answer(*right)], [answer(*mine)], TOKENS).problem(TOKENS)
    assert said is not None and "token id 3 is" in said and "the end" in said and "2 of 3" in said


def test_a_share_may_differ_where_the_task_says_so() -> None:
    rule = Parity(matched=0.7)
    right, mine = [answer(*range(10))], [answer(*range(8), 98, 99)]
    assert compare(right, mine, rule).problem(rule) is None
    rule = Parity(matched=0.9)
    assert compare(right, mine, rule).problem(rule) is not None


def test_no_share_makes_up_for_a_log_probability_that_is_off() -> None:
    rule = LOGPROBS.model_copy(update={"matched": 0.1})
    right = [answer(1, 2, logprobs=(-0.5, -0.25))]
    near = compare(right, [answer(1, 2, logprobs=(-0.505, -0.25))], rule)
    assert near.problem(rule) is None and near.off == pytest.approx(0.005)
    said = compare(right, [answer(1, 2, logprobs=(-0.5, -0.27))], rule).problem(rule)
    assert said is not None and "log-probability of token 2 is -0.27, not -0.25 within 0.01" in said
    assert compare(right, [answer(1, 2, logprobs=(-0.5, math.nan))], rule).problem(rule) is not None
    assert compare(right, [answer(1, 2)], rule).problem(rule) is not None  # none is not the same as near


def test_log_probabilities_after_the_first_difference_are_not_compared() -> None:
    rule = LOGPROBS.model_copy(update={"matched": 0.5})
    found = compare([answer(1, 2, logprobs=(-1.0, -2.0))], [answer(1, 3, logprobs=(-1.0, -9.0))], rule)
    assert found.problem(rule) is None


def test_the_same_ids_with_another_text_are_not_the_same_answer() -> None:
    said = compare([answer(1, 2, text="one two")], [answer(1, 2, text="one")], TOKENS).problem(TOKENS)
    assert said is not None and "the text is 'one', not 'one two'" in said


def test_a_server_that_shows_less_than_the_baseline_is_not_compared_by_less() -> None:
    said = compare([answer(1)], [Answer("characters", ("1",), "1")], TOKENS).problem(TOKENS)
    assert said is not None and "the baseline gives token ids, and this server characters" in said


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        asked = {"path": self.path, **json.loads(self.rfile.read(length))}
        self.server.asked.append(asked)  # type: ignore[attr-defined]
        self.server.answering(self, asked)  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def say(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def serving() -> Iterator[Callable[[Answering], tuple[str, list[dict[str, Any]]]]]:
    servers = []

    def serve(answering: Answering) -> tuple[str, list[dict[str, Any]]]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.answering, server.asked, server.over = answering, [], threading.Event()  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}", server.asked  # type: ignore[attr-defined]

    yield serve
    for server in servers:
        server.over.set()
        server.shutdown()
        server.server_close()


def plain(handler: Any, asked: dict[str, Any], ids: list[int], *, with_ids: bool = True) -> None:
    """Answers in all four ways, a chunk per token."""
    texts, values = [f" w{i}" for i in ids], [-0.5 - i for i in range(len(ids))]
    chat = asked["path"] == "/v1/chat/completions"

    def choice(which: slice, key: str) -> dict[str, Any]:
        text = "".join(texts[which])
        entries = [{"token": t, "logprob": v} for t, v in zip(texts[which], values[which], strict=True)]
        said: dict[str, Any] = {key: {"content": text}} if chat else {"text": text}
        logs = {"content": entries} if chat else {"tokens": texts[which], "token_logprobs": values[which]}
        return {**said, "logprobs": logs, **({"token_ids": ids[which]} if with_ids else {})}

    if not asked["stream"]:
        handler.say(json.dumps({"choices": [choice(slice(None), "message")]}).encode())
        return
    chunks = [{"choices": [choice(slice(i, i + 1), "delta")]} for i in range(len(ids))]
    events = [f"data: {json.dumps(c)}\n\n" for c in [*chunks, {"choices": [], "usage": {}}]]
    handler.say("".join([": a comment\n\n", *events, "data: [DONE]\n\n"]).encode())


def question(path: str = "/v1/completions", *, streamed: bool = False) -> Question:
    return Question(path, {"stream": streamed})


WAYS = [question(f"/v1/{p}completions", streamed=s) for p in ("chat/", "") for s in (True, False)]


@pytest.mark.parametrize("together", [False, True])
def test_the_same_is_read_from_every_form_of_answer(serving: Any, together: bool) -> None:
    url, _ = serving(lambda handler, said: plain(handler, said, [3, 1, 2]))
    answers = ask(url, WAYS, 60, together=together)
    assert set(answers) == {Answer("token ids", (3, 1, 2), " w3 w1 w2", (-0.5, -1.5, -2.5))}


TASK = ServingTask(
    name="my/served",
    title="served",
    hardware="cpu",
    server=Server(backend="mock", model="m"),
    scenarios=(
        Scenario(name="chatty", requests=5, concurrency=1, output_tokens=(9, 9)),
        Scenario(name="plain", requests=5, rate=10, chat=False, vocabulary=50),
    ),
    parity=Parity(prompts=4, prompt_tokens=7, output_tokens=3),
    objective=Objective(metric="chatty.tok_s", direction=Direction.maximize),
)


def test_prompts_are_asked_at_every_endpoint_that_is_loaded_streamed_and_whole() -> None:
    drawn = draw(TASK, random.Random(1))
    asked = [(q.path, q.streamed, q.body["max_tokens"], q.body["temperature"]) for q in drawn]
    chat, plain = "/v1/chat/completions", "/v1/completions"
    assert asked == [(chat, True, 3, 0), (plain, True, 3, 0), (chat, False, 3, 0), (plain, False, 3, 0)]
    assert [len(q.body["prompt"]) for q in drawn if q.path == plain] == [7, 7]


def test_requests_of_a_load_are_asked_exactly_as_it_sends_them() -> None:
    chatty = TASK.scenarios[0]
    first, last = of_load(chatty, TASK, (0, 4))
    assert [first.body, last.body] == [asks(chatty, "m")[n].body for n in (0, 4)] and first.streamed


def test_each_drawing_is_its_own() -> None:
    assert draw(TASK, random.Random(1)) != draw(TASK, random.Random(2))
    asked = [json.dumps(q.body) for q in draw(TASK, random.Random(1))]
    assert len(set(asked)) == len(asked)


def test_without_ids_the_texts_of_tokens_are_compared(serving: Any) -> None:
    url, _ = serving(lambda handler, said: plain(handler, said, [3, 1], with_ids=False))
    assert {(a.by, a.tokens) for a in ask(url, WAYS, 60, together=False)} == {("token texts", (" w3", " w1"))}


def test_with_text_only_characters_are_compared(serving: Any) -> None:
    url, _ = serving(lambda handler, said: handler.say(json.dumps({"choices": [{"text": "ab"}]}).encode()))
    (found,) = ask(url, [question()], 60, together=False)
    assert found == Answer("characters", ("a", "b"), "ab")


def drip(handler: Any, said: dict[str, Any]) -> None:
    handler.send_response(200)
    handler.end_headers()
    with suppress(OSError):
        while not handler.server.over.wait(0.05):  # type: ignore[attr-defined]
            handler.wfile.write(b" ")
            handler.wfile.flush()


@pytest.mark.parametrize(
    ("answering", "status", "detail"),
    [
        (lambda h, said: h.say(b"out of cheese", 500), Status.crashed, "status 500: out of cheese"),
        (lambda h, said: h.connection.shutdown(socket.SHUT_RDWR), Status.crashed, "the connection broke"),
        (lambda h, said: h.say(b'{"choices": []}'), Status.wrong_shape, "this is no completion"),
        (lambda h, said: h.say(b"<html>"), Status.wrong_shape, "<html>"),
        (lambda h, said: h.say(b'data: {"choices": [{"delta": {"content": "x"}}]}\n\n'), Status.wrong_shape, "no end"),
        (lambda h, said: h.server.over.wait(90), Status.timed_out, "no whole answer within 0.5 s"),
        (drip, Status.timed_out, "no whole answer within 0.5 s"),
    ],
    ids=["status", "cut", "empty", "other", "unended", "silent", "drips"],
)
def test_what_is_no_answer_is_named_with_its_prompt(
    serving: Any, answering: Answering, status: Status, detail: str
) -> None:
    url, _ = serving(answering)
    with pytest.raises(CandidateFailed) as caught:
        ask(url, [question(streamed=detail == "no end")], 0.5 if status is Status.timed_out else 60, together=False)
    assert caught.value.status is status
    assert detail in caught.value.detail and "prompt 1" in caught.value.detail
