"""The harness of serving tasks: a server per side, parity before every load, the scenarios of the task as its load.

The standard is the baseline's own server, asked before any other server of the measurement starts: for parity, and for
some requests of every load to come, which nobody else can know. Where sides are started anew for each pair, each start
meets questions of its own: nothing that an earlier one saw helps.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from warpsmith.errors import TaskAtFault, WarpsmithError
from warpsmith.judge.evidence import Side
from warpsmith.judge.failures import CandidateFailed
from warpsmith.judge.gpumemory import GpuMemory, Held
from warpsmith.judge.load import observe, report
from warpsmith.judge.parity import (
    Answer,
    Answers,
    Found,
    answers,
    ask,
    compare,
    draw,
    held_against,
    of_load,
    problem,
    text_only,
)
from warpsmith.judge.progress import Progress
from warpsmith.judge.servers import Life, Servers, blamed
from warpsmith.model.base import Record
from warpsmith.model.evaluation import Status
from warpsmith.model.harness import SCORES, LoadReport, Scenario, ScenarioReport, ServingTask
from warpsmith.model.head import Direction, Workload
from warpsmith.model.step import Request

LATE = frozenset({"timeout", "not_sent"})
"""Causes of failed requests that are a matter of time."""
SHAPELESS = frozenset({"malformed", "no_usage", "wrong_length"})
"""Causes that are a matter of what was answered."""
LOADS = "loads.jsonl"
"""A line for each load, in the step's folder while it goes on, and of the result afterwards."""
SPOTS = 4
"""Answers of each load that are held against the baseline's."""


class KeptLoad(Record):
    """One load, as it is kept."""

    side: str
    pair: int
    """From 1."""
    grown_bytes: int
    """How much resident memory had grown since the first load began."""
    grown_gpu_bytes: int = 0
    """How much it had grown on the GPU, in the loads of that server so far; 0 where that is not watched."""
    report: LoadReport


@dataclass(frozen=True)
class Planned:
    """A scenario with the seed of one pair, and what is verified of it."""

    scenario: Scenario
    spots: tuple[int, ...]
    """Positions of requests, chosen in secret."""


