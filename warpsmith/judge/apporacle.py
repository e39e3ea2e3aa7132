"""What is right for a captured kernel: what the original gives, run by a trusted process on the same contents.

A buffer is compared where the original changed it, by the limits of its dtype; where it did not, it must stay as it
was.
"""

from __future__ import annotations

from collections.abc import Iterator

from warpsmith.errors import TaskAtFault
from warpsmith.judge.appinputs import CapturedInputs
from warpsmith.judge.checked import Checks
from warpsmith.judge.contract import Runner
from warpsmith.judge.evidence import Seen, Side
from warpsmith.judge.failures import CandidateFailed, WorkerKilled
from warpsmith.judge.numeric import Array, Numeric
from warpsmith.judge.oracle import Oracle
from warpsmith.judge.verify import ELEMENT_FACTOR, Verdict, verify
from warpsmith.model.captured import CAPTURE, CLOSE, IDENTICAL
from warpsmith.model.evaluation import TensorError
from warpsmith.model.head import Workload
from warpsmith.model.task import RELATIVE_RMS_LIMIT, AppTask, Argument, Role

ROW = 256
"""Changed elements that are looked at together: captured buffers have no rows of their own."""


class Expected(dict[str, Array]):
    """The original's outputs by name, as it stores them, with what they began with."""

    def __init__(self, outputs: dict[str, Array], began: dict[str, Array]) -> None:
        super().__init__(outputs)
        self.began = began


class OriginalOracle(Oracle):
    """The original, in a process that runs no candidate."""

    def __init__(self, task: AppTask, numeric: Numeric, runner: Runner) -> None:
        self.task = task
        self.numeric = numeric
        self.runner = runner
        self.outputs = [a for a in task.arguments if a.role is Role.output]

    def expect(self, workload: Workload, inputs: dict[str, Array]) -> dict[str, Array]:
        """What the original makes of ``inputs``. Raises TaskAtFault where it fails, which on captured contents it must
        not.
        """
        launch = workload.axes[CAPTURE]
        index = next(i for i, w in enumerate(self.task.workloads) if w.axes[CAPTURE] == launch)
        try:
            self.runner.call(index, inputs, timed=False)
        except (CandidateFailed, WorkerKilled) as failed:
            raise TaskAtFault(
                f"the original fails on workload {workload.name!r}: {failed}.",
                'Contents that were varied may break it: name the buffer under [variations], with "kept".',
            ) from None
        xp = self.numeric.xp
        outputs = {name: xp.asarray(value, copy=True) for name, value in self.runner.outputs(index).items()}
        return Expected(outputs, {name: inputs[name] for name in outputs})


