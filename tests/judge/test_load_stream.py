"""Server-sent events and answers, however they are cut into pieces; and what times come to."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.judge.loadserver import DONE, event, token, usage
from warpsmith.judge.load import Answer, distribution, report
from warpsmith.judge.loadplan import arrival_times, asks
from warpsmith.judge.loadstream import LONGEST, Events, NoAnswer, Reading
from warpsmith.model.harness import Scenario

CLOSED = Scenario(name="one", requests=4, concurrency=1)
OPEN = Scenario(name="one", requests=4, rate=10.0)


def cut(data: bytes, where: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in where)})
    return [data[a:b] for a, b in pairwise(places)]


LINES = st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=6), min_size=1, max_size=3)
BREAKS = st.sampled_from(["\n", "\r\n", "\r"])
PLACES = st.lists(st.integers(0, 10_000), max_size=30)


@given(st.lists(st.tuples(LINES, BREAKS, st.booleans()), min_size=1, max_size=6), st.booleans(), PLACES)
def test_events_are_the_same_however_the_bytes_are_cut(
    said: list[tuple[list[str], str, bool]], mark: bool, where: list[int]
) -> None:
    text = "\ufeff" if mark else ""
    for lines, end, comment in said:
        text += f": a comment{end}" if comment else f"event: x{end}"
        text += "".join(f"data: {line}{end}" for line in lines) + end
    events = Events()
    found = [data for piece in cut(text.encode(), where) for data in events.feed(piece)]
    assert found == ["\n".join(lines).encode() for lines, _, _ in said]


def test_each_event_is_told_when_its_last_byte_comes() -> None:
    for end in (b"\n", b"\r", b"\r\n"):
        events = Events()
        data = b"data: a" + end + end
        assert [events.feed(bytes((byte,))) for byte in data[:-1]][-1] == ([b"a"] if end == b"\r\n" else [])
        assert events.feed(data[-1:]) == ([] if end == b"\r\n" else [b"a"])


def test_a_field_without_a_space_or_a_value_is_one_and_what_never_ends_is_not_kept_forever() -> None:
    assert Events().feed(b"data:a\ndata\nother: b\n\n") == [b"a\n"]
    events = Events()
    events.feed(b"x" * LONGEST)
    with pytest.raises(NoAnswer, match="malformed"):
        events.feed(b"x")


@given(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=8), PLACES, st.randoms())
def test_an_answer_is_the_same_however_it_arrives(texts: list[str], where: list[int], random: Random) -> None:
    body = b"".join(token(text) for text in texts) + usage(5, len(texts)) + DONE
    reading = Reading(len(texts))
    for when, piece in enumerate(cut(body, where)):
        reading.feed(piece, when)
    reading.finish()
    assert "".join(reading.texts) == "".join(texts)
    assert len(reading.times) == len(texts)
    assert reading.times == sorted(reading.times)
    assert (reading.input_tokens, reading.output_tokens) == (5, len(texts))
    assert reading.end >= reading.times[-1]


def chat(**delta: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})


def test_role_and_end_are_no_tokens_and_half_a_character_is_one() -> None:
    reading = Reading(9)
    reading.feed(chat(role="assistant", content=""), 1)
    reading.feed(chat(content=""), 2)
    reading.feed(chat(content="é"), 3)
    reading.feed(chat(reasoning_content="so"), 4)
    reading.feed(event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}), 5)
    assert reading.times == [2, 3, 4]


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (token(), "cut"),
        (usage(1, 1) + token(), "cut"),
        (token() + DONE, "no_usage"),
        (usage(1, 1) + DONE, "wrong_length"),
        (token() + usage(1, 0) + DONE, "wrong_length"),
        (token() + usage(1, 5) + DONE, "wrong_length"),
        (token() + usage(1, "4") + DONE, "malformed"),
        (token() + usage(1, -4) + DONE, "malformed"),
        (token() + usage(1, True) + DONE, "malformed"),
        (b"data: {nonsense\n\n", "malformed"),
        (b"data: [1]\n\n", "malformed"),
        (b'data: {"choices": 3}\n\n', "malformed"),
        (b'data: {"choices": [3]}\n\n', "malformed"),
        (b'data: {"choices": [{"text": 3}]}\n\n', "malformed"),
        (b"data: " + b"[" * 100_000 + b"\n\n", "malformed"),
        (b"data: \xff\xfe\n\n", "malformed"),
        (DONE + DONE, "malformed"),
        (event({"error": {"message": "no"}}), "stream_error"),
    ],
)
def test_what_is_no_whole_answer_has_a_cause(body: bytes, cause: str) -> None:
    def read() -> None:
        reading = Reading(4)
        reading.feed(body, 0)
        reading.finish()

    with pytest.raises(NoAnswer) as raised:
        read()
    assert str(raised.value) == cause


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=60), st.randoms(), st.integers(2, 9))
def test_percentiles(times: list[int], random: Random, factor: int) -> None:
    def said(values: list[int]) -> list[float]:
        seen = distribution(values)
        return [seen.p50, seen.p90, seen.p99, seen.mean]

    found = p50, p90, p99, mean = said(times)
    assert min(times) <= p50 <= p90 <= p99 <= max(times)
    assert mean == pytest.approx(sum(times) / len(times))
    for share, value in ((0.5, p50), (0.9, p90), (0.99, p99)):
        assert sum(time <= value + 1e-6 for time in times) > share * (len(times) - 1) - 1e-6
        assert sum(time >= value - 1e-6 for time in times) > (1 - share) * (len(times) - 1) - 1e-6
    assert said(random.sample(times, len(times))) == pytest.approx(found)
    assert said([factor * time for time in times]) == pytest.approx([factor * value for value in found])


def answered(number: int, planned: float, sent: float, times: tuple[float, ...], end: float, **more: Any) -> Answer:
    said = {"cause": "", "asked": 3, "input_tokens": 10, "output_tokens": 3} | more
    return Answer(number=number, planned=planned, sent=sent, times=times, end=end, **said)


def test_an_open_loop_counts_from_the_plan_and_a_closed_one_from_the_sending() -> None:
    seen = [answered(0, 0.0, 0.5, (1.0, 1.1, 1.2), 1.3), answered(1, 0.1, 0.6, (1.1, 1.2, 1.3), 1.4)]
    of_plan, of_sending = report(OPEN, seen), report(CLOSED, seen)
    assert of_plan.latencies["ttft"].p50 == pytest.approx(1.0)
    assert of_sending.latencies["ttft"].p50 == pytest.approx(0.5)
    assert of_plan.latencies["e2e"].p99 == pytest.approx(1.3)
    assert of_sending.latencies["e2e"].p99 == pytest.approx(0.8)
    assert (of_plan.late, of_sending.late) == (pytest.approx(0.5), 0.0)
    for one in (of_plan, of_sending):
        assert one.latencies["itl"].mean == one.latencies["tpot"].mean == pytest.approx(0.1)
        assert one.seconds == pytest.approx(0.9)
        assert one.scores["tok_s"] == pytest.approx(6 / 0.9)


def test_failures_are_counted_by_cause_and_in_no_latency() -> None:
    good = answered(0, 0.0, 0.0, (0.1, 0.2), 0.3, output_tokens=2)
    failed = [
        answered(1, 0.0, 0.0, (0.01,), 9.0, cause="cut"),
        answered(2, 0.0, 0.0, (), 0.0, cause="status_500"),
        answered(3, 0.0, 0.0, (), 0.0, cause="status_500"),
        answered(4, 0.0, -5.0, (), -5.0, cause="not_sent"),
    ]
    alone, among = report(CLOSED, [good]), report(CLOSED, [good, *failed])
    assert among.latencies == alone.latencies
    assert (among.requests, among.output_tokens, among.short, among.seconds) == (1, 2, 1, pytest.approx(0.3))
    assert among.errors == {"cut": 1, "not_sent": 1, "status_500": 2}
    nothing = report(CLOSED, failed)
    assert (nothing.requests, nothing.seconds, nothing.scores) == (0, 0.0, {})


def test_one_event_shows_no_time_between_tokens() -> None:
    seen = report(CLOSED, [answered(0, 0.0, 0.0, (0.1,), 0.2)])
    assert set(seen.latencies) == {"ttft", "e2e"}


def test_arrivals() -> None:
    poisson = arrival_times(Scenario(name="a", requests=9, rate=50.0), 5000, Random(1))
    assert poisson[0] == 0.0
    assert poisson == sorted(poisson)
    gaps = [b - a for a, b in pairwise(poisson)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(1 / 50, rel=0.06)
    assert sum((gap - mean) ** 2 for gap in gaps) / len(gaps) == pytest.approx(mean**2, rel=0.15)
    uniform = arrival_times(Scenario(name="a", requests=9, rate=50.0, arrivals="uniform"), 3, Random(1))
    assert uniform == pytest.approx([0.0, 0.02, 0.04])
    assert arrival_times(OPEN, 0, Random(1)) == []


def test_a_scenario_is_its_requests() -> None:
    scenario = Scenario(name="a", requests=40, concurrency=2, prompt_tokens=(3, 9), output_tokens=(2, 5), seed=7)
    once, again = asks(scenario, "m"), asks(scenario, "m")
    assert once == again
    prompts = [ask.body["messages"][0]["content"] for ask in once]
    assert {len(prompt.split()) for prompt in prompts} == set(range(3, 10))
    assert {ask.body["max_tokens"] for ask in once} == {2, 3, 4, 5}
    other = asks(scenario.model_copy(update={"seed": 8}), "m")
    assert prompts != [ask.body["messages"][0]["content"] for ask in other]
    warm = asks(scenario.model_copy(update={"warmup": 40}), "m", "warmup")
    assert prompts != [ask.body["messages"][0]["content"] for ask in warm]
    faster = scenario.model_copy(update={"concurrency": None, "rate": 3.0})
    assert [ask.body for ask in asks(faster, "m")] == [ask.body for ask in once]


def test_token_ids_make_lengths_exact() -> None:
    scenario = Scenario(name="a", requests=20, concurrency=1, chat=False, vocabulary=50, prompt_tokens=(4, 4))
    for ask in asks(scenario, "m"):
        assert len(ask.body["prompt"]) == 4
        assert all(0 <= token < 50 for token in ask.body["prompt"])
    with pytest.raises(ValueError, match="chat = false"):
        Scenario(name="a", requests=1, concurrency=1, vocabulary=50)
