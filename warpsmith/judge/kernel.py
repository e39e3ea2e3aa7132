"""The judge of kernel tasks: build, verify, time in pairs. The same for both contracts; those differ in their bench.

Phases of one measurement: both sides are built, started, verified on hidden families of inputs, then timed in
interleaved pairs whose every output is verified as well. A screen keeps its two processes; from confirm on every pair
runs in processes of its own.
"""

from __future__ import annotations

import importlib.util
import inspect
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from warpsmith.errors import BuildFailed, WarpsmithError
from warpsmith.judge import VERSION
from warpsmith.judge.failures import CandidateFailed
from warpsmith.judge.inputs import FAMILIES, HiddenInputs
from warpsmith.judge.numeric import Array, Numeric
from warpsmith.judge.verify import verify
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import (
    Build,
    Ceiling,
    Effort,
    Evaluation,
    Metric,
    Status,
    TensorError,
    WorkloadResult,
)
from warpsmith.model.step import Request
from warpsmith.model.target import Target
from warpsmith.model.task import Direction, KernelTask, Role, Workload
from warpsmith.toolchains.cache import Built, build

SAMPLE_S = 0.010
"""Timed calls of one workload are repeated within a pair until they fill about this long."""
MOST_CALLS = 7
"""Timed calls of one workload within a pair, at most; the median of them is the pair's sample."""
LEAST_CALLS_OF_PROOF = 3
"""Timed calls within a pair from confirm on, at least: a median of fewer does not shed an outlier."""


class Runner(Protocol):
    """One candidate, loaded in a process that is not the judge's."""

    def restart(self) -> None:
        """A fresh process. Raises CandidateFailed or WorkerLost."""

    def call(self, workload: int, inputs: dict[str, Array], *, timed: bool) -> float:
        """One call on fresh inputs from poisoned outputs; seconds. Raises CandidateFailed or WorkerLost."""

    def outputs(self, workload: int) -> dict[str, Array]:
        """The outputs of the last call, by name."""

    def kernels(self) -> dict[str, dict[str, int]]:
        """Facts of the loaded kernels that only the device knows, by kernel name."""

    def close(self) -> None:
        """End the process and give back its memory."""


class Bench(Protocol):
    """A contract: how runners are made, and what its evidence must say."""

    @property
    def numeric(self) -> Numeric:
        """The array library of the oracle."""

    @property
    def conditions(self) -> tuple[str, ...]:
        """What a reader of the evidence must know."""

    def start(self, candidate: Candidate, built: Built, folder: Path) -> Runner:
        """A runner, not yet started."""

    def copy(self, workload: int) -> tuple[float, int, str]:
        """Seconds, bytes (read plus written) and method of a trusted copy of the workload's traffic, cold."""

    def close(self) -> None:
        """Give everything back."""


BenchFactory = Callable[[KernelTask, Target, Path, Request], Bench]


