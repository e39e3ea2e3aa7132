"""What the two contracts have in common: a bench makes runners, a runner calls one candidate. Protocols only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from warpsmith.judge.numeric import Array, Numeric
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import SanitizerFinding
from warpsmith.model.head import Workload
from warpsmith.model.step import Request
from warpsmith.model.target import Target
from warpsmith.model.task import KernelTask
from warpsmith.toolchains.cache import Built


class Runner(Protocol):
    """One candidate, loaded in a process that is not the judge's."""

    def restart(self) -> None:
        """A fresh process. Raises CandidateFailed or WorkerLost."""

    def call(self, workload: int, inputs: dict[str, Array], *, timed: bool) -> float:
        """One call on fresh inputs from poisoned outputs; seconds. Raises CandidateFailed or WorkerLost."""

    def disturbed(self) -> str:
        """Why the time of the last timed call cannot be trusted (others had the core, clocks were lowered), empty where
        it can: the round is then taken again (disturbance.py). It must not depend on how long the call took.
        """

    def outputs(self, workload: int) -> dict[str, Array]:
        """The outputs of the last call, by name."""

    def kernels(self) -> dict[str, dict[str, int]]:
        """Facts of the loaded kernels that only the device knows, by kernel name."""

    def close(self) -> None:
        """End the process and give back its memory."""


class SanitizedRunner(Runner, Protocol):
    """A runner whose process runs under tools that look for mistakes; see sanitize.py."""

    @property
    def tools(self) -> tuple[str, ...]:
        """Their names."""

    def report(self) -> dict[str, tuple[SanitizerFinding, ...] | str]:
        """Have the process make its planted mistakes, and end it: by tool what it found of the candidate, or why it
        cannot say. Raises WorkerLost.
        """


class Bench(Protocol):
    """A contract: how runners are made, and what its evidence must say."""

    @property
    def numeric(self) -> Numeric:
        """The array library of the oracle."""

    @property
    def conditions(self) -> tuple[str, ...]:
        """What a reader of the evidence must know."""

    def start(
        self, candidate: Candidate, built: Built, folder: Path, hidden: tuple[Workload, ...] | None = None
    ) -> Runner:
        """A runner, not yet started: over the task's workloads, or over ``hidden`` ones, whose buffers are aligned to
        what the task declares and to no more.
        """

    def sanitized(
        self, candidate: Candidate, built: Built, folder: Path, workloads: tuple[Workload, ...], tools: tuple[str, ...]
    ) -> Iterable[SanitizedRunner]:
        """Runners, not yet started, that together run ``workloads`` under every one of ``tools``; each is closed before
        the next is asked for. Raises Missing where the tools are not there, and BuildFailed where they cannot be had.
        """

    def copy(self, workload: int) -> tuple[float, int, str]:
        """Seconds, bytes (read plus written) and method of a trusted copy of the workload's traffic, cold."""

    def close(self) -> None:
        """Give everything back."""


BenchFactory = Callable[[KernelTask, Target, Path, Request], Bench]
