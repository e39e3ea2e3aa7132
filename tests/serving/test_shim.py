"""The shim as the official client sees it, over the mock backend: both kinds of completions, streamed and not."""

from __future__ import annotations

import http.client
import json
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from tests.serving.servers import client, running, until
from warpsmith.serving.process import Running

HELLO: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("shim"), step_ms=1.0, context=1000) as started:
        yield started


@pytest.fixture(scope="module")
def ask(server: Running) -> Iterator[openai.OpenAI]:
    with client(server) as made:
        yield made


def get(server: Running, path: str) -> str:
    with urllib.request.urlopen(f"{server.url}{path}") as answer:
        text: str = answer.read().decode()
    return text


def counted(server: Running, line: str) -> float:
    """The value of one line of the metrics; 0 where there is none."""
    found = [said for said in get(server, "/metrics").splitlines() if said.startswith(f"warpsmith_{line} ")]
    return float(found[0].split()[-1]) if found else 0.0


def test_a_chat_completion_and_its_stream_say_the_same(ask: openai.OpenAI) -> None:
    whole = ask.chat.completions.create(model="model", messages=HELLO, max_completion_tokens=12, temperature=0)
    choice = whole.choices[0]
    assert choice.finish_reason == "length" and choice.message.role == "assistant"
    assert whole.usage and whole.usage.completion_tokens == 12 == len(choice.message.content or "")
    options: Any = {"include_usage": True}
    with ask.chat.completions.create(
        model="model", messages=HELLO, max_tokens=12, temperature=0, stream=True, stream_options=options
    ) as stream:
        chunks: list[ChatCompletionChunk] = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    said = [c for c in chunks if c.choices and c.choices[0].delta.content]
    assert "".join(c.choices[0].delta.content or "" for c in said) == choice.message.content
    tokens = [token for c in said for token in c.choices[0].model_extra["token_ids"]]  # type: ignore[index]
    assert tokens == choice.model_extra["token_ids"] and len(tokens) == 12  # type: ignore[index]
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    assert all(c.usage is None for c in chunks[:-1]) and len({c.id for c in chunks}) == 1


def test_a_plain_completion_and_its_stream_say_the_same(ask: openai.OpenAI) -> None:
    whole = ask.completions.create(model="model", prompt="Hello", max_tokens=9, temperature=0, logprobs=2)
    choice = whole.choices[0]
    assert choice.logprobs and choice.logprobs.text_offset == list(range(9))
    assert [len(top) for top in choice.logprobs.top_logprobs or []] == [2] * 9
    with ask.completions.create(
        model="model", prompt="Hello", max_tokens=9, temperature=0, logprobs=2, stream=True
    ) as stream:
        chunks = list(stream)
    assert "".join(c.choices[0].text for c in chunks) == choice.text
    parts = [c.choices[0].logprobs for c in chunks if c.choices[0].logprobs]
    assert [p for part in parts for p in part.token_logprobs or []] == choice.logprobs.token_logprobs
    assert [o for part in parts for o in part.text_offset or []] == choice.logprobs.text_offset
    assert chunks[-1].choices[0].finish_reason == "length" and chunks[-1].usage is None


def test_log_probabilities_of_a_chat_come_with_likely_tokens(ask: openai.OpenAI) -> None:
    said = ask.chat.completions.create(
        model="model", messages=HELLO, max_tokens=3, temperature=0, logprobs=True, top_logprobs=4
    ).choices[0]
    assert said.logprobs and said.logprobs.content and len(said.logprobs.content) == 3
    for one in said.logprobs.content:
        assert len(one.top_logprobs) == 4 and one.top_logprobs[0].token == one.token
        assert one.logprob == max(t.logprob for t in one.top_logprobs) < 0 and one.bytes == list(one.token.encode())


def test_tokens_follow_from_prompt_and_seed_only(ask: openai.OpenAI) -> None:
    def text(prompt: str | list[int], **more: Any) -> str:
        return ask.completions.create(model="model", prompt=prompt, max_tokens=16, **more).choices[0].text

    assert text("a", temperature=0) == text("a", temperature=0, seed=4) != text("b", temperature=0)
    assert text("a", seed=1) == text("a", seed=1) != text("a", seed=2)
    assert text([256, 97], temperature=0) == text("a", temperature=0)


def test_a_stop_text_ends_the_answer_and_is_no_part_of_it(ask: openai.OpenAI) -> None:
    whole = ask.completions.create(model="model", prompt="stops", max_tokens=40, temperature=0).choices[0].text
    stop = whole[20:23]
    said = ask.completions.create(model="model", prompt="stops", max_tokens=40, temperature=0, stop=["\n", stop])
    assert said.choices[0].finish_reason == "stop" and said.choices[0].text == whole[: whole.index(stop)]
    assert said.usage and said.usage.completion_tokens == whole.index(stop) + 3
    with ask.completions.create(
        model="model", prompt="stops", max_tokens=40, temperature=0, stop=stop, stream=True
    ) as stream:
        assert "".join(c.choices[0].text for c in stream) == said.choices[0].text


