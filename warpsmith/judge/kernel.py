"""The judge of kernel tasks: build, admit, verify, time in pairs. The same for both contracts: the bench differs.

Phases of one measurement: the sides are built and started, verified on hidden families of inputs and on hidden shapes,
then timed in interleaved pairs whose every output is verified as well. A screen keeps its two processes; from confirm
on every pair runs in processes of its own. The task's baseline is a third side where it is not one of the two: its
errors set limits (bound.py).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from warpsmith.errors import BuildFailed, WarpsmithError
from warpsmith.judge.admission import admit
from warpsmith.judge.blame import Blame
from warpsmith.judge.bound import BaselineBound, can_bind
from warpsmith.judge.checked import Checks, Errors
from warpsmith.judge.contract import Bench, BenchFactory, Runner
from warpsmith.judge.deadline import Deadline
from warpsmith.judge.disturbance import Disturbance, Rounds
from warpsmith.judge.evidence import Seen, Side, SideFailed, evaluation
from warpsmith.judge.failures import CandidateFailed, Kills
from warpsmith.judge.inputs import HiddenInputs
from warpsmith.judge.oracle import Oracle
from warpsmith.judge.sanitize import failure, gate, small
from warpsmith.judge.shapes import hidden_workloads, smallest
from warpsmith.judge.turns import turns
from warpsmith.model.evaluation import Effort, Evaluation, Status
from warpsmith.model.head import Workload
from warpsmith.model.step import Request
from warpsmith.model.task import KernelTask, Role
from warpsmith.toolchains.cache import build
from warpsmith.toolchains.compiler import first_errors

SAMPLE_S = 0.010
"""Timed calls of one workload are repeated within a pair until they fill about this long."""
MOST_CALLS = 7
"""Timed calls of one workload within a pair, at most; the median of their ratios is the pair's."""
PROOF_ON_HOST = 2
"""Times as many from confirm on where a processor core is timed: neighbours that nobody sees slow single calls."""
SCREENED_ON_DEVICE = 5
"""Timed calls within a pair of a screen, at most, where a GPU's own timer counts: its times scatter little."""
LEAST_CALLS_OF_PROOF = 3
"""Timed calls within a pair from confirm on, at least: a median of fewer does not shed an outlier."""
COMPARED = 4
"""Families, chosen in secret, on which the baseline is called too; one at a screen."""


