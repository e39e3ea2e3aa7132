"""Tasks that a harness measures: a command that prints JSON, or a served model under load. Reads no files.

A candidate of these is an overlay on the mutable files of a workspace, with an environment: the workspace's other files
are the harness, and no candidate's. What a harness says is its own word (``Trust.harness_reported``).
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from warpsmith.model.base import Name, Record
from warpsmith.model.head import Direction, Guardrail, Objective, TaskHead, Variable, Workload
from warpsmith.model.space import Space, Tunable

if TYPE_CHECKING:
    from warpsmith.model.candidate import Candidate

MetricName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.\-]*$", max_length=100)]
Scalar = str | int | float | bool
Argv = tuple[str, ...]
STEERING = frozenset({"PATH", "HOME", "SHELL", "ENV", "BASH_ENV", "IFS"})
STEERING_PREFIXES = ("LD_", "PYTHON", "PERL5", "RUBY", "NODE_", "GCC_EXEC_")
"""Variables that decide which programs and libraries run: a candidate sets them only where the task's own
``environment`` names them.
"""


class HarnessTask(TaskHead):
    """What command and serving tasks share."""

    workspace: str = ""
    """Folder with the harness, from the task's folder; each side gets a copy. Empty: there are no files."""
    mutable: tuple[str, ...] = ()
    """Patterns of paths in the workspace that candidates may replace or add (``*`` crosses folders)."""
    environment: dict[Variable, str] = Field(default_factory=dict)
    """Set for every run; a candidate's own goes over it."""
    passes: tuple[Variable, ...] = ()
    """Variables of the caller that every run sees, beside PATH, HOME, LANG and TZ."""
    tunables: dict[Name, Tunable] = Field(default_factory=dict)
    """Whole numbers that a candidate sets, as environment variables; one that has a folder may have its own instead."""
    constraints: tuple[str, ...] = ()
    timeout_s: Annotated[float, Field(gt=0)] = 120.0
    """Longest time that one run of the harness may take."""

    @property
    def space(self) -> Space:
        """The tunables of the task; raises ValueError for a default outside of its constraints."""
        return Space(tunables=self.tunables, constraints=self.constraints)

    @property
    def decided_by(self) -> tuple[Objective | Guardrail, ...]:
        """The objective, then the guardrails."""
        return (self.objective, *self.guardrails)

    def may_change(self, path: str) -> bool:
        """Whether candidates may replace or add the file."""
        return any(fnmatchcase(path, pattern) for pattern in self.mutable)

    def refuses(self, candidate: Candidate) -> str:
        """Why it is no overlay of this task; empty where it is one."""
        if candidate.toolchain != "overlay":
            return f"the task {self.name} takes overlays only, not {candidate.toolchain}"
        if fixed := [s.path for s in candidate.sources if not self.may_change(s.path)]:
            mutable = ", ".join(self.mutable) or "no files"
            return f"{', '.join(fixed)} cannot be changed by a candidate; mutable are: {mutable}"
        said = [n for n in (*candidate.environment, *candidate.parameters) if n not in self.environment]
        if steering := [n for n in said if n in STEERING or n.startswith(STEERING_PREFIXES)]:
            return f"{', '.join(steering)} decides which programs run, and the task's environment does not name it"
        return ""

    @model_validator(mode="after")
    def _space_makes_sense(self) -> Self:
        assert self.space.size
        return self


class Reported(Record):
    """One metric in the document that a command prints."""

    unit: str
    direction: Direction
    path: str = ""
    """Where it stands, as keys and indices with dots between (``runs.0.seconds``); empty: under its own name."""


class CommandTask(HarnessTask):
    """Any command that prints one JSON document of metrics."""

    kind: Literal["command"] = "command"
    command: Annotated[Argv, Field(min_length=1)]
    """Run in the workspace; ``{axis}`` stands for an axis of the workload, which is an environment variable too."""
    prepare: Argv = ()
    """Run once per side before anything is measured: a build, say."""
    metrics: Annotated[dict[MetricName, Reported], Field(min_length=1)]
    expect: dict[str, Scalar] = Field(default_factory=dict)
    """Places in the document (as in ``Reported.path``) that must hold exactly this: what makes an answer right."""
    repeats: Annotated[int, Field(ge=1)] = 1
    """Runs per sample, of which the median counts, metric by metric."""
    workloads: Annotated[tuple[Workload, ...], Field(min_length=1)] = (Workload(name="default"),)

    def longest_s(self, pairs: int) -> float:
        """The longest time that a measurement can take where every run of both sides takes as long as it may."""
        runs = bool(self.prepare) + len(self.workloads) * (1 + pairs * self.repeats)
        return 2 * runs * self.timeout_s

    @model_validator(mode="after")
    def _decided_by_a_metric(self) -> Self:
        for named in self.decided_by:
            if named.metric not in self.metrics:
                raise ValueError(f"objective and guardrails: {named.metric!r} is none of {', '.join(self.metrics)}")
            if named.direction is not self.metrics[named.metric].direction:
                raise ValueError(f"objective and guardrails: {named.metric!r} has another direction under metrics")
        return self


