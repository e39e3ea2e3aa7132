"""The judge of captured kernels: that of kernel tasks, with the original as its oracle and captured contents as inputs.

The three invariants hold as they do there: each timed call gets contents never seen before (made of captured ones, and
within their range), each output begins with content that is no answer and is verified by a process that runs no
candidate, and the clock is outside. The rule of twice the baseline's error has no meaning beside the original itself.
"""

from __future__ import annotations

from pathlib import Path

from warpsmith.errors import BuildFailed, TaskAtFault, WarpsmithError
from warpsmith.judge.appinputs import CapturedInputs
from warpsmith.judge.apporacle import OriginalChecks, OriginalOracle, admit, replay
from warpsmith.judge.contract import Bench, BenchFactory
from warpsmith.judge.evidence import Side, SideFailed
from warpsmith.judge.failures import CandidateFailed, Kills
from warpsmith.judge.kernel import KernelJudge
from warpsmith.model.evaluation import Evaluation
from warpsmith.model.step import Request
from warpsmith.model.task import AppTask
from warpsmith.toolchains.cache import build

KEPT = "contents: as captured in every call, since nothing in them can be varied"
VARIED = "contents: made of captured ones anew for every call, within their range"


class AppJudge(KernelJudge):
    """One measurement of an app task."""

    task: AppTask
    oracle: OriginalOracle
    inputs: CapturedInputs
    checks: OriginalChecks

    def __init__(self, request: Request, folder: Path, make_bench: BenchFactory, kills: Kills | None = None) -> None:
        if request.baseline is None or not request.fixtures:
            raise WarpsmithError("an app task is judged beside its original and fixtures, and the request names none.")
        self.original = Side(request.baseline, folder / "baseline")
        self.said: list[str] = []
        super().__init__(request, folder, make_bench, kills)

    def _baseline(self) -> Side | None:
        """None: the original is the oracle itself, and has no error."""
        return None

    def _prepare(self, bench: Bench) -> None:
        cache = Path(self.request.cache) / "build"
        original = self.original
        try:
            at = (original.candidate, original.folder, self.request.target)
            original.built = build(*at, "release", cache, self.task)
            original.runner = bench.start(original.candidate, original.built, original.folder)
            original.runner.restart()
        except (BuildFailed, CandidateFailed) as error:
            raise TaskAtFault(f"the original cannot be launched here: {error}.") from None
        self.oracle = OriginalOracle(self.task, bench.numeric, original.runner)
        self.checks = OriginalChecks(self.task, self.oracle, bench.numeric, self.seen, self.candidate)
        self.inputs = CapturedInputs(self.task, bench.numeric, self.rng.getrandbits(62), Path(self.request.fixtures))
        self.said.append(VARIED if self.inputs.vary else KEPT)

    def _admit(self) -> None:
        self.said.append(replay(self.task, self.oracle, self.checks, self.inputs))
        if self.inputs.vary:
            admit(self.task, self.oracle, self.checks, self.inputs)

    def _end(self) -> None:
        if self.original.runner is not None:
            self.original.runner.close()
        super()._end()

    def _evaluation(self, failed: SideFailed | None) -> Evaluation:
        made = super()._evaluation(failed)
        return made.model_copy(update={"conditions": (*made.conditions, *self.said)})