class OriginalChecks(Checks):
    """Checks beside the original's own outputs."""

    task: AppTask

    def __init__(
        self, task: AppTask, oracle: OriginalOracle, numeric: Numeric, seen: list[Seen], candidate: Side
    ) -> None:
        super().__init__(oracle, numeric, seen, candidate, None)
        self.task = task

    def again(self, side: Side, index: int, inputs: dict[str, Array]) -> float:
        """Call again on the same contents: the same to the bit where the original is so, else within the tolerance."""
        if self.task.deterministic:
            return super().again(side, index, inputs)
        xp = self.numeric.xp
        outputs = {name: xp.asarray(value, copy=True) for name, value in side.live.outputs(index).items()}
        seconds = side.live.call(index, inputs, timed=False)
        self.seen[index].calls += 1
        self.outputs(side.live.outputs(index), Expected(outputs, {name: inputs[name] for name in outputs}))
        return seconds

    def verdict(self, argument: Argument, output: Array, expected: dict[str, Array]) -> Verdict:
        """One buffer beside the original's, with what both began with."""
        assert isinstance(expected, Expected)
        return self.compare_one(output, expected[argument.name], expected.began[argument.name], argument)

    def compare_one(self, output: Array, wanted: Array, began: Array, argument: Argument) -> Verdict:
        """The same for any three contents of a buffer: what it is, what it should be, what it was."""
        xp, numeric = self.numeric.xp, self.numeric
        limit = self.task.tolerance.relative_rms
        allowed = limit if limit is not None else RELATIVE_RMS_LIMIT.get(argument.element.value, 0.0)
        exact = TensorError(tensor=argument.name, relative_rms=0.0, worst_row=0.0, limit=allowed, matched=1.0)
        if numeric.same_bits(output, wanted):
            return Verdict(exact, "")
        words = [_words(a, argument.element.itemsize, xp) for a in (output, wanted, began)]
        differs, changed = words[0] != words[1], words[1] != words[2]
        share = numeric.number(xp.mean(xp.astype(differs, xp.float64)))
        if self.task.match == "bits" or not argument.element.is_float:
            error = exact.model_copy(update={"matched": 1 - share})
            return Verdict(error, f"{argument.name}: {share:.2%} of the elements differ from the original's")
        # what the original wrote again as it was may be rounded otherwise; what it never touched is garbage to nobody
        near = numeric.f64(output) - numeric.f64(wanted)
        near = xp.abs(near) <= ELEMENT_FACTOR * allowed * xp.abs(numeric.f64(wanted))
        touched = differs & ~changed & ~near
        if bool(xp.any(touched)):
            count = int(numeric.number(xp.sum(xp.astype(touched, xp.float64))))
            error = exact.model_copy(update={"matched": 1 - share})
            return Verdict(
                error, f"{argument.name}: {count} elements that the original leaves as they are were changed"
            )
        return self._close(output[changed], wanted[changed], argument)

    def _close(self, output: Array, wanted: Array, argument: Argument) -> Verdict:
        """Elements that the original changed, in rows of ROW and what is left over."""
        count = int(wanted.shape[0])
        whole = count // ROW * ROW
        found = []
        for begin, end in ((0, whole), (whole, count)):
            if begin < end:
                shape = (-1, ROW) if end == whole else (1, -1)
                out, ref = output[begin:end].reshape(shape), self.numeric.f64(wanted[begin:end]).reshape(shape)
                found.append(verify(out, ref, argument, self.numeric, self.task.tolerance.relative_rms))
        if not found:
            zero = TensorError(tensor=argument.name, relative_rms=0.0, worst_row=0.0, limit=0.0, matched=1.0)
            return Verdict(zero, "")
        return max(found, key=lambda v: (bool(v.wrong), v.error.relative_rms))


def admit(task: AppTask, oracle: OriginalOracle, checks: OriginalChecks, inputs: CapturedInputs) -> None:
    """Raise TaskAtFault where an answer passes that computes nothing: nothing written, or zeros; and where the original
    writes nothing.
    """
    for workload in task.workloads:
        given = inputs.draw(workload)
        expected = oracle.expect(workload, given)
        assert isinstance(expected, Expected)
        for trick, outputs in _tricks(expected, checks.numeric):
            try:
                checks.outputs(outputs, expected)
            except CandidateFailed:
                continue
            raise TaskAtFault(
                f"workload {workload.name!r}: {trick} would pass, so the task cannot tell who does the work.",
                "Capture another launch, or take this workload out.",
            )


def _tricks(expected: Expected, numeric: Numeric) -> Iterator[tuple[str, dict[str, Array]]]:
    xp = numeric.xp
    yield "an answer that writes nothing", expected.began
    yield "an answer of zeros", {name: xp.zeros_like(value) for name, value in expected.items()}


def replay(task: AppTask, oracle: OriginalOracle, checks: OriginalChecks, inputs: CapturedInputs) -> str:
    """The original on exactly what was captured, beside what the application had afterwards: a condition that begins
    with IDENTICAL or CLOSE. Raises TaskAtFault where it gives something else.
    """
    identical = True
    for workload in task.workloads:
        given = inputs.draw(workload, "captured")
        got = oracle.expect(workload, given)
        for argument in oracle.outputs:
            had = inputs.captured(workload, argument, after=True)
            if checks.numeric.same_bits(got[argument.name], had):
                continue
            identical = False
            verdict = checks.compare_one(got[argument.name], had, given[argument.name], argument)
            if verdict.wrong or task.deterministic:
                said = verdict.wrong or f"{argument.name} differs in its last bits"
                raise TaskAtFault(
                    f"the original, replayed on what was captured of workload {workload.name!r}, gives something else"
                    f" than in the application: {said}.",
                    "It may read what no parameter points to, or buffers that were cut: raise --buffer-limit.",
                )
    return f"{IDENTICAL if identical else CLOSE} ({len(task.workloads)} launches)"


def _words(values: Array, width: int, xp: object) -> Array:
    """The same memory as integers of that many bytes."""
    return values.view(getattr(xp, f"int{8 * width}"))
