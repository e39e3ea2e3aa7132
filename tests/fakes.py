"""Fakes of the contracts: a task of each kind, candidates, and a crew whose measurements are scripted.

The scripted time of a candidate is a pure function of its parameters, so a campaign's history can be compared with
another's to the last bit.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from pathlib import Path

from warpsmith.model.base import digest, digest_bytes
from warpsmith.model.campaign import Budget, Campaign, Finished, Submitted
from warpsmith.model.candidate import Candidate, SourceFile
from warpsmith.model.captured import CAPTURE, Capture, Content, Launched, Original
from warpsmith.model.evaluation import Evaluation, Metric, Status, Trust, WorkloadResult
from warpsmith.model.harness import CommandTask, Reported, Scenario, Server, ServingTask
from warpsmith.model.head import Direction, Guardrail, Objective, TaskHead, Workload
from warpsmith.model.profile import Profile
from warpsmith.model.space import Space, Tunable
from warpsmith.model.step import Explain, Fault, Measure, Outcome, Propose, Step
from warpsmith.model.target import Target
from warpsmith.model.task import AppTask, Argument, Dtype, KernelTask, Role, task_digest
from warpsmith.propose import Proposer
from warpsmith.propose.sweep import Sweep
from warpsmith.store.history import History

TARGET = Target(hardware="cpu", device="scripted", architecture="none")
SPACE = Space(
    tunables={
        "TILE": Tunable(values=(1, 2, 4, 8, 16), default=1),
        "UNROLL": Tunable(values=(1, 2, 4), default=1),
    },
    constraints=("TILE * UNROLL <= 32",),
)


def workloads(*names: str) -> tuple[Workload, ...]:
    return tuple(Workload(name=n, axes={"N": 8}) for n in names)


KERNEL = KernelTask(
    name="fake/kernel",
    title="kernel",
    hardware="cpu",
    contract="host",
    arguments=(Argument(name="y", role=Role.output, dtype=Dtype.f32, shape=("N",)),),
    bytes="4 * N",
    workloads=workloads("small", "large"),
)
APP = AppTask(
    name="fake/app",
    title="app",
    hardware="cpu",
    contract="host",
    arguments=(Argument(name="y", role=Role.output, dtype=Dtype.f32, shape=("N",)),),
    bytes="4 * N",
    workloads=(Workload(name="seen", axes={"N": 16, CAPTURE: 0}),),
    original=Original(symbol="k", name="k"),
    launches=(
        Launched(
            grid=(1, 1, 1), block=(1, 1, 1), contents={"y": Content(before="0" * 64, bytes=64)}, pointers=(),
        ),
    ),
    capture=Capture(command=("app",), at="2026-01-01T00:00:00Z", covered=1.0, configurations_seen=1, bytes=64),
)  # fmt: skip
COMMAND = CommandTask(
    name="fake/command",
    title="command",
    hardware="cpu",
    command=("./bench",),
    metrics={"images_per_s": Reported(unit="image/s", direction=Direction.maximize)},
    objective=Objective(metric="images_per_s", direction=Direction.maximize),
    workloads=workloads("harness"),
)
SERVING = ServingTask(
    name="fake/serving",
    title="serving",
    hardware="cpu",
    server=Server(backend="mock"),
    scenarios=(Scenario(name="single", requests=8, concurrency=1), Scenario(name="batch16", requests=64, rate=50.0)),
    objective=Objective(metric="batch16.tok_s", direction=Direction.maximize),
    guardrails=(Guardrail(metric="single.ttft_p99", limit=0.05),),
    workloads=workloads("suite"),
)
KINDS: dict[str, TaskHead] = {"kernel": KERNEL, "app": APP, "command": COMMAND, "serving": SERVING}


def candidate(text: str, space: Space | None = None, **parameters: int) -> Candidate:
    """A candidate whose only source is ``text``."""
    source = SourceFile(path="k.c", content=digest_bytes(text.encode()))
    return Candidate(toolchain="c", entry="k", sources=(source,), parameters=parameters, space=space or Space())


BASELINE = candidate("baseline")
ENTRY = candidate("entry", SPACE, **SPACE.defaults)


def campaign(task: TaskHead, **changes: object) -> Campaign:
    """A campaign on ``task`` with the sweep."""
    fields = {
        "tag": "main",
        "task_name": task.name,
        "task": task_digest(task, {}),
        "target": TARGET,
        "judge": "fake",
        "proposer": "sweep",
        "budget": Budget(rounds=6, patience=6),
        "seed": 7,
        "baseline": BASELINE.id,
        "entry": ENTRY.id,
        "weights": {w.name: w.weight for w in task.workloads},
        "objective": task.objective,
        "guardrails": task.guardrails,
        "min_gain": task.gate.min_gain,
        "noise_floor": 0.0,
        **changes,
    }
    return Campaign.model_validate(fields)


def scripted_time(c: Candidate) -> float:
    """Seconds: the baseline takes 1, the entry less with larger tiles, best at TILE=8, UNROLL=2."""
    if not c.parameters:
        return 1.0
    tile, unroll = c.parameters["TILE"], c.parameters["UNROLL"]
    return 0.5 + 0.05 * abs(tile - 8) + 0.03 * abs(unroll - 2)


class FakeCrew:
    """Carries steps out at once, in order. ``fail`` may turn a measurement into any outcome."""

    def __init__(
        self,
        task: TaskHead,
        free: int = 1,
        fail: Callable[[Measure], Outcome | None] = lambda step: None,
        proposer: Proposer | None = None,
        time_of: Callable[[Candidate], float] = scripted_time,
        submissions: list[Submitted] | None = None,
    ) -> None:
        self.task = task
        self.slots = free
        self.fail = fail
        self.proposer = proposer or Sweep()
        self.time_of = time_of
        self.waiting: deque[tuple[Step, History]] = deque()
        self.carried_out: list[Step] = []
        self.submissions = submissions or []

    @property
    def free(self) -> int:
        return self.slots - sum(not isinstance(s, Propose) for s, _ in self.waiting)

    def submit(self, step: Step, history: History) -> None:
        self.waiting.append((step, history))

    def arrived(self) -> list[Submitted]:
        taken, self.submissions = self.submissions, []
        return taken

    def next(self) -> Finished:
        step, history = self.waiting.popleft()
        self.carried_out.append(step)
        return Finished(step=step, outcome=self._outcome(step, history), seconds=1.0, at=0.0)

    def _outcome(self, step: Step, history: History) -> Outcome:
        if isinstance(step, Propose):
            return self.proposer.propose(step, history)
        if isinstance(step, Explain):
            return Profile(candidate=step.candidate, tool="fake")
        return self.fail(step) or measured(self.task, step, history, self.time_of)


def measured(
    task: TaskHead, step: Measure, history: History, time_of: Callable[[Candidate], float] = scripted_time
) -> Evaluation:
    """A passed evaluation with scripted samples, jittered by a hash of the pairing (never by a clock)."""
    mine = time_of(history.candidates[step.candidate])
    other = time_of(history.candidates[step.rival])
    rng = random.Random(digest([step.candidate, step.rival, step.effort]))

    def metric(name: str, unit: str, direction: Direction) -> Metric:
        flip = (lambda t: t) if direction is Direction.minimize else (lambda t: 1 / t)
        pairs = range(step.effort.pairs)
        return Metric(
            name=name,
            unit=unit,
            direction=direction,
            candidate=tuple(flip(mine * (1 + 0.0005 * rng.random())) for _ in pairs),
            rival=tuple(flip(other * (1 + 0.0005 * rng.random())) for _ in pairs),
        )

    metrics = [metric(task.objective.metric, "?", task.objective.direction)]
    metrics += [metric(g.metric, "s", g.direction) for g in task.guardrails]
    harness = isinstance(task, CommandTask | ServingTask)
    return Evaluation(
        task=task_digest(task, {}),
        candidate=step.candidate,
        rival=step.rival,
        target=TARGET.key,
        judge="fake",
        effort=step.effort,
        trust=Trust.harness_reported if harness else Trust.judged,
        status=Status.passed,
        workloads=tuple(
            WorkloadResult(workload=w.name, status=Status.passed, metrics=tuple(metrics)) for w in task.workloads
        ),
    )


def failed(task: TaskHead, step: Measure, status: Status, detail: str = "scripted") -> Evaluation:
    """An evaluation that ended in ``status``."""
    return Evaluation(
        task=task_digest(task, {}),
        candidate=step.candidate,
        rival=step.rival,
        target=TARGET.key,
        judge="fake",
        effort=step.effort,
        status=status,
        detail=detail,
    )


FAULT = Fault(what="the judge died")


def ledger_path(folder: Path) -> Path:
    return folder / "ledger.jsonl"