class KernelJudge:
    """One measurement of a kernel task."""

    def __init__(self, request: Request, folder: Path, make_bench: BenchFactory, kills: Kills | None = None) -> None:
        assert isinstance(request.task, KernelTask)
        self.request = request
        self.task = request.task
        self.folder = folder
        self.make_bench = make_bench
        self.rng = random.SystemRandom()  # the seed of hidden inputs exists nowhere but here
        self.effort = request.step.effort
        self.candidate = Side(request.candidate, folder / "candidate")
        self.rival = Side(request.rival, folder / "rival")
        self.baseline = self._baseline()
        own = request.baseline is not None and request.candidate.id == request.rival.id == request.baseline.id
        self.thorough = own or self.effort is not Effort.screen
        """Whether every family and the hidden shapes are met: also where the baseline is first measured."""
        self.admitting = request.admission and (own or self.effort is Effort.check)
        outputs = [a for a in self.task.arguments if a.role is Role.output]
        self.seen = [
            Seen(bounds={a.name: BaselineBound(a, a.extent(w.axes)) for a in outputs}) for w in self.task.workloads
        ]
        self.spots = [self.rng.randrange(max(1, self.effort.pairs)) for _ in self.task.workloads]
        self.hidden = self._hidden() if self.thorough else ()
        self.disturbance = Disturbance()
        self.blame = Blame(Deadline(request.limit_s, self._all_sides()), kills)
        self.bench: Bench | None = None

    def judge(self) -> Evaluation:
        """Carry the measurement out. Raises WorkerLost, and WarpsmithError for a task that cannot be judged."""
        try:
            with self.blame.phase("build"):
                self._build()
            self.bench = self.make_bench(self.task, self.request.target, self.folder / "scratch", self.request)
            self._prepare(self.bench)
            if self.admitting:
                with self.blame.phase("admit"):
                    self._admit()
            with self.blame.phase("start"):
                for side in self._all_sides():
                    side.runner = self._runner(side)
                    self._restart(side)
            with self.blame.phase("verify"):
                self._verify()
            with self.blame.phase("hidden"):
                self._verify_hidden()
            with self.blame.phase("sanitize"):
                self._sanitize()
            with self.blame.phase("time"):
                self._time()
            self.checks.end()
        except SideFailed as failed:
            return self._evaluation(failed)
        finally:
            self._end()
        return self._evaluation(None)

    def _prepare(self, bench: Bench) -> None:
        """What says which inputs there are, and which outputs are right."""
        self.oracle = Oracle(self.task, self.folder / "task", bench.numeric)
        self.checks = Checks(self.oracle, bench.numeric, self.seen, self.candidate, self.baseline)
        workloads = (*self.task.workloads, *self.hidden)
        self.inputs = HiddenInputs(self.task, bench.numeric, self.rng.getrandbits(62), workloads)

    def _admit(self) -> None:
        assert self.bench is not None
        admit(self.task, self.oracle, self.inputs, self.bench.numeric)

    def _end(self) -> None:
        """Give everything back."""
        for side in self._all_sides():
            if side.runner is not None:
                side.runner.close()
        if self.bench is not None:
            self.bench.close()

    def _sides(self) -> tuple[Side, ...]:
        return (self.candidate,) if self.effort is Effort.check else (self.candidate, self.rival)

    def _all_sides(self) -> tuple[Side, ...]:
        third = self.baseline is not None and self.baseline not in self._sides()
        return (*self._sides(), self.baseline) if third and self.baseline else self._sides()

    def _baseline(self) -> Side | None:
        """The side whose errors set limits; None where the request names none, or a screen could not tell."""
        said = self.request.baseline
        if said is None:
            return None
        for side in self._sides():
            if side.candidate.id == said.id:
                return side
        outputs = (a for a in self.task.arguments if a.role is Role.output)
        binding = any(can_bind(a, self.task.tolerance.relative_rms) for a in outputs)
        return Side(said, self.folder / "baseline") if binding or self.effort is not Effort.screen else None

    def _hidden(self) -> tuple[Workload, ...]:
        """What is verified on buffers of the declared alignment: the task's smallest workload, and hidden ones."""
        small = smallest(self.task)
        placed = small.model_copy(update={"name": f"{small.name[:50]}, aligned to {self.task.alignment} bytes only"})
        return (placed, *hidden_workloads(self.task, self.rng))

    @property
    def phases(self) -> dict[str, float]:
        """Seconds by phase, so far."""
        return self.blame.phases

    @contextmanager
    def _blame(self, side: Side, workload: Workload | None = None) -> Iterator[None]:
        """A start or a call of ``side``; a baseline that only sets limits must not fail."""
        try:
            with self.blame.on(side, workload):
                yield
        except SideFailed as failed:
            if failed.side in self._sides():
                raise
            raise WarpsmithError(f"the baseline, which sets limits, failed: {failed.named}.") from None

    def _build(self) -> None:
        for side in self._all_sides():
            if side.candidate.id == self.candidate.candidate.id and self.candidate.built is not None:
                side.built = self.candidate.built
                continue
            try:
                told = (self.request.target, self.request.configuration, Path(self.request.cache) / "build")
                side.built = build(side.candidate, side.folder, *told, self.task)
            except BuildFailed as error:
                said = first_errors(error.log)
                with self._blame(side):
                    detail = f"{error.message}\n{said}" if said else error.message
                    raise CandidateFailed(Status.build_failed, detail) from None

    def _runner(self, side: Side, hidden: tuple[Workload, ...] | None = None) -> Runner:
        assert side.built is not None and self.bench is not None
        return self.bench.start(side.candidate, side.built, side.folder, hidden)

    def _restart(self, side: Side) -> None:
        with self._blame(side):
            side.live.restart()

    def _families(self) -> list[str]:
        """All families of the task at a check and from confirm on; normal and one hidden choice at a screen."""
        others = [f for f in self.task.drawn if f != "normal"]
        self.rng.shuffle(others)
        return ["normal", *(others if self.thorough else others[:1])]

    def _verify(self) -> None:
        for index, workload in enumerate(self.task.workloads):
            durations: list[float] = []
            families = self._families()
            compared = self.rng.sample(families, min(COMPARED if self.thorough else 1, len(families)))
            for number, family in enumerate(families):
                inputs = self.inputs.draw(workload, family)
                expected = self.oracle.expect(workload, inputs)
                found: dict[int, Errors] = {}
                for side in self._all_sides():
                    if side is not self.candidate and not self._called(side, number, family in compared):
                        continue
                    with self._blame(side, workload):
                        seconds, found[id(side)] = self.checks.call(side, index, inputs, expected, timed=False)
                        if side in self._sides():
                            durations.append(seconds)
                        if number == 0 and side is self.candidate:
                            durations.append(self.checks.again(side, index, inputs))
                self.checks.compare(index, family, found)
            least = LEAST_CALLS_OF_PROOF if self.effort.fresh else 1
            more = PROOF_ON_HOST if self.effort.fresh and self.task.contract == "host" else 1
            wanted = round(more * SAMPLE_S / max(min(durations), 1e-9))
            few = self.task.contract == "device" and not self.effort.fresh
            most = SCREENED_ON_DEVICE if few else more * MOST_CALLS
            self.seen[index].repeats = max(least, min(most, wanted))

    def _called(self, side: Side, number: int, compared: bool) -> bool:
        """Whether the rival or the baseline meets a family: the rival the first, the baseline those compared."""
        return (side is self.rival and number == 0) or (side is self.baseline and compared)

    def _verify_hidden(self) -> None:
        """The candidate on shapes that no workload shows, in a process of its own."""
        if not self.hidden:
            return
        side = self.candidate
        runner = self._runner(side, self.hidden)
        others = [f for f in self.task.drawn if f != "normal"]
        try:
            with self._blame(side):
                runner.restart()
            for index, workload in enumerate(self.hidden):
                for family in ["normal", *([self.rng.choice(others)] if others else [])]:
                    inputs = self.inputs.draw(workload, family)
                    expected = self.oracle.expect(workload, inputs)
                    with self._blame(side, workload):
                        runner.call(index, inputs, timed=False)
                        self.checks.outputs(runner.outputs(index), expected)
        finally:
            runner.close()

    def _sanitize(self) -> None:
        """The candidate under the tools that a check was asked for, on small hidden workloads."""
        if self.effort is not Effort.check or not self.request.sanitizers:
            return
        assert self.bench is not None
        workloads = small(self.task, self.hidden)

        def meet(runner: Runner, index: int) -> None:
            inputs = self.inputs.draw(workloads[index])
            runner.call(index, inputs, timed=False)
            self.checks.outputs(runner.outputs(index), self.oracle.expect(workloads[index], inputs))

        self.candidate.sanitizers = gate(self.request, self.candidate, self.bench, workloads, meet)
        if (failed := failure(self.candidate.sanitizers)) is not None:
            raise SideFailed(self.candidate, failed, None)

    def _time(self) -> None:
        starts, calls = turns(self.effort.pairs, self.rng), turns(self.effort.pairs, self.rng)
        for number in range(self.effort.pairs):
            if self.effort.fresh:
                self._renew(self._order(starts[number]))
            order = self._order(calls[number])
            for index, workload in enumerate(self.task.workloads):
                self._pair(index, workload, order, spot=number == self.spots[index])

    def _order(self, rival_first: bool) -> tuple[Side, ...]:
        return self._sides()[::-1] if rival_first else self._sides()

    def _renew(self, order: tuple[Side, ...]) -> None:
        """Fresh processes for both sides, each warmed up by one call per workload on inputs of its own."""
        for side in order:
            self._restart(side)
            for index, workload in enumerate(self.task.workloads):
                with self._blame(side, workload):
                    side.live.call(index, self.inputs.draw_timed(workload), timed=False)

    def _pair(self, index: int, workload: Workload, order: tuple[Side, ...], *, spot: bool) -> None:
        """One pair on one workload. With ``spot``, a baseline that is neither side meets the inputs of one timed call,
        chosen in secret: precision that is kept for untimed calls does not pay.
        """
        seen = self.seen[index]
        rounds = Rounds(seen.repeats)
        chosen = self.rng.randrange(seen.repeats)
        while rounds.more:
            repeat = len(rounds.taken)
            taken: dict[int, float] = {}
            inputs = self.inputs.draw_timed(workload)
            expected = self.oracle.expect(workload, inputs)
            found: dict[int, Errors] = {}
            for side in order:
                with self._blame(side, workload):
                    taken[id(side)], found[id(side)] = self.checks.call(side, index, inputs, expected, timed=True)
            if spot and repeat == chosen and self.effort.fresh and self.baseline and self.baseline not in order:
                with self._blame(self.baseline, workload):
                    _, found[id(self.baseline)] = self.checks.call(self.baseline, index, inputs, expected, timed=False)
            self.checks.compare(index, "timed", found)
            disturbed = self.disturbance.see(*(side.live.disturbed() for side in self._sides()))
            rounds.add((taken[id(self.candidate)], taken[id(self.rival)]), disturbed=disturbed)
        self.disturbance.add(rounds)
        seen.add(rounds)
        if self.effort.fresh:
            assert self.bench is not None
            seconds, traffic, how = self.bench.copy(index)
            seen.copies.append(seconds)
            seen.copied = (traffic, how)

    def _evaluation(self, failed: SideFailed | None) -> Evaluation:
        conditions = self.bench.conditions if self.bench else ()
        if self.thorough and failed is None:
            names = "; ".join(w.name.removeprefix("hidden, ") for w in self.hidden)
            conditions = (*conditions, f"verified beyond the workloads: {names}")
        if self.request.baseline is None:
            conditions = (*conditions, "the rule of twice the baseline's error was not applied")
        return evaluation(self.request, self.candidate, self.seen, failed, conditions, self.disturbance)