class Server(Record):
    """How a server comes to be: our shim over a backend, a command of another framework, or one that runs already."""

    backend: str = ""
    """``mock``, ``transformers``, or ``module:factory`` in the workspace; served by our shim."""
    command: Argv = ()
    """Starts a server of the same wire format in the workspace; ``{port}`` stands for the port it is to listen at,
    ``{model}`` and ``{snapshot}`` for the model's name and its folder.
    """
    url: str = ""
    """One that is there already (``http://host:port``): it can be loaded, and no candidate can change it."""
    options: dict[Name, Scalar] = Field(default_factory=dict)
    """What the backend is made with."""
    model: str = "model"
    """The name under which the model is served."""
    snapshot: str = ""
    """Folder of the model's files, from the task's folder; empty: it needs none."""
    ready_s: Annotated[float, Field(gt=0)] = 120.0
    """Longest time from start to ready."""
    drain_s: Annotated[float, Field(ge=0)] = 10.0
    """Time that it has to end by itself once it is told to; then it is killed with all that it started."""
    growth_bytes: Annotated[int, Field(gt=0)] = 1 << 30
    """Most growth of its resident memory while it is loaded; more is a leak."""
    gpu_growth_bytes: Annotated[int, Field(gt=0)] = 4 << 30
    """The same of the memory that it holds on a GPU, from the end of each scenario's warm-up on. Allocators that cache
    still grow a little then, with the longest prompts that come at once.
    """
    beside: bool = False
    """Two of them fit beside each other on a GPU: at a screen both stay up for all pairs, as they do on the CPU."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(map(bool, (self.backend, self.command, self.url))) != 1:
            raise ValueError("give exactly one of backend, command and url")
        return self


class Parity(Record):
    """What outputs must be before anything is timed: those of the baseline on the same prompts, decoded greedily."""

    mode: Literal["tokens", "logprobs"] = "tokens"
    """``tokens``: token by token. ``logprobs``: the same, and each token's log-probability within ``tolerance``."""
    prompts: Annotated[int, Field(ge=1)] = 8
    """How many, drawn anew for each evaluation."""
    prompt_tokens: Annotated[int, Field(ge=1)] = 24
    output_tokens: Annotated[int, Field(ge=1)] = 16
    tolerance: Annotated[float, Field(ge=0)] = 1e-3
    """Nats, absolute."""
    matched: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Least share of tokens that must be equal: up to the first difference, for everything after it follows from it."""


Length = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
"""Least and most tokens, drawn uniformly."""


class Scenario(Record):
    """One load: who asks for how much, how often."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
    requests: Annotated[int, Field(ge=1)]
    """Requests that count."""
    warmup: Annotated[int, Field(ge=0)] = 2
    """Requests before them that do not."""
    concurrency: Annotated[int, Field(ge=1)] | None = None
    """Closed loop: so many requests are under way at any time."""
    rate: Annotated[float, Field(gt=0)] | None = None
    """Open loop: so many requests per second, whatever becomes of them."""
    arrivals: Literal["poisson", "uniform"] = "poisson"
    """Of an open loop: times between requests drawn exponentially, or all alike."""
    prompt_tokens: Length = (32, 32)
    output_tokens: Length = (16, 16)
    chat: bool = True
    """Chat completions, or plain ones."""
    vocabulary: Annotated[int, Field(ge=1)] | None = None
    """Of plain completions: prompts are token ids below this, so that their lengths are exact. Else they are common
    words, of which a server makes about as many tokens: what it says that it got is what is reported.
    """
    seed: int = 0
    """Of prompts, lengths and arrivals: both sides get the same."""

    @model_validator(mode="after")
    def _one_loop(self) -> Self:
        if (self.concurrency is None) == (self.rate is None):
            raise ValueError(f"scenario {self.name!r}: give either concurrency (closed loop) or rate (open loop)")
        if self.vocabulary is not None and self.chat:
            raise ValueError(f"scenario {self.name!r}: vocabulary is for plain completions (chat = false)")
        for what in ("prompt_tokens", "output_tokens"):
            least, most = getattr(self, what)
            if least > most:
                raise ValueError(f"scenario {self.name!r}: {what} begins above its end")
        return self


