"""What a server counts, as Prometheus reads it. Owns names and text format; knows no server."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from warpsmith.serving.backend import Occupancy

BUCKETS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
)  # fmt: skip
"""Upper ends, in seconds."""
PREFIX = "warpsmith_"


@dataclass
class Histogram:
    """Times in seconds, by bucket."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def lines(self, name: str) -> list[str]:
        """Cumulative, as the format wants it."""
        said, below = [], 0
        for end, count in zip((*map(str, BUCKETS), "+Inf"), self.counts, strict=True):
            below += count
            said.append(f'{PREFIX}{name}_bucket{{le="{end}"}} {below}')
        return [*said, f"{PREFIX}{name}_sum {self.total!r}", f"{PREFIX}{name}_count {below}"]


@dataclass
class Metrics:
    """Everything that one server counts."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By endpoint, and how they ended: ``stop``, ``length``, ``cancelled``, ``error``, or a status."""
    prompt_tokens: int = 0
    output_tokens: int = 0
    first_token: Histogram = field(default_factory=Histogram)
    between_tokens: Histogram = field(default_factory=Histogram)
    whole: Histogram = field(default_factory=Histogram)

    def text(self, occupancy: Occupancy, under_way: int, ready: bool, resident_bytes: int) -> str:
        """The whole page."""
        said: list[str] = []
        ended = [f'{{endpoint="{e}",outcome="{o}"}} {n}' for (e, o), n in sorted(self.requests.items())]
        said += _section("requests_total", "counter", "Requests that ended, by endpoint and outcome.")
        said += [f"{PREFIX}requests_total{line}" for line in ended]
        for name, value, what in (
            ("prompt_tokens_total", self.prompt_tokens, "Tokens of the prompts that were taken."),
            ("output_tokens_total", self.output_tokens, "Tokens of the answers."),
        ):
            said += [*_section(name, "counter", what), f"{PREFIX}{name} {value}"]
        for name, value, what in (
            ("requests_under_way", under_way, "Requests that are being answered."),
            ("requests_running", occupancy.running, "Generations in the backend's steps."),
            ("requests_waiting", occupancy.waiting, "Generations that wait for them."),
            ("ready", int(ready), "Whether the server takes requests."),
            ("resident_bytes", resident_bytes, "Resident memory of the server's own process."),
        ):
            said += [*_section(name, "gauge", what), f"{PREFIX}{name} {value}"]
        for name, histogram, what in (
            ("time_to_first_token_seconds", self.first_token, "From request to first token."),
            ("time_between_tokens_seconds", self.between_tokens, "Mean over one answer."),
            ("request_seconds", self.whole, "From request to end."),
        ):
            said += [*_section(name, "histogram", what), *histogram.lines(name)]
        return "\n".join(said) + "\n"


def _section(name: str, kind: str, what: str) -> list[str]:
    return [f"# HELP {PREFIX}{name} {what}", f"# TYPE {PREFIX}{name} {kind}"]
