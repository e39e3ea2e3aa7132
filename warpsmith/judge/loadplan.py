"""What a load sends, and when: prompts, lengths and arrivals, from the scenario's seed and a list of words alone.

Whoever is loaded by one scenario, gets the same bytes in the same order: nothing here asks the server anything.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

from warpsmith.model.harness import Scenario

WORDS = tuple(Path(__file__).with_name("loadwords.txt").read_text(encoding="utf-8").split())
"""Words that nearly every tokenizer makes one token of."""


@dataclass(frozen=True)
class Ask:
    """One request."""

    body: dict[str, Any]
    output_tokens: int
    at_s: float = 0.0
    """Open loop: when it is to be sent, after the first."""


def asks(scenario: Scenario, model: str, phase: str = "counted") -> tuple[Ask, ...]:
    """The requests of a scenario in their order; ``phase`` is ``counted`` or ``warmup``, which share no prompt."""
    count = scenario.requests if phase == "counted" else scenario.warmup
    lengths, words, arrivals = (_random(scenario, phase, of) for of in ("lengths", "words", "arrivals"))
    times = arrival_times(scenario, count, arrivals)
    made = []
    for at in times:
        tokens, wanted = lengths.randint(*scenario.prompt_tokens), lengths.randint(*scenario.output_tokens)
        made.append(Ask(_body(scenario, model, _prompt(scenario, tokens, words), wanted), wanted, at))
    return tuple(made)


def arrival_times(scenario: Scenario, count: int, random: Random) -> list[float]:
    """When each request of an open loop is to be sent, in seconds after the first; zeros for a closed loop."""
    if scenario.rate is None:
        return [0.0] * count
    rate = scenario.rate
    if scenario.arrivals == "uniform":
        return [number / rate for number in range(count)]
    return list(accumulate((random.expovariate(rate) for _ in range(count - 1)), initial=0.0))[:count]


def _random(scenario: Scenario, phase: str, of: str) -> Random:
    return Random(f"{scenario.seed}/{scenario.name}/{phase}/{of}")


def _prompt(scenario: Scenario, tokens: int, words: Random) -> str | list[int]:
    if scenario.vocabulary is not None:
        return [words.randrange(scenario.vocabulary) for _ in range(tokens)]
    return " ".join(words.choices(WORDS, k=tokens))


def _body(scenario: Scenario, model: str, prompt: str | list[int], wanted: int) -> dict[str, Any]:
    said = {"messages": [{"role": "user", "content": prompt}]} if scenario.chat else {"prompt": prompt}
    return {
        "model": model,
        **said,
        "max_tokens": wanted,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def request_bytes(ask: Ask, host: str, path: str, identity: str) -> bytes:
    """The request as it goes over the wire."""
    body = json.dumps(ask.body, separators=(",", ":")).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\n"
        f"X-Request-Id: {identity}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body