class Oracle:
    """The task's float64 reference over an array-API namespace."""

    def __init__(self, task: KernelTask, folder: Path, numeric: Numeric) -> None:
        self.task = task
        self.numeric = numeric
        path = folder / task.reference
        spec = importlib.util.spec_from_file_location(f"reference_{abs(hash(path))}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
            self.function = module.reference
        except Exception as error:  # the task author's code: whatever it raises is reported as theirs
            raise WarpsmithError(f"{task.reference} cannot be loaded: {type(error).__name__}: {error}.") from error
        self.wanted = set(inspect.signature(self.function).parameters) - {"xp"}
        self.outputs = [a for a in task.arguments if a.role is Role.output]

    def expect(self, workload: Workload, inputs: dict[str, Array]) -> dict[str, Array]:
        """The float64 outputs. Raises WarpsmithError naming the reference where it fails or gives another shape."""
        known: dict[str, Any] = {**workload.axes}
        for argument in self.task.arguments:
            if argument.role is Role.scalar:
                known[argument.name] = self.task.scalar(argument, workload)
        known |= {name: self.numeric.f64(value) for name, value in inputs.items() if name in self.wanted}
        try:
            given = self.function(self.numeric.xp, **{n: v for n, v in known.items() if n in self.wanted})
        except Exception as error:
            raise WarpsmithError(f"{self.task.reference} fails: {type(error).__name__}: {error}.") from error
        results = given if isinstance(given, dict) else {self.outputs[0].name: given}
        for output in self.outputs:
            shape = tuple(getattr(results.get(output.name), "shape", ()))
            if output.name not in results or shape != output.extent(workload.axes):
                wanted = output.extent(workload.axes)
                raise WarpsmithError(f"{self.task.reference}: {output.name} has shape {shape}, expected {wanted}.")
        return results


@dataclass
class Side:
    """One of the two candidates under measurement."""

    candidate: Candidate
    folder: Path
    built: Built | None = None
    runner: Runner | None = None

    @property
    def live(self) -> Runner:
        """The runner, which exists from the second phase on."""
        assert self.runner is not None
        return self.runner


class SideFailed(Exception):
    """A side failed, on a workload or before any."""

    def __init__(self, side: Side, failure: CandidateFailed, workload: Workload | None) -> None:
        super().__init__(str(failure))
        self.side = side
        self.failure = failure
        self.workload = workload


@dataclass
class Seen:
    """What was found so far of one workload."""

    calls: int = 0
    errors: dict[str, TensorError] = field(default_factory=dict)
    repeats: int = 1
    candidate: list[float] = field(default_factory=list)
    rival: list[float] = field(default_factory=list)
    copies: list[float] = field(default_factory=list)
    copied: tuple[int, str] = (0, "")

    def worst(self, error: TensorError) -> None:
        """Keep the larger errors."""
        old = self.errors.get(error.tensor, error)
        self.errors[error.tensor] = error.model_copy(
            update={
                "relative_rms": max(error.relative_rms, old.relative_rms),
                "worst_row": max(error.worst_row, old.worst_row),
                "matched": min(error.matched, old.matched),
            }
        )


class KernelJudge:
    """One measurement of a kernel task."""

    def __init__(self, request: Request, folder: Path, make_bench: BenchFactory) -> None:
        assert isinstance(request.task, KernelTask)
        self.request = request
        self.task = request.task
        self.folder = folder
        self.make_bench = make_bench
        self.rng = random.SystemRandom()  # the seed of hidden inputs exists nowhere but here
        self.candidate = Side(request.candidate, folder / "candidate")
        self.rival = Side(request.rival, folder / "rival")
        self.seen = [Seen() for _ in self.task.workloads]
        self.phases: dict[str, float] = {}
        self.effort = request.step.effort
        self.bench: Bench | None = None

    def judge(self) -> Evaluation:
        """Carry the measurement out. Raises WorkerLost, and WarpsmithError for a task that cannot be judged."""
        try:
            with self._phase("build"):
                self._build()
            self.bench = self.make_bench(self.task, self.request.target, self.folder / "scratch", self.request)
            self.oracle = Oracle(self.task, self.folder / "task", self.bench.numeric)
            self.inputs = HiddenInputs(self.task, self.bench.numeric, self.rng.getrandbits(62))
            with self._phase("start"):
                for side in self._sides():
                    assert side.built is not None
                    side.runner = self.bench.start(side.candidate, side.built, side.folder)
                    self._restart(side)
            with self._phase("verify"):
                self._verify()
            with self._phase("time"):
                self._time()
        except SideFailed as failed:
            return self._evaluation(failed)
        finally:
            for side in self._sides():
                if side.runner is not None:
                    side.runner.close()
            if self.bench is not None:
                self.bench.close()
        return self._evaluation(None)

    def _sides(self) -> tuple[Side, ...]:
        return (self.candidate,) if self.effort is Effort.check else (self.candidate, self.rival)

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.phases[name] = self.phases.get(name, 0.0) + time.monotonic() - began

    @contextmanager
    def _blame(self, side: Side, workload: Workload | None = None) -> Iterator[None]:
        try:
            yield
        except CandidateFailed as failure:
            raise SideFailed(side, failure, workload) from None

    def _build(self) -> None:
        for side in self._sides():
            if side.candidate.id == self.candidate.candidate.id and self.candidate.built is not None:
                side.built = self.candidate.built
                continue
            try:
                side.built = build(
                    side.candidate,
                    side.folder,
                    self.request.target,
                    self.request.configuration,
                    Path(self.request.cache) / "build",
                )
            except BuildFailed as error:
                tail = error.log[-1500:]
                detail = f"{error.message}\n{tail}" if tail else error.message
                raise SideFailed(side, CandidateFailed(Status.build_failed, detail), None) from None

    def _restart(self, side: Side) -> None:
        with self._blame(side):
            side.live.restart()

    def _families(self) -> list[str]:
        """All families at a check and from confirm on; normal and one hidden choice at a screen."""
        others = sorted(set(FAMILIES) - {"normal"})
        return ["normal", self.rng.choice(others)] if self.effort is Effort.screen else ["normal", *others]

    def _verify(self) -> None:
        for index, workload in enumerate(self.task.workloads):
            durations: list[float] = []
            for number, family in enumerate(self._families()):
                inputs = self.inputs.draw(workload, family)
                expected = self.oracle.expect(workload, inputs)
                for side in self._sides():
                    if side is self.rival and number > 0:
                        continue
                    with self._blame(side, workload):
                        durations.append(self._checked_call(side, index, inputs, expected, timed=False))
                        if number == 0 and side is self.candidate:
                            durations.append(self._repeat(side, index, inputs))
            least = LEAST_CALLS_OF_PROOF if self.effort.fresh else 1
            self.seen[index].repeats = max(least, min(MOST_CALLS, round(SAMPLE_S / max(min(durations), 1e-9))))

    def _repeat(self, side: Side, index: int, inputs: dict[str, Array]) -> float:
        """Call again on the same inputs: the outputs must be the same to the bit."""
        numeric = self._numeric()
        xp = numeric.xp
        before = {name: xp.asarray(value, copy=True) for name, value in side.live.outputs(index).items()}
        seconds = side.live.call(index, inputs, timed=False)
        self.seen[index].calls += 1
        for name, value in side.live.outputs(index).items():
            if not numeric.same_bits(before[name], value):
                raise CandidateFailed(Status.nondeterministic, f"{name} differs between two calls on the same inputs")
        return seconds

    def _checked_call(
        self, side: Side, index: int, inputs: dict[str, Array], expected: dict[str, Array], *, timed: bool
    ) -> float:
        """One call whose outputs are verified; seconds. Raises CandidateFailed."""
        seconds = side.live.call(index, inputs, timed=timed)
        outputs = side.live.outputs(index)
        for argument in self.oracle.outputs:
            verdict = verify(
                outputs[argument.name], expected[argument.name], argument, self._numeric(),
                self.task.tolerance.relative_rms,
            )  # fmt: skip
            if side is self.candidate:
                self.seen[index].worst(verdict.error)
            if verdict.wrong:
                raise CandidateFailed(Status.wrong_values, verdict.wrong)
        if side is self.candidate:
            self.seen[index].calls += 1
        return seconds

    def _time(self) -> None:
        for _ in range(self.effort.pairs):
            if self.effort.fresh:
                self._renew()
            order = list(self._sides())
            self.rng.shuffle(order)
            for index, workload in enumerate(self.task.workloads):
                self._pair(index, workload, order)

    def _renew(self) -> None:
        """Fresh processes for both sides, each warmed up by one call per workload on inputs of its own."""
        for side in self._sides():
            self._restart(side)
            for index, workload in enumerate(self.task.workloads):
                with self._blame(side, workload):
                    side.live.call(index, self.inputs.draw(workload), timed=False)

    def _pair(self, index: int, workload: Workload, order: list[Side]) -> None:
        seen = self.seen[index]
        taken: dict[int, list[float]] = {id(side): [] for side in order}
        for _ in range(seen.repeats):
            inputs = self.inputs.draw(workload)
            expected = self.oracle.expect(workload, inputs)
            for side in order:
                with self._blame(side, workload):
                    taken[id(side)].append(self._checked_call(side, index, inputs, expected, timed=True))
        seen.candidate.append(statistics.median(taken[id(self.candidate)]))
        seen.rival.append(statistics.median(taken[id(self.rival)]))
        if self.effort.fresh:
            assert self.bench is not None
            seconds, traffic, how = self.bench.copy(index)
            seen.copies.append(seconds)
            seen.copied = (traffic, how)

    def _numeric(self) -> Numeric:
        assert self.bench is not None
        return self.bench.numeric

    def _evaluation(self, failed: SideFailed | None) -> Evaluation:
        ours = failed is None or failed.side is self.candidate
        status, detail = (Status.passed, "") if failed is None else (failed.failure.status, failed.failure.detail)
        named = f"workload {failed.workload.name!r}: {detail}" if failed and failed.workload else detail
        request = self.request
        return Evaluation(
            task=request.task_digest,
            candidate=request.candidate.id,
            rival=request.rival.id,
            target=request.target.key,
            judge=VERSION,
            effort=self.effort,
            status=status,
            detail=named if ours else f"the rival failed: {named}",
            build=self._build_report(),
            workloads=self._results(failed) if ours and status is not Status.build_failed else (),
            rival_status=Status.passed if ours else status,
            rival_detail="" if ours else named,
            conditions=self.bench.conditions if self.bench else (),
        )

    def _build_report(self) -> Build | None:
        built = self.candidate.built
        if built is None:
            return None
        loaded = self.candidate.runner.kernels() if self.candidate.runner else {}
        kernels = tuple(k.model_copy(update=loaded.get(k.name, {})) for k in built.build.kernels)
        return built.build.model_copy(update={"kernels": kernels})

    def _results(self, failed: SideFailed | None) -> tuple[WorkloadResult, ...]:
        results = []
        for workload, seen in zip(self.task.workloads, self.seen, strict=True):
            errors = tuple(seen.errors.values())
            if failed is not None and failed.workload is workload:
                status, detail = failed.failure.status, failed.failure.detail
                results.append(
                    WorkloadResult(
                        workload=workload.name, status=status, detail=detail, calls=seen.calls, errors=errors
                    )
                )
            elif seen.calls and (failed is None or not seen.candidate):
                results.append(self._passed(workload, seen, errors, timed=failed is None))
        return tuple(results)

    def _passed(
        self, workload: Workload, seen: Seen, errors: tuple[TensorError, ...], *, timed: bool
    ) -> WorkloadResult:
        metrics: tuple[Metric, ...] = ()
        if timed and seen.candidate:
            mine, other = tuple(seen.candidate), tuple(seen.rival)
            metrics = (Metric(name="time", unit="s", direction=Direction.minimize, candidate=mine, rival=other),)
        traffic, how = seen.copied
        return WorkloadResult(
            workload=workload.name,
            status=Status.passed,
            calls=seen.calls,
            errors=errors,
            metrics=metrics,
            ceiling=Ceiling(bytes=traffic, seconds=tuple(seen.copies), how=how) if seen.copies else None,
        )
