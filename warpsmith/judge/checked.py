"""What calls must show: outputs near the oracle, the same bits when called again, at most twice the baseline's error.

kernel.py says which side is called on which inputs, and who is blamed.
"""

from __future__ import annotations

from warpsmith.judge.evidence import Seen, Side, SideFailed
from warpsmith.judge.failures import CandidateFailed
from warpsmith.judge.numeric import Array, Numeric
from warpsmith.judge.oracle import Oracle
from warpsmith.judge.verify import Verdict, verify
from warpsmith.model.evaluation import Status, TensorError
from warpsmith.model.task import Argument, KernelTask

Errors = dict[str, TensorError]
"""What one call missed, by output."""


class Checks:
    """The checks of one measurement. ``seen`` takes what is found of the candidate, a record per workload."""

    def __init__(
        self, oracle: Oracle, numeric: Numeric, seen: list[Seen], candidate: Side, baseline: Side | None
    ) -> None:
        self.task: KernelTask = oracle.task
        self.oracle = oracle
        self.numeric = numeric
        self.seen = seen
        self.candidate = candidate
        self.baseline = baseline

    def call(
        self, side: Side, index: int, inputs: dict[str, Array], expected: dict[str, Array], *, timed: bool
    ) -> tuple[float, Errors]:
        """One call whose outputs are verified; seconds and errors. Raises CandidateFailed."""
        seconds = side.live.call(index, inputs, timed=timed)
        seen = self.seen[index] if side is self.candidate else None
        errors = self.outputs(side.live.outputs(index), expected, seen)
        if seen is not None:
            seen.calls += 1
        return seconds, errors

    def again(self, side: Side, index: int, inputs: dict[str, Array]) -> float:
        """Call again on the same inputs: the outputs must be the same to the bit. Raises CandidateFailed."""
        xp = self.numeric.xp
        before = {name: xp.asarray(value, copy=True) for name, value in side.live.outputs(index).items()}
        seconds = side.live.call(index, inputs, timed=False)
        self.seen[index].calls += 1
        for name, value in side.live.outputs(index).items():
            if not self.numeric.same_bits(before[name], value):
                raise CandidateFailed(Status.nondeterministic, f"{name} differs between two calls on the same inputs")
        return seconds

    def outputs(self, outputs: dict[str, Array], expected: dict[str, Array], seen: Seen | None = None) -> Errors:
        """What the outputs miss, also noted in ``seen``. Raises CandidateFailed where it is too much."""
        errors: Errors = {}
        for argument in self.oracle.outputs:
            verdict = self.verdict(argument, outputs[argument.name], expected)
            errors[argument.name] = verdict.error
            if seen is not None:
                seen.keep_worst(verdict.error)
            if verdict.wrong:
                raise CandidateFailed(Status.wrong_values, verdict.wrong)
        return errors

    def verdict(self, argument: Argument, output: Array, expected: dict[str, Array]) -> Verdict:
        """One output beside what was expected of it."""
        return verify(output, expected[argument.name], argument, self.numeric, self.task.tolerance.relative_rms)

    def compare(self, index: int, family: str, found: dict[int, Errors]) -> None:
        """Hold the candidate to twice the error of the baseline, where both met the same inputs; ``found`` is by the
        ``id`` of a side. Raises SideFailed.
        """
        if self.baseline is None or self.baseline is self.candidate or id(self.baseline) not in found:
            return
        mine, theirs = found[id(self.candidate)], found[id(self.baseline)]
        for name, bound in self.seen[index].bounds.items():
            wrong = bound.see(family, mine[name], theirs[name], pooled=family in ("normal", "timed"))
            if wrong:
                raise self._failed(index, wrong)

    def end(self) -> None:
        """The same for what only all calls together can tell. Raises SideFailed."""
        for index, seen in enumerate(self.seen):
            for name, bound in seen.bounds.items():
                if name in seen.errors and (wrong := bound.end(seen.errors[name])):
                    raise self._failed(index, wrong)

    def _failed(self, index: int, wrong: str) -> SideFailed:
        failure = CandidateFailed(Status.wrong_values, wrong)
        return SideFailed(self.candidate, failure, self.task.workloads[index])
