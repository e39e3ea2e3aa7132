"""One call of a runner on hidden inputs, verified: a profile of a wrong call would explain something else."""

from __future__ import annotations

import random
from pathlib import Path

from warpsmith.errors import BadInput, ProfilerFailed
from warpsmith.judge.appinputs import CapturedInputs
from warpsmith.judge.apporacle import OriginalChecks, OriginalOracle
from warpsmith.judge.contract import Bench, Runner
from warpsmith.judge.evidence import Side
from warpsmith.judge.inputs import HiddenInputs
from warpsmith.judge.numeric import Array, Numeric
from warpsmith.judge.oracle import Oracle
from warpsmith.judge.verify import Verdict, verify
from warpsmith.model.step import ProfileRequest
from warpsmith.model.task import AppTask, Argument, KernelTask
from warpsmith.toolchains.cache import build


class VerifiedCalls:
    """Calls on the only workload of ``task``, each on inputs of its own."""

    def __init__(self, task: KernelTask, oracle: Oracle, numeric: Numeric, inputs: HiddenInputs | None = None) -> None:
        (self.workload,) = task.workloads
        self.task = task
        self.oracle = oracle
        self.numeric = numeric
        self.inputs = inputs or HiddenInputs(task, numeric, _seed())

    def make(self, runner: Runner, *, timed: bool = False) -> float:
        """Its seconds. Raises ProfilerFailed where the outputs are wrong, and as the runner's call does."""
        inputs = self.inputs.draw_timed(self.workload) if timed else self.inputs.draw(self.workload)
        expected = self.oracle.expect(self.workload, inputs)
        seconds = runner.call(0, inputs, timed=timed)
        if wrong := self.wrong(runner.outputs(0), expected):
            raise ProfilerFailed(f"under the profiler the outputs are wrong: {wrong}.", "Try another effort.")
        return seconds

    def wrong(self, outputs: dict[str, Array], expected: dict[str, Array]) -> str:
        """What is wrong with the outputs of a call; empty where nothing is."""
        found = (self.verdict(a, outputs[a.name], expected) for a in self.oracle.outputs)
        return next((verdict.wrong for verdict in found if verdict.wrong), "")

    def verdict(self, argument: Argument, output: Array, expected: dict[str, Array]) -> Verdict:
        """One output beside what was expected of it."""
        return verify(output, expected[argument.name], argument, self.numeric, self.task.tolerance.relative_rms)

    def close(self) -> None:
        """Nothing runs that must be ended."""


class CapturedCalls(VerifiedCalls):
    """Calls of a captured kernel, on contents made of captured ones and verified beside the original, which runs."""

    def __init__(self, task: AppTask, original: Side, numeric: Numeric, fixtures: Path) -> None:
        oracle = OriginalOracle(task, numeric, original.live)
        super().__init__(task, oracle, numeric, CapturedInputs(task, numeric, _seed(), fixtures))
        self.original = original
        self.checks = OriginalChecks(task, oracle, numeric, [], original)

    def verdict(self, argument: Argument, output: Array, expected: dict[str, Array]) -> Verdict:
        """One buffer beside what the original made of the same contents."""
        return self.checks.verdict(argument, output, expected)

    def close(self) -> None:
        """End the original."""
        self.original.live.close()


def verified_calls(request: ProfileRequest, task: KernelTask, folder: Path, bench: Bench) -> VerifiedCalls:
    """Calls of ``task`` in the step's ``folder``, beside its reference or, where it was captured, its original.

    Raises BadInput for a captured task whose original or fixtures the request does not name, and BuildFailed,
    CandidateFailed or WorkerLost where the original cannot be started.
    """
    if not isinstance(task, AppTask):
        return VerifiedCalls(task, Oracle(task, folder / "task", bench.numeric), bench.numeric)
    if request.baseline is None or not request.fixtures:
        raise BadInput("a captured kernel is profiled beside its original and fixtures, and none are named.")
    original = Side(request.baseline, folder / "baseline")
    cache = Path(request.cache) / "build"
    original.built = build(original.candidate, original.folder, request.target, "release", cache, task)
    original.runner = bench.start(original.candidate, original.built, original.folder)
    original.runner.restart()
    return CapturedCalls(task, original, bench.numeric, Path(request.fixtures))


def _seed() -> int:
    return random.SystemRandom().getrandbits(62)
