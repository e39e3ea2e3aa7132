"""Faults of the mock, each as a client and whoever started the server see it; draining; knobs that are wrong."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from tests.serving.servers import LONG_S, client, running, until
from warpsmith.model.harness import Server
from warpsmith.serving.health import health
from warpsmith.serving.process import Running, ServerFailed

BROKEN = (openai.APIError, httpx2.HTTPError)
"""What a client sees of an answer that breaks off."""


def mock(*, drain_s: float = LONG_S, ready_s: float = LONG_S, **options: Any) -> Server:
    return Server(backend="mock", options={"step_ms": 1.0, **options}, drain_s=drain_s, ready_s=ready_s)


def answer(ask: openai.OpenAI, tokens: int = 6) -> str:
    return ask.completions.create(model="model", prompt="a", max_tokens=tokens, temperature=0).choices[0].text


def broken(ask: openai.OpenAI) -> None:
    with pytest.raises(BROKEN):
        answer(ask)


def gone(server: Running) -> None:
    until(lambda: not server.alive)
    assert server.stop().port_free


@pytest.mark.slow
def test_draining_takes_no_more_and_finishes_what_is_under_way(tmp_path: Path) -> None:
    with running(tmp_path, mock(step_ms=20.0)) as server, client(server) as ask:
        with ask.completions.create(model="model", prompt="a", max_tokens=30, stream=True) as stream:
            said = [next(iter(stream)).choices[0].text]
            stopping = threading.Thread(target=server.stop)
            stopping.start()
            until(lambda: "told to end" in server.tail)
            with pytest.raises(openai.InternalServerError, match="draining") as refused:
                answer(ask)
            assert refused.value.status_code == 503
            said += [chunk.choices[0].text for chunk in stream]
        assert len("".join(said)) == 30
        stopping.join()
        ended = server.stop()
        assert (ended.how, ended.status, ended.port_free) == ("drained", 0, True)


@pytest.mark.slow
def test_a_crash_within_an_answer_breaks_it_off_and_is_told_with_the_log(tmp_path: Path) -> None:
    with running(tmp_path, mock(fault="crash", fault_after=1)) as server, client(server) as ask:
        assert len(answer(ask)) == 6
        with pytest.raises(BROKEN):
            answer(ask)
        gone(server)
        with pytest.raises(ServerFailed, match=r"(?s)ended by itself with status 70.*crashing within an answer"):
            server.check()


@pytest.mark.slow
def test_a_crash_at_start_is_told_with_the_log(tmp_path: Path) -> None:
    with running(tmp_path, mock(fault="crash_at_start"), ready=False) as server:
        with pytest.raises(ServerFailed, match=r"(?s)status 70.*crashing at start") as failed:
            server.wait_ready()
        assert failed.value.kind == "crashed" and server.stop().port_free


@pytest.mark.slow
def test_one_that_is_never_ready_says_what_it_is_doing_and_can_be_drained(tmp_path: Path) -> None:
    with running(tmp_path, mock(fault="never_ready", ready_s=3.0), ready=False) as server:
        until(lambda: "http://" in server.tail)
        with client(server) as ask:
            until(lambda: refusal(ask) == "the server is not ready: loading.")
        with pytest.raises(ServerFailed, match=r'not ready after 3 s \(503: {"status": "loading"}\)'):
            server.wait_ready()
        assert server.stop().how == "drained"


def refusal(ask: openai.OpenAI) -> str:
    try:
        answer(ask)
    except openai.APIStatusError as error:
        return str(error.body["message"])  # type: ignore[index, call-overload]
    except openai.APIConnectionError:
        return ""
    return "none"


@pytest.mark.slow
def test_a_slow_start_is_only_slow(tmp_path: Path) -> None:
    began = time.monotonic()
    with running(tmp_path, mock(fault="slow_start", fault_amount=2.0)) as server, client(server) as ask:
        assert time.monotonic() - began > 2.0 and len(answer(ask)) == 6


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "how"), [("hang", "killed"), ("freeze", "killed")])
def test_one_that_hangs_answers_no_more_and_is_killed(tmp_path: Path, fault: str, how: str) -> None:
    with running(tmp_path, mock(fault=fault, fault_after=1, drain_s=0.5)) as server, client(server) as ask:
        assert len(answer(ask)) == 6
        held = threading.Thread(target=broken, args=(ask,))
        held.start()
        with pytest.raises(openai.APITimeoutError):
            answer(ask.with_options(timeout=0.5))
        server.check()
        ended = server.stop()
        assert ended.how == how and ended.port_free
        held.join()


@pytest.mark.slow
def test_a_leak_grows_with_every_request(tmp_path: Path) -> None:
    with running(tmp_path, mock(fault="leak", fault_amount=16.0, fault_after=2)) as server, client(server) as ask:
        for _ in range(2):
            answer(ask)
        before = server.resident_bytes
        for _ in range(8):
            answer(ask)
        assert server.resident_bytes - before > 7 * (16 << 20)


@pytest.mark.slow
def test_wrong_tokens_differ_from_the_right_ones(tmp_path: Path) -> None:
    with running(tmp_path, mock(fault="wrong_tokens", fault_after=1)) as server, client(server) as ask:
        right, wrong = answer(ask), answer(ask)
        assert right[:2] == wrong[:2] and right[2:] != wrong[2:] and len(wrong) == 6


@pytest.mark.slow
def test_a_backend_that_fails_a_request_answers_with_an_error_and_goes_on(tmp_path: Path) -> None:
    with running(tmp_path, mock(fault="error")) as server, client(server) as ask:
        with pytest.raises(openai.InternalServerError, match="RuntimeError: mock: an answer breaks off") as failed:
            answer(ask)
        assert failed.value.status_code == 500 and failed.value.code == "generation_failed"
        with ask.completions.create(model="model", prompt="a", max_tokens=6, stream=True) as stream:
            assert len([next(iter(stream)) for _ in range(2)]) == 2
            with pytest.raises(openai.APIError, match="breaks off"):
                next(iter(stream))
        assert "Traceback" in server.tail and health(server.url)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "environment", "said"),
    [
        ({"max_batches": 1}, {}, "the mock backend has no option max_batches. Known: max_batch, "),
        ({"max_batch": 0}, {}, "max_batch=0 is too little. Give 1 or more."),
        ({}, {"MOCK_STEP_MS": "fast"}, "step_ms='fast' is no number. Give a float."),
        ({}, {"MOCK_FAULT": "burn"}, "fault='burn' is unknown. Known: crash_at_start, "),
    ],
)
def test_knobs_that_are_wrong_are_told_in_the_log(
    tmp_path: Path, options: dict[str, Any], environment: dict[str, str], said: str
) -> None:
    with running(tmp_path, mock(**options), ready=False, environment=environment) as server:
        with pytest.raises(ServerFailed, match=re.escape(said)):
            server.wait_ready()
        assert server.stop().status == 3


@pytest.mark.slow
def test_a_larger_batch_serves_more_and_a_longer_step_serves_less(tmp_path: Path) -> None:
    def seconds(**environment: str) -> float:
        (folder := tmp_path / str(len(list(tmp_path.iterdir())))).mkdir()
        with running(folder, mock(step_ms=15.0), environment=environment) as server, client(server) as ask:
            answer(ask)
            asking = [threading.Thread(target=answer, args=(ask, 10)) for _ in range(6)]
            began = time.monotonic()
            for thread in asking:
                thread.start()
            for thread in asking:
                thread.join()
            return time.monotonic() - began

    alone = seconds(MOCK_MAX_BATCH="1")
    assert alone > 2 * seconds(MOCK_MAX_BATCH="6")
    assert seconds(MOCK_MAX_BATCH="1", MOCK_STEP_MS="45") > 1.5 * alone
