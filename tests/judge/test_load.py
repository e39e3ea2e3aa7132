"""The load generator against a server that answers by a script: what it counts, and what becomes of what goes wrong."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.judge.loadserver import (
    CLOSE,
    DONE,
    END,
    HEAD,
    Act,
    answer,
    chunk,
    right,
    scripted,
    status,
    token,
    usage,
)
from warpsmith.errors import BadInput
from warpsmith.judge import load as loading
from warpsmith.judge.load import LoadFailed, load, load_one, observe
from warpsmith.model.harness import Scenario

SOON_S = 60.0
"""Longest wait for what takes milliseconds, on a machine that is busy."""


def closed(requests: int = 6, concurrency: int = 2, **more: Any) -> Scenario:
    return Scenario(name="closed", requests=requests, concurrency=concurrency, chat=False, **more)


def test_what_is_answered_is_counted_and_warmup_is_not() -> None:
    with scripted(right) as server:
        scenario = closed(12, 3, warmup=4, output_tokens=(1, 5))
        seen = load(server.url + "/v1", "m", [scenario], timeout_s=SOON_S).scenarios[0]
        assert len(server.bodies) == 16
        wanted = [body["max_tokens"] for body in server.bodies[4:]]
    assert (seen.requests, seen.errors, seen.short) == (12, {}, 0)
    assert (seen.input_tokens, seen.output_tokens) == (12 * 7, sum(wanted))
    assert set(seen.latencies) == {"ttft", "tpot", "itl", "e2e"}
    assert 0 < seen.latencies["ttft"].p50 <= seen.latencies["e2e"].p50 <= seen.latencies["e2e"].p99 < seen.seconds
    assert server.connections == 3


def test_both_sides_get_the_same_bytes() -> None:
    scenario = closed(5, 1, prompt_tokens=(4, 9), seed=3)
    bodies = []
    for _ in range(2):
        with scripted(right) as server:
            load_one(server.url, "m", scenario, timeout_s=SOON_S)
            bodies.append(server.bodies)
    assert bodies[0] == bodies[1]
    assert len({body["prompt"] for body in bodies[0]}) == 7
    assert all(body["ignore_eos"] and body["stream_options"] == {"include_usage": True} for body in bodies[0])


FAULTS: dict[str, Iterable[Act]] = {
    "status_500": status(500),
    "status_429": [b"HTTP/1.1 429 Later\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", CLOSE],
    "status_503": [b"HTTP/1.1 503 No\r\nContent-Length: 900\r\n\r\nhalf", CLOSE],
    "cut": [HEAD, chunk(token()), CLOSE],
    "stream_error": [HEAD, chunk(b'data: {"error": {"message": "no"}}\n\n'), END],
    "no_usage": [HEAD, chunk(token() + DONE), END],
    "wrong_length": [HEAD, chunk(token() + usage(3, 99) + DONE), END],
    "malformed": [HEAD, chunk(b"data: {half\n\n"), END],
}
MORE: list[tuple[str, Iterable[Act]]] = [
    ("cut", [CLOSE]),
    ("cut", [HEAD[:20], CLOSE]),
    ("cut", [HEAD, chunk(token() + usage(3, 1)), END]),
    ("malformed", [b"SMTP ready\r\n\r\n", CLOSE]),
    ("malformed", [HEAD, b"zz\r\nnot a chunk\r\n"]),
    ("malformed", [HEAD, chunk(DONE + token()), END]),
    ("cut", [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nplain txt"]),
]


def test_each_failure_has_its_cause_and_the_others_their_answers() -> None:
    faults = [*FAULTS.items(), *MORE]

    def script(number: int, body: dict[str, Any]) -> Iterable[Act]:
        return answer(body) if number % 2 == 0 else faults[number // 2][1]

    with scripted(script) as server:
        seen = observe(server.url, "m", closed(2 * len(faults), 1, warmup=0), timeout_s=SOON_S)
    assert [one.cause for one in seen[0::2]] == [""] * len(faults)
    assert [one.cause for one in seen[1::2]] == [cause for cause, _ in faults]


def test_a_server_that_is_not_there_refuses_each_request() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    seen = load_one(f"http://127.0.0.1:{port}", "m", closed(3000, 2), timeout_s=SOON_S)
    assert (seen.requests, seen.errors, seen.scores) == (0, {"refused": 3000}, {})


def test_what_is_under_way_at_the_end_timed_out_and_the_rest_was_not_sent() -> None:
    def script(number: int, body: dict[str, Any]) -> Iterable[Act]:
        return answer(body) if number < 3 else [HEAD, chunk(token()), SOON_S]

    with scripted(script) as server:
        seen = load_one(server.url, "m", closed(9, 2, warmup=0), timeout_s=5.0)
    assert seen.requests == 3
    assert seen.errors == {"timeout": 2, "not_sent": 4}


def test_several_events_in_one_piece_and_one_event_in_several() -> None:
    def script(number: int, body: dict[str, Any]) -> Iterable[Act]:
        events = b"".join(token("süß") for _ in range(body["max_tokens"])) + usage(7, body["max_tokens"]) + DONE
        if number % 2:
            return [HEAD + chunk(events) + END]
        return [HEAD, *(chunk(events[i : i + 7]) for i in range(0, len(events), 7)), END]

    with scripted(script) as server:
        seen = observe(server.url, "m", closed(4, 1, warmup=0), timeout_s=SOON_S)
    assert [one.cause for one in seen] == [""] * 4
    assert [len(one.times) for one in seen] == [16] * 4
    assert {len(set(one.times)) for one in seen[1::2]} == {1}


def test_a_body_may_end_with_its_connection() -> None:
    def script(number: int, body: dict[str, Any]) -> Iterable[Act]:
        return [b"HTTP/1.1 200 OK\r\n\r\n", token() + usage(7, 1) + DONE, CLOSE]

    with scripted(script) as server:
        seen = load_one(server.url, "m", closed(3, 1), timeout_s=SOON_S)
    assert (seen.requests, seen.short) == (3, 3)
    assert server.connections == 5


def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    def script(number: int, body: dict[str, Any]) -> Iterable[Act]:
        return [*answer(body), CLOSE]

    with scripted(script) as server:
        scenario = Scenario(name="slow", requests=5, warmup=0, rate=10.0, arrivals="uniform", chat=False)
        assert load_one(server.url, "m", scenario, timeout_s=SOON_S).errors == {}
    assert server.connections == 5


def test_an_open_loop_sends_whatever_becomes_of_the_answers() -> None:
    release = threading.Event()

    def script(number: int, body: dict[str, Any]) -> Iterable[Act]:
        if number < 29:
            release.wait(SOON_S)
        release.set()
        return answer(body)

    with scripted(script) as server:
        scenario = Scenario(name="open", requests=30, warmup=0, rate=200.0, arrivals="uniform", chat=False)
        seen = observe(server.url, "m", scenario, timeout_s=SOON_S)
    assert [one.cause for one in seen] == [""] * 30
    assert all(one.sent >= one.planned for one in seen)
    assert seen[-1].planned == pytest.approx(29 / 200)
    waited = [one.times[0] - one.planned for one in seen[:-1]]
    assert waited[0] > 29 / 200 * 0.9
    assert waited[0] > waited[14] > 0


def test_a_closed_loop_keeps_its_number_under_way() -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def script(number: int, body: dict[str, Any]) -> Iterable[Act]:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        yield 0.01
        with lock:
            now[0] -= 1
        yield from answer(body)

    with scripted(script) as server:
        assert load_one(server.url, "m", closed(20, 4, warmup=0), timeout_s=SOON_S).requests == 20
    assert most[0] == 4


def test_times_are_those_of_the_server() -> None:
    """Lower bounds only: a busy machine makes everything later, and nothing earlier."""

    def script(number: int, body: dict[str, Any]) -> Iterable[Act]:
        return [0.05, HEAD + chunk(token()), 0.02, chunk(token()), 0.02, chunk(token() + usage(7, 3) + DONE) + END]

    with scripted(script) as server:
        seen = load_one(server.url, "m", closed(4, 1, output_tokens=(3, 3)), timeout_s=SOON_S)
    at = seen.latencies
    assert at["ttft"].p50 >= 0.05
    assert at["itl"].mean == pytest.approx(at["tpot"].mean)
    assert at["tpot"].p50 > 0.019
    assert at["e2e"].p50 >= 0.09
    assert seen.seconds >= 4 * 0.09


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:80", "http://", "http://a b/", "http://x:99999", "http://u@x/"])
def test_an_address_that_is_none_is_named(url: str) -> None:
    with pytest.raises(BadInput, match=r"no address|not known"):
        load(url, "m", [closed()], timeout_s=1.0)


def test_a_client_that_fails_is_no_word_on_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "client.py"
    program.write_text("raise ValueError('broken')")
    monkeypatch.setattr(loading, "CLIENT", (str(program),))
    with pytest.raises(LoadFailed, match="broken"):
        load("http://127.0.0.1:9", "m", [closed()], timeout_s=1.0)


LOADING = """
import sys
from warpsmith.judge.load import load_one
from warpsmith.model.harness import Scenario
load_one(sys.argv[1], "m", Scenario(name="a", requests=2, concurrency=1), timeout_s=600)
"""


def clients(parent: int) -> list[int]:
    """The load clients that a process has started."""
    found = []
    for task in Path("/proc").glob(f"{parent}/task/*/children"):
        found += [int(child) for child in task.read_text().split()]
    return found


def gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_whoever_is_interrupted_leaves_no_client(how: signal.Signals) -> None:
    asked = threading.Event()

    def script(number: int, body: dict[str, Any]) -> Iterable[Act]:
        asked.set()
        return [SOON_S]

    with scripted(script) as server:
        command = [sys.executable, "-c", LOADING, server.url]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
            assert asked.wait(SOON_S)
            (client,) = clients(process.pid)
            os.kill(process.pid, how)
            _, said = process.communicate(timeout=SOON_S)
        until = time.monotonic() + SOON_S
        while not gone(client):
            assert time.monotonic() < until
            time.sleep(0.01)
    assert process.returncode in (-how, 130)
    assert "KeyboardInterrupt" in said if how == signal.SIGINT else not said
