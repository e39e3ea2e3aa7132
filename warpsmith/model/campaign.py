"""Campaigns and the events of a ledger. Imports only earlier records."""

from __future__ import annotations

from decimal import Decimal
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field

from warpsmith.model.asks import AskRecord
from warpsmith.model.base import Digest, Record, digest
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Evaluation
from warpsmith.model.head import Guardrail, Objective
from warpsmith.model.step import Outcome, Step
from warpsmith.model.target import Target


class Budget(Record):
    """When a campaign stops asking. It never stops proving: what looked faster is always confirmed."""

    rounds: Annotated[int, Field(ge=0)] = 6
    """Asks of the proposer."""
    patience: Annotated[int, Field(ge=1)] = 4
    """Rounds in a row without a new best, after which asking ends."""
    steps: Annotated[int, Field(ge=0)] | None = None
    """Measurements."""
    seconds: Annotated[float, Field(ge=0)] | None = None
    """Time spent in steps, over all sessions of the campaign."""
    money: Annotated[Decimal, Field(ge=0)] | None = None
    """US dollars paid to model providers. Never exceeded: a request whose worst case does not fit is not sent."""
    tokens: Annotated[int, Field(ge=0)] | None = None
    """Tokens read and written by models, cached ones too. Never exceeded, as far as prompts can be estimated."""
    calls: Annotated[int, Field(ge=0)] | None = None
    """Requests to model providers, failed ones and continuations too."""


class Campaign(Record):
    """Task + target + proposer + budget + seed: one optimisation run."""

    tag: str
    task_name: str
    task: Digest
    target: Target
    judge: str
    """Version of the judge: another version's evaluations are not compared."""
    proposer: str
    budget: Budget
    seed: int
    baseline: Digest
    entry: Digest
    peers: dict[str, Digest] = {}
    weights: dict[str, float]
    """Workload name to weight."""
    objective: Objective
    guardrails: tuple[Guardrail, ...] = ()
    min_gain: float
    noise_floor: float
    noise_comparisons: Annotated[int, Field(ge=0)] = 0
    """Comparisons of identical candidates that the floor comes from."""
    peak_flops_per_s: float | None = None
    """The device's measured arithmetic peak, for the roofline."""
    batch: Annotated[int, Field(ge=1)] = 4
    """Candidates per ask."""
    asks: Annotated[int, Field(ge=1)] = 1
    """Asks in flight at once. With one, asking waits for an idle device; with more, it keeps ahead of the device."""
    beam: Annotated[int, Field(ge=1)] = 1
    """How many of the fastest kernels asks begin at; 1: always the best."""
    fixes: Annotated[int, Field(ge=0)] = 0
    """Asks that a candidate which failed may take to be mended; 0: it is left as it is."""
    attempts: Annotated[int, Field(ge=1)] = 3
    """Faults after which a step is given up."""
    explain: bool = False
    """Whether confirmed leaders are profiled."""

    @cached_property
    def scope(self) -> str:
        """What evaluations must share to be compared: task, target, judge, and the baseline that chains begin at."""
        return digest([self.task, self.target.key, self.judge, self.baseline])


class Opened(Record):
    """A process began to work on the campaign: a start and a resume are the same event."""

    kind: Literal["opened"] = "opened"
    campaign: Campaign
    candidates: tuple[Candidate, ...]
    """Baseline, entry and peers, whole."""
    at: float


class Started(Record):
    """Written before a step runs."""

    kind: Literal["started"] = "started"
    step: Step
    at: float


class Finished(Record):
    """A step came back: a result or a fault, never a raise."""

    kind: Literal["finished"] = "finished"
    step: Step
    outcome: Outcome
    seconds: float
    at: float


class Submitted(Record):
    """A candidate handed in from outside."""

    kind: Literal["submitted"] = "submitted"
    candidate: Candidate
    by: str = ""
    at: float


class Decided(Record):
    """What became of a candidate outside the campaign: memory and patterns see these too."""

    kind: Literal["decided"] = "decided"
    candidate: Digest
    decision: Literal["trial", "integrate", "promote", "reject"]
    result: Literal["deployed", "rolled_back", "short_circuit", "accepted", "rejected"]
    reason: str
    at: float
    claim: str = ""
    """What was thought to be so, where it was rejected."""
    evidence: tuple[str, ...] = ()
    """What speaks against it: reports, candidates, figures."""
    blocker: str = ""
    """What would have to change before it is worth another try."""


class Consulted(Record):
    """A model was asked beside the steps, by whoever reviews their rounds. It counts against the same budget."""

    kind: Literal["consulted"] = "consulted"
    asks: tuple[AskRecord, ...]
    about: str
    """What it was asked about, such as a round of a run."""
    at: float


class Benched(Record):
    """A labelled evaluation, made by hand beside the plan: it is shown with the campaign, and decides nothing."""

    kind: Literal["benched"] = "benched"
    name: str
    """Of the report that it is in too."""
    notes: str = ""
    candidates: tuple[Candidate, ...]
    """Those that were measured, then their rival, whole: the campaign need not know them."""
    evaluations: tuple[Evaluation, ...]
    at: float


Event = Annotated[Opened | Started | Finished | Submitted | Decided | Consulted | Benched, Field(discriminator="kind")]