class ServingHarness:
    """One measurement of a serving task."""

    def __init__(self, request: Request, folder: Path, progress: Progress | None = None) -> None:
        assert isinstance(request.task, ServingTask) and request.baseline is not None
        self.progress = progress or Progress()
        self.task = request.task
        self.request = request
        self.folder = folder
        self.baseline = Side(request.baseline, folder / "baseline")
        self.rng = random.SystemRandom()  # the seed of questions and loads exists nowhere but here
        pairs = request.step.effort.pairs
        self.questions = [draw(self.task, self.rng) for _ in range(max(1, pairs) if self.alone else 1)]
        self.loads = [[self._plan(scenario) for scenario in self.task.scenarios] for _ in range(pairs)]
        self.expected: list[Answers] = []
        """By verification."""
        self.of_loads: list[list[list[Answer]]] = []
        """By pair, scenario and spot."""
        self.servers = Servers(self.task, request.target, folder)
        self.gpu_memory = GpuMemory(self.task.server, request.target)
        self.found: list[Found] = []
        self.kept_loads: list[KeptLoad] = []
        self.verified_under_load = 0
        self.by: set[str] = set()

    @property
    def alone(self) -> bool:
        """From confirm on; at a screen only where two servers may not fit beside each other."""
        fit = self.task.hardware == "cpu" or self.task.server.beside
        return self.request.step.effort.fresh or not fit

    @property
    def conditions(self) -> tuple[str, ...]:
        """What served, what was asked, and what was not watched."""
        server = self.task.server
        how = f"our shim over {server.backend}" if server.backend else " ".join(server.command) or f"at {server.url}"
        fresh = "one at a time, fresh for each pair" if self.alone else "both up, the same for all pairs"
        warm = ", ".join(f"{s.name}: {s.warmup}" for s in self.task.scenarios)
        memory = f"memory: resident bytes of its processes may grow by {server.growth_bytes} under load"
        return (
            f"server: {how}; {fresh}",
            "sandbox: none; servers have this user's files, network and rights",
            f"warm-up: parity, then requests that do not count ({warm})",
            "seeds: prompts, lengths and arrivals are new for each pair, and alike for both sides",
            f"{memory}{self.gpu_memory.said}",
            "load: warpsmith's own client, a process beside the server on the same machine",
            *self._first_loads_said(),
            *self._parity_said(),
        )

    def _first_loads_said(self) -> tuple[str, ...]:
        """Whether servers that are kept did otherwise in their first load: then their warm-up was too short."""
        name, ratios = self.task.objective.metric, []
        for side in {kept.side: None for kept in self.kept_loads}:
            values = [kept.report.metrics.get(name, 0.0) for kept in self.kept_loads if kept.side == side]
            if len(values) > 1 and all(values):
                ratios.append(f"{side} {values[0] / statistics.median(values[1:]):.3f}")
        if self.alone or not ratios:
            return ()
        return (f"first loads: {name} there over the median of the later ones: {', '.join(ratios)}",)

    def _parity_said(self) -> tuple[str, ...]:
        if not self.found:
            return ()
        rule = self.task.parity
        equal, tokens = sum(f.equal for f in self.found), sum(f.tokens for f in self.found)
        off = f", log-probabilities at most {max(f.off for f in self.found):.3g} nats off" * (rule.mode == "logprobs")
        how = f"{len(self.found) // 2} verifications of {rule.prompts} prompts, alone and at once"
        share = f"{equal} of {tokens} compared equal the baseline's ({', '.join(sorted(self.by))})"
        return (f"parity: {share}{off}, in {how}; {self.verified_under_load} answers of loads verified",)

    def prepare(self, side: Side) -> None:
        """The workspace with the overlay on it."""
        self.servers.of(side)

    def start(self, side: Side) -> None:
        """A server that is ready. The baseline's answers are there before any other server begins."""
        self._expect(side)
        self.servers.start(self.servers.of(side))

    def verify(self, side: Side) -> None:
        """Parity with the baseline."""
        life = self.servers.of(side)
        number = min(life.verified, len(self.questions) - 1)
        life.verified += 1
        with blamed(life):
            mine = answers(life.live.url, self.questions[number], self.task.timeout_s)
            found = held_against(self.expected[number], mine, self.task.parity)
            self.found += found.values()
            if (said := problem(found, self.task.parity)) is not None:
                raise CandidateFailed(Status.wrong_values, f"parity, {said}")
        if life.resident is None:
            life.resident = life.live.resident_bytes

    @property
    def parts(self) -> tuple[str, ...]:
        """The scenarios."""
        return tuple(scenario.name for scenario in self.task.scenarios)

    def sample(self, side: Side, workload: Workload, part: str) -> dict[str, float]:
        """The scores of one scenario, with this pair's seed."""
        life = self.servers.of(side)
        number = self.parts.index(part)
        if number == 0:
            life.loaded, life.reports = life.loaded + 1, []
        pair = life.loaded - 1
        over = True
        try:
            with blamed(life):
                self._load(life, self.loads[pair][number], self.of_loads[pair][number])
            over = part == self.parts[-1]
        finally:
            if over:
                self._keep(life)
        return self._suite(life, life.reports[-1]).metrics

    def _keep(self, life: Life) -> None:
        """Write the load down that is over; what was measured outlives an interruption."""
        kept = KeptLoad(
            side=life.name, pair=life.loaded, grown_bytes=life.grown, grown_gpu_bytes=life.grown_gpu,
            report=self._suite(life, *life.reports),
        )  # fmt: skip
        self.kept_loads.append(kept)
        with (self.folder / LOADS).open("a") as file:
            file.write(f"{kept.model_dump_json()}\n")

    def _suite(self, life: Life, *reports: ScenarioReport) -> LoadReport:
        return LoadReport(model=self.task.server.model, url=life.live.url, scenarios=reports)

    def _load(self, life: Life, planned: Planned, right: list[Answer]) -> None:
        """One scenario; its report is kept whatever is wrong with it."""
        scenario = planned.scenario
        held: list[Held | None] = []

        def look() -> None:
            held.append(self.gpu_memory.held(life.live.processes))

        seen = observe(life.live.url, self.task.server.model, scenario, timeout_s=self.task.timeout_s, warmed=look)
        look()
        if len(held) > 1:
            life.grown_gpu += self.gpu_memory.growth(held[0], held[-1])
        life.reports.append(report(scenario, seen))
        self._answered(scenario, life.reports[-1])
        life.live.check()
        self._not_grown(life, scenario)
        rule = self.task.parity.model_copy(update={"mode": "tokens"})
        whole = {at: answer for at, answer in zip(planned.spots, right, strict=True) if not seen[at].cause}
        mine = [text_only(seen[at].text) for at in whole]
        found = compare(list(whole.values()), mine, rule, [f"request {at + 1}" for at in whole])
        if (differs := found.problem(rule)) is not None:
            raise CandidateFailed(Status.wrong_values, f"scenario {scenario.name}, answers under load: {differs}")
        self.verified_under_load += len(whole)

    def stop(self, side: Side) -> None:
        """End the server with all that it started."""
        if (life := self.servers.lives.get(side.folder.name)) is not None:
            life.stop()

    def metric(self, name: str) -> tuple[str, Direction]:
        """By the score; the scenario's name stands before it."""
        return SCORES[name.partition(".")[2]]

    def close(self) -> None:
        """Ask the driver no more."""
        self.gpu_memory.close()

    def kept(self) -> Mapping[str, bytes]:
        """The loads, a line each, and the end of each server's log."""
        loads = {LOADS: "".join(f"{kept.model_dump_json()}\n" for kept in self.kept_loads).encode()}
        return {**loads, **self.servers.logs()}

    def _expect(self, first: Side) -> None:
        """The baseline's answers to everything that will be asked, before ``first`` is started. Its failure is a
        verdict where it is measured against itself, and else a fault, whoever is started first.
        """
        if self.expected:
            return
        self.progress.say("baseline: a server of its own, whose answers are the standard")
        life = self.servers.of(self.baseline)
        began = time.monotonic()
        try:
            self.servers.start(life)
            with blamed(life):
                told = [answers(life.live.url, asked, self.task.timeout_s) for asked in self.questions]
                self.of_loads = [[self._spots(life, planned) for planned in pair] for pair in self.loads]
        except CandidateFailed as failed:
            if self.request.candidate.id == self.baseline.candidate.id:
                raise
            raise WarpsmithError(f"the baseline, whose answers are the standard, failed: {failed}.") from None
        finally:
            life.stop()
            first.spent_s -= time.monotonic() - began  # it is not its doing
        for one in told:
            _fit_for_a_standard(one, self.task)
        if self.loads:
            self.progress.say(f"each load is kept as it ends, in {self.folder / LOADS}")
        self.by = {answer.by for one in told for answer in one.alone}
        self.expected = told

    def _plan(self, scenario: Scenario) -> Planned:
        seeded = scenario.model_copy(update={"seed": self.rng.getrandbits(62)})
        return Planned(seeded, tuple(self.rng.sample(range(scenario.requests), min(SPOTS, scenario.requests))))

    def _spots(self, life: Life, planned: Planned) -> list[Answer]:
        asked = of_load(planned.scenario, self.task, planned.spots)
        said = ask(life.live.url, asked, self.task.timeout_s, together=True)
        return [text_only(answer.text) for answer in said]

    def _answered(self, scenario: Scenario, report: ScenarioReport) -> None:
        """Raise CandidateFailed where more requests failed than the task allows."""
        lost = sum(report.errors.values())
        if lost <= self.task.failures * (lost + report.requests):
            return
        causes = ", ".join(f"{cause}: {count}" for cause, count in report.errors.items())
        if LATE & set(report.errors):
            status = Status.timed_out
        else:
            status = Status.wrong_shape if set(report.errors) <= SHAPELESS else Status.crashed
        within = f" within {self.task.timeout_s:g} s" if status is Status.timed_out else ""
        raise CandidateFailed(
            status,
            f"scenario {scenario.name}: {lost} of {lost + report.requests} requests failed{within} ({causes}),"
            f" and {self.task.failures:.2%} may",
        )

    def _not_grown(self, life: Life, scenario: Scenario) -> None:
        grown, most = life.grown, self.task.server.growth_bytes
        if grown > most:
            raise CandidateFailed(
                Status.leaked,
                f"after scenario {scenario.name} the server holds {grown >> 20} MiB more than before it was loaded,"
                f" and {most >> 20} MiB may be",
            )
        if life.grown_gpu > (most := self.task.server.gpu_growth_bytes):
            raise CandidateFailed(
                Status.leaked,
                f"after scenario {scenario.name} the server holds {life.grown_gpu >> 20} MiB more of the GPU's memory"
                f" than when it was warm, and {most >> 20} MiB may be",
            )


def _fit_for_a_standard(told: Answers, task: ServingTask) -> None:
    """Raise TaskAtFault where a baseline's answers cannot judge anybody."""
    rule = task.parity
    if not any(answer.tokens for answer in told.alone):
        raise TaskAtFault("the baseline answers every prompt with nothing.", "Mend the server or its model.")
    if rule.mode == "logprobs" and not all(answer.logprobs for answer in told.alone):
        raise TaskAtFault("the server gives no log-probabilities.", 'Write parity.mode = "tokens".')
    if (said := problem(held_against(told, told, rule), rule)) is not None:
        remedy = "Lower parity.matched, or make answers independent of batches."
        raise TaskAtFault(f"the baseline itself does not answer alike: {said}.", remedy)
