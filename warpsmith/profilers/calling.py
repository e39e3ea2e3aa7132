"""One call of a runner on hidden inputs, verified: a profile of a wrong call would explain something else."""

from __future__ import annotations

import random

from warpsmith.errors import ProfilerFailed
from warpsmith.judge.contract import Runner
from warpsmith.judge.inputs import HiddenInputs
from warpsmith.judge.numeric import Numeric
from warpsmith.judge.oracle import Oracle
from warpsmith.judge.verify import verify
from warpsmith.model.task import KernelTask


class VerifiedCalls:
    """Calls on the only workload of ``task``, each on inputs of its own."""

    def __init__(self, task: KernelTask, oracle: Oracle, numeric: Numeric) -> None:
        (self.workload,) = task.workloads
        self.task = task
        self.oracle = oracle
        self.numeric = numeric
        self.inputs = HiddenInputs(task, numeric, random.SystemRandom().getrandbits(62))

    def make(self, runner: Runner, *, timed: bool = False) -> float:
        """Its seconds. Raises ProfilerFailed where the outputs are wrong, and as the runner's call does."""
        inputs = self.inputs.draw_timed(self.workload) if timed else self.inputs.draw(self.workload)
        expected = self.oracle.expect(self.workload, inputs)
        seconds = runner.call(0, inputs, timed=timed)
        outputs = runner.outputs(0)
        for argument in self.oracle.outputs:
            limit = self.task.tolerance.relative_rms
            found = verify(outputs[argument.name], expected[argument.name], argument, self.numeric, limit)
            if found.wrong:
                raise ProfilerFailed(f"under the profiler the outputs are wrong: {found.wrong}.", "Try another effort.")
        return seconds