LATENCIES = ("ttft", "tpot", "itl", "e2e")
"""Time to first token, time per output token after it, time between tokens, time of the whole request; seconds."""
PERCENTILES = ("p50", "p90", "p99")
RATES = {"tok_s": "token/s", "req_s": "request/s"}
"""Output tokens and requests per second, over the time from the first request sent to the last answer."""
SCORES: dict[str, tuple[str, Direction]] = {
    **{name: (unit, Direction.maximize) for name, unit in RATES.items()},
    **{f"{of}_{which}": ("s", Direction.minimize) for of in LATENCIES for which in PERCENTILES},
}
"""What every scenario scores, with its unit and which way is better; named ``scenario.score`` (``single.tok_s``)."""


class ServingTask(HarnessTask):
    """An OpenAI-compatible server under load."""

    kind: Literal["serving"] = "serving"
    server: Server
    parity: Parity = Parity()
    scenarios: Annotated[tuple[Scenario, ...], Field(min_length=1)]
    failures: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest share of requests of a scenario that may fail."""
    workloads: Annotated[tuple[Workload, ...], Field(min_length=1, max_length=1)] = (Workload(name="suite"),)

    def longest_s(self, pairs: int) -> float:
        """The longest time that a measurement can take where every start and scenario takes as long as it may."""
        turn = self.server.ready_s + self.server.drain_s + (2 + len(self.scenarios)) * self.timeout_s
        return 3 * (1 + pairs) * turn  # both sides, and the baseline's answers to what either is asked

    def refuses(self, candidate: Candidate) -> str:
        """The same for any task; a server that is not ours cannot be changed at all."""
        if self.server.url and (candidate.sources or candidate.environment or candidate.parameters):
            return f"the server at {self.server.url} runs already: no candidate can change it"
        return super().refuses(candidate)

    @model_validator(mode="after")
    def _decided_by_a_score(self) -> Self:
        names = [s.name for s in self.scenarios]
        if len(set(names)) != len(names):
            raise ValueError("scenario names repeat")
        for named in self.decided_by:
            scenario, _, score = named.metric.partition(".")
            if scenario not in names or score not in SCORES:
                raise ValueError(
                    f"objective and guardrails: {named.metric!r} is no scenario.score; scenarios: {', '.join(names)}; "
                    f"scores: {', '.join(SCORES)}"
                )
            if named.direction is not SCORES[score][1]:
                raise ValueError(f"objective and guardrails: {named.metric!r}: better is to {SCORES[score][1]}")
        return self


class Distribution(Record):
    """Percentiles of some times, in seconds."""

    mean: Annotated[float, Field(ge=0)]
    p50: Annotated[float, Field(ge=0)]
    p90: Annotated[float, Field(ge=0)]
    p99: Annotated[float, Field(ge=0)]


class ScenarioReport(Record):
    """What one load saw."""

    scenario: str
    requests: Annotated[int, Field(ge=0)]
    """Answered in full."""
    errors: dict[str, int] = Field(default_factory=dict)
    """Requests that were not, by cause."""
    short: Annotated[int, Field(ge=0)] = 0
    """Of the answered ones: those with fewer output tokens than were asked for."""
    seconds: Annotated[float, Field(ge=0)]
    """From the first request sent to the last answer."""
    input_tokens: Annotated[int, Field(ge=0)]
    output_tokens: Annotated[int, Field(ge=0)]
    latencies: dict[str, Distribution] = Field(default_factory=dict)
    """By the names of :data:`LATENCIES`; what no request could show (ITL of one token) is left out."""
    late: Annotated[float, Field(ge=0)] = 0.0
    """Open loop: 99th percentile of how much later than planned a request was sent, in seconds."""

    @property
    def scores(self) -> dict[str, float]:
        """The scores by name, without the scenario's; nothing where nothing was answered."""
        if not self.requests or not self.seconds:
            return {}
        rates = {"tok_s": self.output_tokens / self.seconds, "req_s": self.requests / self.seconds}
        times = {f"{of}_{w}": getattr(seen, w) for of, seen in self.latencies.items() for w in PERCENTILES}
        return {name: value for name, value in {**rates, **times}.items() if value > 0}


class LoadReport(Record):
    """What a load of a whole suite saw."""

    model: str
    url: str
    tool: str = "warpsmith"
    """Who loaded: our own generator, or the name and version of another."""
    scenarios: tuple[ScenarioReport, ...]

    @property
    def metrics(self) -> dict[str, float]:
        """The flat scores: ``single.tok_s``, ``batch16.ttft_p99``."""
        return {f"{s.scenario}.{name}": value for s in self.scenarios for name, value in s.scores.items()}