@pytest.mark.parametrize(
    ("status", "param", "more"),
    [
        (400, "n", {"n": 2}),
        (400, "max_tokens", {"max_tokens": 0}),
        (400, "temperature", {"temperature": 3}),
        (400, "tools", {"extra_body": {"tools": [{"type": "function"}]}}),
        (400, "stream_options", {"stream_options": {"include_usage": True}}),
        (400, "prompt", {"prompt": ["a", "b"]}),
        (400, "prompt", {"prompt": []}),
        (400, "prompt", {"max_tokens": 1000}),
        (404, "model", {"model": "another"}),
    ],
)
def test_what_cannot_be_met_is_refused_by_name(
    ask: openai.OpenAI, status: int, param: str, more: dict[str, Any]
) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        ask.completions.create(**{"model": "model", "prompt": "a", **more})
    assert refused.value.status_code == status and refused.value.param == param
    assert refused.value.type == "invalid_request_error"


def test_errors_outside_of_any_request_have_the_format_too(server: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    for method, path, body, status in (
        ("GET", "/v1/nothing", None, 404), ("GET", "/v1/completions", None, 405),
        ("POST", "/v1/completions", "{", 400), ("POST", "/v1/chat/completions", '{"model": "model"}', 400),
    ):  # fmt: skip
        connection.request(method, path, body)
        answer = connection.getresponse()
        assert answer.status == status and json.loads(answer.read())["error"]["message"]
    connection.close()


def test_models_health_tokens_and_metrics(server: Running, ask: openai.OpenAI) -> None:
    assert [m.id for m in ask.models.list()] == ["model"] and ask.models.retrieve("model").object == "model"
    assert json.loads(get(server, "/health")) == {"status": "ready"}
    asked = urllib.request.Request(f"{server.url}/tokenize", json.dumps({"prompt": "abc"}).encode())
    with urllib.request.urlopen(asked) as answer:
        assert json.loads(answer.read()) == {"count": 4, "max_model_len": 1000, "tokens": [256, 97, 98, 99]}
    before = {name: counted(server, name) for name in ("prompt_tokens_total", "output_tokens_total")}
    ask.completions.create(model="model", prompt="abc", max_tokens=5)
    assert counted(server, "prompt_tokens_total") == before["prompt_tokens_total"] + 4
    assert counted(server, "output_tokens_total") == before["output_tokens_total"] + 5
    ended = counted(server, 'requests_total{endpoint="completions",outcome="length"}')
    assert ended and counted(server, "ready") == 1 and counted(server, "resident_bytes") > 1 << 20
    page = get(server, "/metrics")
    for line in page.splitlines():
        name, _, value = line.rpartition(" ")
        assert line.startswith("# ") or (name and float(value) >= 0), line
    assert page.count('time_to_first_token_seconds_bucket{le="') == 17


def test_a_client_that_goes_away_frees_its_place(server: Running, ask: openai.OpenAI) -> None:
    gone = 'requests_total{endpoint="chat/completions",outcome="cancelled"}'
    stream = ask.chat.completions.create(model="model", messages=HELLO, max_tokens=900, stream=True)
    next(iter(stream))
    assert counted(server, "requests_under_way") == 1
    stream.close()
    until(lambda: counted(server, gone) == 1 and counted(server, "requests_running") == 0)
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    said = {"model": "model", "messages": HELLO, "max_tokens": 900}
    connection.request("POST", "/v1/chat/completions", json.dumps(said))
    until(lambda: counted(server, "requests_running") == 1)
    connection.close()
    until(lambda: counted(server, gone) == 2 and counted(server, "requests_running") == 0)
    assert counted(server, "requests_under_way") == 0


@pytest.mark.slow
def test_requests_share_steps_up_to_the_batch_and_wait_beyond(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("batch")
    knobs = {"MOCK_MAX_BATCH": "2", "MOCK_MAX_QUEUE": "1"}
    with running(folder, environment=knobs, step_ms=5.0, max_batch=8) as server, client(server) as ask:
        went_on = threading.Event()

        def hold() -> None:
            with ask.completions.create(model="model", prompt="a", max_tokens=10000, stream=True) as stream:
                for _ in stream:
                    if went_on.is_set():
                        return

        holding = []
        for running_now, waiting in ((1, 0), (2, 0), (2, 1)):
            holding.append(threading.Thread(target=hold))
            holding[-1].start()
            until(lambda r=running_now: counted(server, "requests_running") == r)
            until(lambda w=waiting: counted(server, "requests_waiting") == w)
        with pytest.raises(openai.RateLimitError, match="1 requests wait already"):
            ask.completions.create(model="model", prompt="a", max_tokens=1)
        went_on.set()
        for thread in holding:
            thread.join()
