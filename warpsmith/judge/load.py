"""The load of a served model over HTTP: what is sent, by whom, and what is reported of it.

The client is a process of its own (loadclient.py), so that nothing the judge does disturbs what it times. In a closed
loop an answer's latencies count from the moment its request was sent; in an open loop from the moment it was *planned*
to be sent, so that a server that holds the client up is charged for the requests it held up (coordinated omission).
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from warpsmith.errors import BadInput, Missing, WarpsmithError
from warpsmith.judge.loadplan import Ask, asks, request_bytes
from warpsmith.model.base import digest
from warpsmith.model.harness import PERCENTILES, Distribution, LoadReport, Scenario, ScenarioReport

CLIENT = ("-P", str(Path(__file__).with_name("start.py")), "warpsmith.judge.loadclient")
GRACE_S = 30.0
"""Longest time that the client may take beside its requests: to start, and to say what it saw."""


class LoadFailed(WarpsmithError):
    """The client itself failed: it says nothing of the server."""


@dataclass(frozen=True)
class Answer:
    """One request and what came of it. Times in seconds after the first request was due."""

    number: int
    cause: str
    """Why it was not answered; empty where it was."""
    planned: float
    sent: float
    times: tuple[float, ...]
    """When each event with text came."""
    end: float
    asked: int
    """Output tokens that were asked for."""
    input_tokens: int
    output_tokens: int
    """Both as the server counts them."""
    text: str = ""

    def since(self, open_loop: bool) -> float:
        """Where its latencies begin."""
        return self.planned if open_loop else self.sent


@dataclass(frozen=True)
class Place:
    """Where a server listens."""

    family: int
    address: tuple[Any, ...]
    host: str
    """As it stands in the request's head."""
    path: str


def load(url: str, model: str, scenarios: Sequence[Scenario], *, timeout_s: float) -> LoadReport:
    """Load a server with each scenario in turn, by our own client.

    Args:
        url: Where it listens: ``http://host:port``, with a path before ``/v1`` if it has one.
        model: The name under which it serves the model.
        scenarios: What is asked of it.
        timeout_s: Longest time of one scenario with its warm-up; what is unanswered then counts as ``timeout``, what
            was not even sent as ``not_sent``.

    Raises:
        BadInput: for a URL that is none, or a host that is not known.
        Missing: where httptools is not installed.
        LoadFailed: where the client itself fails.
    """
    reports = tuple(load_one(url, model, scenario, timeout_s=timeout_s) for scenario in scenarios)
    return LoadReport(model=model, url=url, scenarios=reports)


def load_one(url: str, model: str, scenario: Scenario, *, timeout_s: float) -> ScenarioReport:
    """Load a server with one scenario; see :func:`load`."""
    return report(scenario, observe(url, model, scenario, timeout_s=timeout_s))


def observe(
    url: str, model: str, scenario: Scenario, *, timeout_s: float, warmed: Callable[[], None] | None = None
) -> tuple[Answer, ...]:
    """Every counted request of a scenario, in their order; see :func:`load`.

    ``warmed`` is called once, from a thread, as soon as the warm-up is over; the load does not wait for it.
    """
    if find_spec("httptools") is None:
        raise Missing("loading a server needs the package httptools.", "Run: pip install 'warpsmith[serve]'.")
    place = find(url, chat=scenario.chat)
    plan = {
        "family": place.family,
        "address": place.address,
        "concurrency": scenario.concurrency,
        "timeout_s": timeout_s,
        "warmup": _told(scenario, asks(scenario, model, "warmup"), place, "warmup"),
        "counted": _told(scenario, asks(scenario, model), place, "counted"),
    }
    return tuple(_answer(seen) for seen in _carried_out(plan, timeout_s, warmed or (lambda: None)))


