"""A serving task over the mock backend, whose steps take milliseconds, and one measurement of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.fakes import TARGET
from warpsmith.crew import write_step
from warpsmith.judge.__main__ import carry_out
from warpsmith.model.candidate import OVERLAY, Candidate
from warpsmith.model.evaluation import Effort, Evaluation
from warpsmith.model.harness import Parity, Scenario, Server, ServingTask
from warpsmith.model.head import Direction, Guardrail, Objective
from warpsmith.model.step import Measure, Request, Result
from warpsmith.model.target import Target
from warpsmith.model.task import task_digest
from warpsmith.store.blobs import Blobs
from warpsmith.store.folders import workspace_digests

TASK = ServingTask(
    name="my/served",
    title="served",
    hardware="cpu",
    server=Server(backend="mock", options={"step_ms": 4.0, "max_batch": 4}, ready_s=60, drain_s=2),
    parity=Parity(prompts=2, prompt_tokens=6, output_tokens=4),
    scenarios=(
        Scenario(name="single", requests=4, warmup=1, concurrency=1, prompt_tokens=(8, 8), output_tokens=(4, 4)),
        Scenario(name="batch", requests=8, warmup=1, concurrency=4, chat=False, output_tokens=(4, 4)),
    ),
    objective=Objective(metric="batch.tok_s", direction=Direction.maximize),
    guardrails=(Guardrail(metric="single.ttft_p50", limit=0.5),),
    timeout_s=30,
)
BASELINE = Candidate(toolchain=OVERLAY, entry=OVERLAY, sources=())


def overlay(**environment: str) -> Candidate:
    """A candidate that changes the mock's knobs; ``MOCK_`` goes before each."""
    said = {f"MOCK_{name.upper()}": value for name, value in environment.items()}
    return Candidate(toolchain=OVERLAY, entry=OVERLAY, sources=(), environment=said)


def step(
    folder: Path,
    task: ServingTask,
    candidate: Candidate,
    rival: Candidate = BASELINE,
    effort: Effort = Effort.screen,
    blobs: Blobs | None = None,
    target: Target = TARGET,
) -> Path:
    """A step's folder. The task's workspace, where it has one, lies in ``folder``."""
    measure = Measure(candidate=candidate.id, rival=rival.id, effort=effort, round=0)
    request = Request(
        step=measure, task=task, task_digest=task_digest(task, workspace_digests(folder, task)), candidate=candidate,
        rival=rival, baseline=BASELINE, target=target, cache=str(folder / "cache"),
    )  # fmt: skip
    write_step(folder / "step", request, folder, blobs or Blobs(folder / "blobs"))
    return folder / "step"


def result(folder: Path, task: ServingTask, candidate: Candidate, **told: Any) -> Result:
    """What the judge leaves behind; ``told`` as in :func:`step`."""
    return carry_out(step(folder, task, candidate, **told))


def judged(folder: Path, task: ServingTask, candidate: Candidate, **told: Any) -> Evaluation:
    """The evaluation of one measurement."""
    outcome = result(folder, task, candidate, **told).outcome
    assert isinstance(outcome, Evaluation), outcome
    return outcome
