"""The calls of one candidate under the host contract on a GPU: its worker's life, its buffers, what its calls prove."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warpsmith.judge.failures import CandidateFailed
from warpsmith.judge.gpuhostworker import COPY
from warpsmith.judge.gpuhostworking import Call, ForkedWorker
from warpsmith.judge.memory import Arena
from warpsmith.judge.numeric import Array
from warpsmith.judge.snapshot import Second
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Status
from warpsmith.model.head import Workload
from warpsmith.model.task import Argument, KernelTask, Role
from warpsmith.toolchains.cache import Built

if TYPE_CHECKING:
    from warpsmith.judge.gpuhost import GpuHostBench

START_S = 30.0
"""Longest time for a worker to make its context and load the candidate."""
LEAST_S = 1e-6
"""No call is said to be faster: what a call that does nothing costs is known no better."""
STRIKES = 2
"""Calls before which the device was at work, at which it counts as the candidate's doing. One such call can be chance,
and is taken again."""
_secret = random.SystemRandom()
SAMPLES = 64
"""Elements of each output that are looked at before a call."""
RESERVE = 0.05
"""Share of the device's memory that a worker must leave to the judge."""


class GpuHostRunner:
    """One candidate in a worker, with an arena per workload of ``task``."""

    def __init__(
        self, bench: GpuHostBench, task: KernelTask, candidate: Candidate, built: Built, folder: Path, shift: int
    ) -> None:
        self.bench = bench
        self.task = task
        self.candidate = candidate
        self.built = built
        self.folder = folder
        self.shift = shift
        self.restarts = 0
        self._arenas: list[Arena] = []
        self._seconds: list[Second] = []
        self._process: ForkedWorker | None = None
        self._ahead: ForkedWorker | None = None
        self._called = False
        self._strikes = 0
        self._disturbed = ""

    def restart(self) -> None:
        """A fresh worker, which the first call waits for. Raises WorkerLost where none can be forked."""
        fresh, self._ahead = self._ahead or self._spawn(), None
        self._stop()
        self._process = fresh
        self.restarts += 1
        for other in self.bench.runners:
            other.start_ahead(self.restarts)

    @property
    def standing(self) -> int:
        """The pid of a worker that was called and now stands still; 0 for none."""
        return self._process.pid if self._called and self._process is not None and not self._process.ended else 0

    def start_ahead(self, restarts: int) -> None:
        """Start the worker that the next restart will take, where another side is already at its ``restarts``th."""
        if self._process is not None and self._ahead is None and 0 < self.restarts < restarts:
            self._ahead = self._spawn()

    def settle_ahead(self) -> None:
        """Wait until a worker that was started ahead stands still. What is wrong with it is found when it is called."""
        if self._ahead is not None:
            try:
                self._ahead.settle(START_S, self.bench.core)
            except CandidateFailed:
                self.bench.leave(self._ahead)
                self._ahead = None

    def call(self, workload: int, inputs: dict[str, Array], *, timed: bool) -> float:
        """One call on fresh inputs from poisoned outputs; seconds, without what a call costs that does nothing.

        Raises CandidateFailed (also where a guard band or an input was written) or WorkerLost.
        """
        bench, process = self.bench, self._process
        assert process is not None, "restart comes first"
        process.settle(START_S, bench.core)
        if timed:
            bench.settle()
        arena = self._arenas[workload]
        pieces = bench.snapshot.prepare(arena)
        overhead = bench.overhead(workload, pieces) if timed else 0.0
        during = f"during workload {self.task.workloads[workload].name!r}"
        command = workload if timed else workload | COPY
        call = Call(command, during, lambda: arena.reveal(inputs), lambda: self._prove_untouched(arena))
        self._called = True
        told = bench.clocked(process, call, pieces, timed=timed)
        self._disturbed = told.disturbed
        self._prove_idle(process, told.gap_s)
        if not timed:
            self._prove_order(workload)
            self._prove_room()
        arena.check(inputs)
        return max(told.seconds - overhead, LEAST_S)

    def disturbed(self) -> str:
        """Why the time of the last timed call cannot be trusted: the device worked before it. Empty where it can."""
        return self._disturbed

    def outputs(self, workload: int) -> dict[str, Array]:
        """The outputs of the last call, as they were when its clock stopped."""
        return self.bench.snapshot.outputs()

    def kernels(self) -> dict[str, dict[str, int]]:
        """Nothing: host code launches what it likes."""
        return {}

    def close(self) -> None:
        """End the worker; the bench gives back the memory once it is gone."""
        self._stop()
        if self._ahead is not None:
            self.bench.leave(self._ahead)
            self._ahead = None

    def free(self) -> None:
        """Give back the memory; every worker has ended."""
        for second in self._seconds:
            second.close()
        for arena in self._arenas:
            arena.close()
        self._seconds, self._arenas = [], []

    def _prove_untouched(self, arena: Arena) -> None:
        """Raise CandidateFailed where outputs are not as they were poisoned, all elements alike, before the worker is
        let go: a copy engine works beside any kernel, so the onlooker does not see it.
        """
        torch, same = self.bench.numeric.torch, []
        for buffer in arena.buffers.values():
            if buffer.argument.role is Role.output and (count := buffer.words.numel()):
                words = buffer.words.reshape(-1)
                places = self.bench.numeric.integers(count, (SAMPLES,), _secret.getrandbits(62))
                same.append((words[places] == words[:1]).all())
        if same and not bool(torch.stack(same).all()):
            raise CandidateFailed(Status.cheated, "it wrote its outputs before its inputs were all revealed")

    def _prove_idle(self, process: ForkedWorker, gap_s: float) -> None:
        """Raise CandidateFailed where the device worked when nobody was to compute: before the call, or after it."""
        bench = self.bench
        if busy := bench.busy():
            bench.alone_without(process)
            detail = f"it still computes after it answered and was stopped ({busy * 1e3:.1f} ms at a time)"
            raise CandidateFailed(Status.cheated, detail)
        if gap_s:
            self._strikes += 1
            self._disturbed = "the device was at work while inputs were revealed"
            if self._strikes >= STRIKES:
                bench.alone_without(process)
                detail = f"it computed before its inputs were revealed, with its process stopped ({gap_s * 1e6:.0f} us)"
                raise CandidateFailed(Status.cheated, detail)

    def _prove_order(self, workload: int) -> None:
        """Raise CandidateFailed where outputs were not ready for a next user of the default stream."""
        if name := self._seconds[workload].differing(self.outputs(workload)):
            detail = f"{name} was not ready in the order of the default stream: work on another stream was not joined"
            raise CandidateFailed(Status.wrong_values, detail)

    def _prove_room(self) -> None:
        """Raise CandidateFailed where so much device memory is taken that the judge cannot work."""
        cuda = self.bench.numeric.torch.cuda
        free, total = cuda.mem_get_info()
        if free < RESERVE * total:
            cuda.empty_cache()
            free, total = cuda.mem_get_info()
        if free < RESERVE * total:
            raise CandidateFailed(Status.crashed, f"it leaves {free >> 20} MiB of the device's memory to others")

    def _spawn(self) -> ForkedWorker:
        if not self._arenas:
            memory = self.bench.memory
            for workload in self.task.workloads:
                self._arenas.append(Arena(memory, self.task, workload, self.shift))
                self._seconds.append(Second(memory, self._arenas[-1]))
        if self.candidate.toolchain == "tvm-ffi":
            return self.bench.spawn(self._config(()), (self.built.binary,))
        compiled = self.bench.compiled(self.candidate)
        return self.bench.spawn(self._config(compiled), (self.folder, *compiled))

    def _config(self, compiled: tuple[Path, ...]) -> dict[str, Any]:
        return {
            "compiled": [str(path) for path in compiled],
            "language": self.candidate.toolchain,
            "binary": str(self.built.binary),
            "module": str(self.folder / self.candidate.sources[0].path),
            "entry": self.candidate.entry,
            "parameters": dict(self.candidate.parameters),
            "workloads": [
                {
                    "buffers": {name: _buffer(b.argument, b.handle, b.offset, w) for name, b in a.buffers.items()},
                    "copies": {n: _buffer(a.buffers[n].argument, h, 0, w) for n, h in s.handles.items()},
                    "arguments": _arguments(self.task, w),
                }
                for w, a, s in zip(self.task.workloads, self._arenas, self._seconds, strict=True)
            ],
        }

    def _stop(self) -> None:
        process, self._process = self._process, None
        self._called = False
        if process is not None:
            self.bench.leave(process)


def _buffer(argument: Argument, handle: str, offset: int, workload: Workload) -> dict[str, Any]:
    shape = argument.extent(workload.axes)
    return {"handle": handle, "offset": offset, "shape": shape, "dtype": argument.element.value}


def _arguments(task: KernelTask, workload: Workload) -> list[dict[str, Any]]:
    """What the entry is passed, in order: names of buffers, and numbers."""
    said: list[dict[str, Any]] = []
    for argument in task.arguments:
        if argument.is_tensor:
            said.append({"name": argument.name})
        elif argument.role is Role.axis:
            said.append({"value": workload.axes[argument.name]})
        else:
            value = task.scalar(argument, workload)
            assert value is not None  # the task's own validation
            said.append({"value": value if argument.element.is_float else int(value)})
    return said