def find(url: str, *, chat: bool) -> Place:
    """Where ``url`` is served. Of several addresses of a name, the first that answers. Raises BadInput."""
    try:
        said = urlsplit(url)
        port = said.port or 80
    except ValueError:
        said, port = urlsplit(""), 0
    if said.scheme != "http" or not said.hostname or said.query or said.fragment or "@" in said.netloc:
        raise BadInput(f"{url!r} is no address of a server.", "Give http://host:port.")
    try:
        known = socket.getaddrinfo(said.hostname, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise BadInput(f"{url}: {said.hostname} is not known: {error.strerror}.", "Give another host.") from None
    chosen = next((one for one in known if len(known) > 1 and _answers(one)), known[0])
    path = f"{said.path.rstrip('/').removesuffix('/v1')}/v1/{'chat/' if chat else ''}completions"
    return Place(chosen[0], chosen[4], said.netloc, path)


def _answers(known: tuple[Any, ...]) -> bool:
    with socket.socket(known[0], socket.SOCK_STREAM) as probe:
        probe.settimeout(2.0)
        return probe.connect_ex(known[4]) == 0


def _told(scenario: Scenario, made: tuple[Ask, ...], place: Place, phase: str) -> list[dict[str, Any]]:
    return [
        {
            "request": request_bytes(ask, place.host, place.path, identity(scenario, phase, number)).decode("latin-1"),
            "asked": ask.output_tokens,
            "at_s": ask.at_s,
        }
        for number, ask in enumerate(made)
    ]


def identity(scenario: Scenario, phase: str, number: int) -> str:
    """What a request's head calls it (X-Request-Id). It does not tell the seed, or what else will be asked."""
    return digest([scenario.name, scenario.seed, phase, number])[:24]


def _carried_out(plan: dict[str, Any], timeout_s: float, warmed: Callable[[], None]) -> list[dict[str, Any]]:
    """What the client saw. It ends when we do: then the other end of its pair of sockets closes."""
    ours, its = socket.socketpair()

    def listen() -> None:
        if ours.recv(1):  # nothing where the client ended before
            warmed()

    listening = threading.Thread(target=listen, daemon=True)
    listening.start()
    try:
        with its, subprocess.Popen(
            [sys.executable, *CLIENT, str(its.fileno())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True, pass_fds=(its.fileno(),),
        ) as client:  # fmt: skip
            try:
                said, complaint = client.communicate(json.dumps(plan).encode(), timeout_s + GRACE_S)
            except subprocess.TimeoutExpired:
                raise LoadFailed("the load client did not end in time.", "Report it with the scenario.") from None
            finally:
                client.kill()
    finally:
        listening.join()
        ours.close()
    if client.returncode:
        last = complaint.decode(errors="replace").strip().rpartition("\n")[2]
        raise LoadFailed(f"the load client failed: {last}", "Report it with the scenario.")
    seen = json.loads(said)
    assert isinstance(seen, list)
    return seen


def _answer(seen: dict[str, Any]) -> Answer:
    times = {key: seen[key] * 1e-9 for key in ("planned", "sent", "end")}
    came = tuple(when * 1e-9 for when in seen["times"])
    return Answer(**{**seen, **times, "times": came})


def report(scenario: Scenario, seen: Sequence[Answer]) -> ScenarioReport:
    """What the requests of a scenario come to. Failed ones are counted by cause, and in nothing else."""
    answered = [one for one in seen if not one.cause]
    sent = [one for one in seen if one.cause != "not_sent"]
    open_loop = scenario.rate is not None
    late = [max(0.0, one.sent - one.planned) for one in sent] if open_loop else []
    measured = {name: times for name, times in latencies(answered, open_loop).items() if times}
    return ScenarioReport(
        scenario=scenario.name,
        requests=len(answered),
        errors=dict(sorted(Counter(one.cause for one in seen if one.cause).items())),
        short=sum(one.output_tokens < one.asked for one in answered),
        seconds=max(one.end for one in answered) - min(one.sent for one in sent) if answered else 0.0,
        input_tokens=sum(one.input_tokens for one in answered),
        output_tokens=sum(one.output_tokens for one in answered),
        latencies={name: distribution(times) for name, times in measured.items()},
        late=float(np.percentile(late, 99)) if late else 0.0,
    )


def latencies(answered: Sequence[Answer], open_loop: bool) -> dict[str, list[float]]:
    """By the names of LATENCIES: one number per answer, and of ITL one per gap between events with text."""
    more = [one for one in answered if len(one.times) > 1 and one.output_tokens > 1]
    return {
        "ttft": [one.times[0] - one.since(open_loop) for one in answered],
        "tpot": [(one.times[-1] - one.times[0]) / (one.output_tokens - 1) for one in more],
        "itl": [after - before for one in answered for before, after in pairwise(one.times)],
        "e2e": [one.end - one.since(open_loop) for one in answered],
    }


def distribution(times: Sequence[float]) -> Distribution:
    """Mean and percentiles, the latter interpolated between the two nearest."""
    values = np.percentile(times, [float(which.removeprefix("p")) for which in PERCENTILES])
    return Distribution(mean=float(np.mean(times)), **dict(zip(PERCENTILES, map(float, values), strict=True)))
