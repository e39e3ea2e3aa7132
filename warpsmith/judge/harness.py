"""The judge of harness tasks: prepare, verify, sample in pairs. Command and serving tasks differ in their harness only.

What a harness says is its own word: the evaluation's trust is ``harness_reported``. What the judge vouches for is that
both sides ran the same files but for the candidate's overlay, in an order that nobody could know, and that an answer
was right, as far as the task can tell, before any number of it counted.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from warpsmith.errors import WarpsmithError
from warpsmith.judge import VERSION
from warpsmith.judge.blame import Blame
from warpsmith.judge.deadline import Deadline
from warpsmith.judge.evidence import Side, SideFailed
from warpsmith.judge.failures import CandidateFailed, Kills
from warpsmith.judge.progress import Progress
from warpsmith.judge.turns import turns
from warpsmith.model.base import digest_bytes
from warpsmith.model.evaluation import Effort, Evaluation, Metric, Status, Trust, WorkloadResult
from warpsmith.model.harness import HarnessTask
from warpsmith.model.head import Direction, Workload
from warpsmith.model.step import KEPT, Request
from warpsmith.store.files import write_atomic

KEPT_BYTES = 4 << 20
"""Of one kept file, at most; the rest of it is left out."""


class Harness(Protocol):
    """What measures both sides; made anew for each measurement."""

    @property
    def conditions(self) -> tuple[str, ...]:
        """What a reader of the evidence must know. Asked at the end, whatever happened."""

    @property
    def alone(self) -> bool:
        """Whether only one side may be up at a time. Then each is started, verified, sampled on every workload and
        stopped before the other; otherwise both are up, and workloads alternate.
        """

    def prepare(self, side: Side) -> None:
        """Its own copy of the workspace with the overlay on it (:func:`warpsmith.judge.workspaces.overlaid`), built.
        Raises CandidateFailed.
        """

    def start(self, side: Side) -> None:
        """What must run while it is measured (a server); again for each pair where ``effort.fresh`` or ``alone``.
        Raises CandidateFailed, or WorkerLost for what is not its doing.
        """

    def verify(self, side: Side) -> None:
        """Is it right? Called after every start, so before every benchmark. Raises CandidateFailed."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The benchmarks of a sample, in their order. Where both sides are up, each is done on both before the next:
        the less time lies between the two, the less of what disturbs a machine falls on one of them alone.
        """

    def sample(self, side: Side, workload: Workload, part: str) -> dict[str, float]:
        """One benchmark: a value for each metric that it took. Raises CandidateFailed."""

    def stop(self, side: Side) -> None:
        """End what :meth:`start` began: safe at any time, and twice. Raises CandidateFailed for what only shows then
        (memory that leaked); whatever was started is gone all the same.
        """

    def metric(self, name: str) -> tuple[str, Direction]:
        """Its unit, and which way is better."""

    def close(self) -> None:
        """Nothing is measured any more."""

    def kept(self) -> Mapping[str, bytes]:
        """Files that belong to the result, by name: raw documents, logs, load reports. Asked at the end."""


@dataclass
class Sampled:
    """What was found so far of one workload."""

    samples: list[tuple[dict[str, float], dict[str, float]]] = field(default_factory=list)
    """Of each pair, the metrics of candidate and rival."""

    def result(self, workload: Workload, harness: Harness, failure: CandidateFailed | None) -> WorkloadResult:
        """The record of the workload, with the metrics that every sample of both sides has."""
        every = [set(values) for pair in self.samples for values in pair]
        names = [n for n in self.samples[0][0] if all(n in found for found in every)] if every else []
        metrics = []
        for name in names:
            unit, direction = harness.metric(name)
            mine, other = (tuple(pair[which][name] for pair in self.samples) for which in (0, 1))
            metrics.append(Metric(name=name, unit=unit, direction=direction, candidate=mine, rival=other))
        return WorkloadResult(
            workload=workload.name,
            status=failure.status if failure else Status.passed,
            detail=failure.detail if failure else "",
            calls=len(self.samples),
            metrics=() if failure else tuple(metrics),
        )


class HarnessJudge:
    """One measurement of a harness task."""

    def __init__(
        self,
        request: Request,
        folder: Path,
        harness: Harness,
        kills: Kills | None = None,
        progress: Progress | None = None,
    ) -> None:
        assert isinstance(request.task, HarnessTask)
        self.progress = progress or Progress()
        self.request = request
        self.task = request.task
        self.folder = folder
        self.harness = harness
        self.rng = random.SystemRandom()
        self.effort = request.step.effort
        self.candidate = Side(request.candidate, folder / "candidate")
        self.rival = Side(request.rival, folder / "rival")
        self.sampled = [Sampled() for _ in self.task.workloads]
        self.blame = Blame(Deadline(request.limit_s, self._sides()), kills)

    def judge(self) -> Evaluation:
        """Carry the measurement out. Raises WorkerLost, and WarpsmithError where it is nobody's doing."""
        failed: SideFailed | None = None
        try:
            with self.blame.phase("prepare"):
                for side in self._sides():
                    self._prepare(side)
            if self.effort is Effort.check:
                with self.blame.phase("verify"), self._up(self.candidate):
                    pass
            elif self.harness.alone:
                self._take_turns()
            else:
                self._side_by_side()
        except SideFailed as error:
            failed = error
        finally:
            self._stop_all()
            self.harness.close()
        return self._evaluation(failed)

    def _sides(self) -> tuple[Side, ...]:
        return (self.candidate,) if self.effort is Effort.check else (self.candidate, self.rival)

    def _order(self, rival_first: bool) -> tuple[Side, ...]:
        return self._sides()[::-1] if rival_first else self._sides()

    def _prepare(self, side: Side) -> None:
        with self.blame.on(side):
            if why := self.task.refuses(side.candidate):
                raise CandidateFailed(Status.cheated, why)
            self.harness.prepare(side)

    @contextmanager
    def _up(self, side: Side) -> Iterator[None]:
        """The side started and verified, and stopped at the end."""
        self.progress.say(f"{side.folder.name}: start and verification")
        with self.blame.phase("start"), self.blame.on(side):
            self.harness.start(side)
        with self.blame.phase("verify"), self.blame.on(side):
            self.harness.verify(side)
        yield
        with self.blame.phase("start"), self.blame.on(side):
            self.harness.stop(side)

    def _take_turns(self) -> None:
        """Pairs in which one side is wholly done before the other begins."""
        for number, rival_first in enumerate(turns(self.effort.pairs, self.rng), 1):
            taken: dict[int, list[dict[str, float]]] = {}
            for side in self._order(rival_first):
                with self._up(side):
                    taken[id(side)] = [self._samples(number, (side,), workload)[0] for workload in self.task.workloads]
            for found, mine, other in zip(self.sampled, taken[id(self.candidate)], taken[id(self.rival)], strict=True):
                found.samples.append((mine, other))

    def _side_by_side(self) -> None:
        """Pairs workload by workload, with both sides up."""
        starts, calls = (turns(self.effort.pairs, self.rng) for _ in range(2))
        for number in range(self.effort.pairs):
            if number == 0 or self.effort.fresh:
                for side in self._order(starts[number]):
                    self._renew(side)
            for found, workload in zip(self.sampled, self.task.workloads, strict=True):
                order = self._order(calls[number])
                first, second = self._samples(number + 1, order, workload)
                found.samples.append((second, first) if calls[number] else (first, second))
        for side in self._sides():
            with self.blame.phase("start"), self.blame.on(side):
                self.harness.stop(side)

    def _renew(self, side: Side) -> None:
        self.progress.say(f"{side.folder.name}: start and verification")
        with self.blame.phase("start"), self.blame.on(side):
            self.harness.stop(side)
            self.harness.start(side)
        with self.blame.phase("verify"), self.blame.on(side):
            self.harness.verify(side)

    def _samples(self, number: int, order: Sequence[Side], workload: Workload) -> list[dict[str, float]]:
        """Every benchmark of pair ``number`` (from 1) on those sides; the metrics of each, as they stand there."""
        taken: list[dict[str, float]] = [{} for _ in order]
        for part in self.harness.parts:
            for side, values in zip(order, taken, strict=True):
                named = f", {part}" if part else ""
                self.progress.say(f"pair {number} of {self.effort.pairs}: {side.folder.name}{named}")
                with self.blame.phase("sample"), self.blame.on(side, workload):
                    values |= self._finite(self.harness.sample(side, workload, part))
        for side, values in zip(order, taken, strict=True):
            with self.blame.on(side, workload):
                if lacking := [d.metric for d in self.task.decided_by if d.metric not in values]:
                    raise CandidateFailed(Status.bad_report, f"nothing was reported of {', '.join(lacking)}")
        return taken

    def _finite(self, values: dict[str, float]) -> dict[str, float]:
        for name, value in values.items():
            if not (math.isfinite(value) and value > 0):
                raise CandidateFailed(Status.bad_report, f"{name} is {value!r}, not a finite number above 0")
        return values

    @property
    def phases(self) -> dict[str, float]:
        """Seconds by phase, so far."""
        return self.blame.phases

    def _stop_all(self) -> None:
        """Give everything back; what only shows at the end of a side that failed already is not asked for."""
        for side in self._sides():
            try:
                self.harness.stop(side)
            except (CandidateFailed, WarpsmithError):
                continue

    def _keep(self) -> dict[str, str]:
        """Write what belongs to the result; the digests by name."""
        kept = {}
        for name, content in self.harness.kept().items():
            content = content[:KEPT_BYTES]
            path = self.folder / KEPT / name
            path.parent.mkdir(exist_ok=True)
            write_atomic(path, content)
            kept[name] = digest_bytes(content)
        return kept

    def _evaluation(self, failed: SideFailed | None) -> Evaluation:
        ours = failed is None or failed.side is self.candidate
        status = failed.failure.status if failed else Status.passed
        named = failed.named if failed else ""
        results = []
        for workload, found in zip(self.task.workloads, self.sampled, strict=True):
            if failed is not None and failed.workload is workload:
                results.append(found.result(workload, self.harness, failed.failure))
            elif failed is None:
                results.append(found.result(workload, self.harness, None))
        return Evaluation(
            task=self.request.task_digest,
            candidate=self.request.candidate.id,
            rival=self.request.rival.id,
            target=self.request.target.key,
            judge=VERSION,
            effort=self.effort,
            trust=Trust.harness_reported,
            status=status,
            detail=named if ours else f"the rival failed: {named}",
            workloads=tuple(results) if ours and status is not Status.build_failed else (),
            rival_status=Status.passed if ours else status,
            rival_detail="" if ours else named,
            conditions=self.harness.conditions,
            kept=self._keep(),
        )
