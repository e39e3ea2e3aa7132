"""The host contract on a GPU: a candidate's host code in a worker of its own, over device memory that the judge owns.

Owns the clock, from "inputs revealed" to "outputs final", and what proves both ends. While inputs are revealed the
worker is stopped and a kernel of the judge watches that nobody computes (onlooker.py). When the worker has answered,
the judge copies the outputs to memory that no worker can reach, waits for that copy, and only then stops the clock:
what was not written by then is missing in the copy, and only the copy is verified. What a call costs that does nothing
is measured before the timed calls, with a trusted worker, and taken off. gpuhostcalls.py owns one candidate's calls.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warpsmith.errors import Missing
from warpsmith.judge import fused
from warpsmith.judge.contract import SanitizedRunner
from warpsmith.judge.failures import CandidateFailed, WorkerLost
from warpsmith.judge.forking import ForkServer
from warpsmith.judge.gpuhostcalls import LEAST_S, START_S, GpuHostRunner
from warpsmith.judge.gpuhostworking import Call, ForkedWorker, Shown, nothing
from warpsmith.judge.kept import Keeper
from warpsmith.judge.launching import Confined, device_environment, strongest
from warpsmith.judge.memory import BLOCK, Memory, flush_bytes, numeric
from warpsmith.judge.native import Clock
from warpsmith.judge.onlooker import LATE_S, Onlooker
from warpsmith.judge.snapshot import Piece, Snapshot
from warpsmith.judge.watch import Watch
from warpsmith.model.candidate import Candidate
from warpsmith.model.head import Workload
from warpsmith.model.target import Target
from warpsmith.model.task import KernelTask
from warpsmith.sandbox import layers
from warpsmith.sandbox.cell import Mechanism
from warpsmith.sandbox.probe import try_all
from warpsmith.sandbox.process import SandboxFailed
from warpsmith.toolchains.cache import Built
from warpsmith.toolchains.compiler import toolkits
from warpsmith.toolchains.specialised import CUTE_PARTS

FEWEST_PINGS = 7
"""Calls that do nothing, before the first timed call on a workload; one more follows each timed call."""
COMPILED = "/tmp/triton"
"""Where workers keep what they compile; in their own view of the files."""
WORKER = Path(__file__).with_name("gpuhostworker.py")
PRELOAD = ("numpy", "torch", "triton", "triton.language", "tvm_ffi")
"""What the fork-server has loaded, as far as it is installed. None of them starts a thread or the driver."""
_SHOWN = ("numpy", "torch", "triton", "tvm_ffi", "nvidia", "nvidia_cutlass_dsl", "cuda")
_ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_server: list[ForkServer] = []


def server() -> ForkServer:
    """The session's fork-server: a new one where there is none any more."""
    while _server:
        if _server[0].alive:
            return _server[0]
        _server.pop().close()
    roots = tuple(p for p in sys.path if os.path.isabs(p) and any((Path(p) / name).is_dir() for name in _SHOWN))
    cute = (Path(root) / "nvidia_cutlass_dsl" / part for root in roots for part in CUTE_PARTS)
    roots += tuple(str(p) for p in cute if p.is_dir())
    wanted = tuple(n for n in PRELOAD if importlib.util.find_spec(n.partition(".")[0]) is not None)
    passed = {n: os.environ[n] for n in ("LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH") if n in os.environ}
    environment = {
        "PATH": "/usr/bin:/bin",
        "LC_ALL": "C",
        "TVM_FFI_DISABLE_TORCH_C_DLPACK": "1",  # it would compile an extension, and start the driver
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
        **_ONE_THREAD,
        **passed,
    }
    _server.append(ForkServer(WORKER, wanted, roots, environment))
    return _server[0]


def packages() -> tuple[Path, ...]:
    """The folders of what the fork-server loads, where they are not the interpreter's own."""
    found = [Path(p) / name for p in sys.path if os.path.isabs(p) for name in _SHOWN]
    return tuple(p for p in found if p.is_dir())


@dataclass(frozen=True)
class Timed:
    """What the clock and the onlooker say of one call."""

    seconds: float
    """From the inputs' being revealed to the outputs' being final, overhead and all."""
    gap_s: float
    """So long somebody else had the device before the worker was let go; 0 for nobody, or where nobody looked."""
    disturbed: str
    """What else happened on the processor core, where that makes the time worthless."""


class GpuHostBench:
    """What this contract needs beside the candidates: the fork-server, the clock, the onlooker and a trusted worker."""

    def __init__(
        self, task: KernelTask, target: Target, scratch: Path, cache: Path, *, cold: bool, timeout_s: float
    ) -> None:
        self.server = server()  # first: it imports torch while this process does
        self.task, self.target, self.scratch = task, target, scratch
        self.cold, self.timeout_s = cold, timeout_s
        self.numeric = numeric()
        self.memory = Memory()
        self.memory.must_be(target)
        self.memory.probe()
        fused.use(self.memory, target, cache)
        self.side = self.numeric.torch.cuda.Stream()
        self.stream = self.memory.cu.CUstream(self.side.cuda_stream)
        self.cores = os.sched_getaffinity(0)
        self.core = max(self.cores)
        self.clock, self.watch = Clock(target, cache), Watch(self.core)
        self.onlooker = Onlooker(self.memory, target, cache)
        self.snapshot = Snapshot(self.memory)
        self.confined = self._confine()
        if (gap := self.onlooker.look()) > 0:
            raise WorkerLost(f"the device is not the judge's alone: somebody computed for {gap * 1e3:.1f} ms")
        self.flush_bytes = flush_bytes(target) if cold else 0
        self._flush = self.memory.allocate(self.flush_bytes) if cold else 0
        self._calls = 0
        self.halves = [max(1, task.traffic(w) // 2) for w in task.workloads]
        self.pings: dict[int, list[float]] = {}
        self.runners: list[GpuHostRunner] = []
        self._leaving: list[ForkedWorker] = []
        self._compiled: dict[str, Path] = {}
        self._trusted = self.spawn({"language": "nothing", "traffic": self.halves, "workloads": []})

    @property
    def conditions(self) -> tuple[str, ...]:
        """What a reader of the evidence must know."""
        cold = f"cache: cold ({self.flush_bytes >> 20} MiB written before every timed call)"
        clock = "clock: in the judge, from revealed inputs to a copy of the outputs that no worker reaches"
        return (
            cold if self.cold else "cache: warm",
            *((f"{clock}; {self._said_overhead()}",) if self.pings else (clock,)),
            f"the judge and the candidate's first thread share a core ({self.core})",
            *self.watch.conditions,
            f"sandbox: workers forked from a warm process; compilers by {layers().said}; workers: {self.confined.said}",
        )

    def _said_overhead(self) -> str:
        """What is taken off the clock, and how well it is known."""
        middles = [statistics.median(pings) for pings in self.pings.values()]
        off = [abs(p - statistics.median(pings)) for pings in self.pings.values() for p in pings]
        return (
            f"taken off: {min(middles) * 1e6:.0f} to {max(middles) * 1e6:.0f} us of a call that does nothing,"
            f" known to {statistics.median(off) * 1e6:.1f} us a call (median deviation of {len(off)})"
        )

    def start(
        self, candidate: Candidate, built: Built, folder: Path, hidden: tuple[Workload, ...] | None = None
    ) -> GpuHostRunner:
        """A runner without a worker yet; see :meth:`GpuHostRunner.restart`. Buffers of ``hidden`` workloads are
        aligned to what the task declares and to no more.
        """
        task = self.task if hidden is None else self.task.model_copy(update={"workloads": hidden})
        runner = GpuHostRunner(self, task, candidate, built, folder, 0 if hidden is None else task.alignment)
        self.runners.append(runner)
        return runner

    def sanitized(
        self, candidate: Candidate, built: Built, folder: Path, workloads: tuple[Workload, ...], tools: tuple[str, ...]
    ) -> Iterable[SanitizedRunner]:
        """Raises Missing: host code on a GPU is run under no tools."""
        raise Missing("there are no sanitizers for host code on a GPU yet.", "Ask for none.")

    def spawn(self, config: dict[str, Any], reads: tuple[Path, ...] = (), how: Mechanism | None = None) -> ForkedWorker:
        """A worker, not yet loaded. Raises WorkerLost where the fork-server is gone; the next bench has another."""
        how = how or self.confined.how
        shown = Shown(reads, (*packages(), *toolkits()))
        return ForkedWorker(self.server, how, config, self._environment(how), shown)

    def compiled(self, candidate: Candidate) -> tuple[Path, ...]:
        """Where lies what an earlier worker of the candidate compiled; empty where there was none, or nothing."""
        for runner in self.runners if "files" in self.confined.how.layers else ():
            if candidate.id not in self._compiled and runner.candidate.id == candidate.id and runner.standing:
                to = self.scratch / f"compiled-{len(self._compiled)}"
                to.parent.mkdir(parents=True, exist_ok=True)
                if Keeper(runner.standing, COMPILED, to).keep():
                    self._compiled[candidate.id] = to
        return (self._compiled[candidate.id],) if candidate.id in self._compiled else ()

    def clocked(self, process: ForkedWorker, call: Call, pieces: list[Piece], *, timed: bool) -> Timed:
        """One call: reveal, let the worker go, wait for its answer, take the snapshot, stop it.

        Only where ``timed`` the caches are flushed and somebody looks. Raises CandidateFailed or WorkerLost.
        """
        torch, gap = self.numeric.torch, 0.0
        torch.cuda.current_stream().synchronize()
        os.sched_setaffinity(0, {self.core})
        try:
            if timed:
                self.onlooker.begin()
                self.watch.begin()
            with torch.cuda.stream(self.side):
                call.reveal()
                self._evict(timed)
                call.prove()
            self.memory.ask(self.memory.cu.cuStreamSynchronize, self.stream)
            began = process.answered(self.clock, call.command, self.timeout_s, call.during, self.onlooker.release)
            self.snapshot.take(pieces, self.stream)
            seconds = (time.perf_counter_ns() - began) / 1e9
        finally:
            if self.onlooker.looking:
                gap = self.onlooker.end()
            os.sched_setaffinity(0, self.cores)
        process.freeze(call.during)
        return Timed(seconds, gap, self.watch.end(seconds, self.clock.lost_s) if timed else "")

    def overhead(self, workload: int, pieces: list[Piece]) -> float:
        """Seconds of a call on ``workload`` that does nothing: measured once more, the median of all so far."""
        taken = self.pings.setdefault(workload, [])
        for _ in range(max(1, FEWEST_PINGS - len(taken))):
            taken.append(self._trusted_call(0, pieces))
        return statistics.median(taken)

    def copy(self, workload: int) -> tuple[float, int, str]:
        """A trusted copy of the workload's traffic by the driver, under the same flush and clock."""
        seconds = self._trusted_call(1 + workload, []) - self.overhead(-1, [])
        return max(seconds, LEAST_S), 2 * self.halves[workload], "cuMemcpyDtoD"

    def settle(self) -> None:
        """Have every worker that was started ahead loaded and frozen: nobody else loads while the clock runs."""
        for runner in self.runners:
            runner.settle_ahead()

    def busy(self) -> float:
        """Seconds at a time that somebody computes though every worker is stopped; 0 for nobody."""
        self.onlooker.begin()
        gap = self.onlooker.end()
        return self.onlooker.look() if gap or self.onlooker.late_s > LATE_S else 0.0

    def alone_without(self, process: ForkedWorker) -> None:
        """End a worker. Raises WorkerLost where the device is still not the judge's alone: it was not this one."""
        process.stop()
        if self.onlooker.look() > 0:
            raise WorkerLost("the device is not the judge's alone any more")

    def leave(self, process: ForkedWorker) -> None:
        """End a worker now, and reap it by the end of the measurement."""
        process.kill()
        self._leaving.append(process)

    def close(self) -> None:
        """Reap every worker and give the memory back; runners were closed before."""
        self.leave(self._trusted)
        for process in self._leaving:
            process.stop()
        for runner in self.runners:
            runner.free()
        self._leaving, self.runners = [], []
        self.clock.close()
        self.watch.close()
        self.snapshot.close()
        self.onlooker.close()
        if self._flush:
            self.memory.free(self._flush)

    def _evict(self, timed: bool) -> None:
        cu, ask = self.memory.cu, self.memory.ask
        if timed and self.flush_bytes:
            self._calls += 1
            ask(cu.cuMemsetD8Async, self._flush, self._calls & 0x7F, self.flush_bytes, self.stream)

    def _trusted_call(self, command: int, pieces: list[Piece]) -> float:
        """Seconds of a call of the trusted worker. Raises WorkerLost where that does not work."""
        try:
            self._trusted.settle(START_S, self.core)
            told = self.clocked(self._trusted, Call(command, "of the trusted worker"), pieces, timed=True)
        except CandidateFailed as failure:
            raise WorkerLost(f"the trusted worker failed: {failure.detail}") from None
        return told.seconds

    def _environment(self, how: Mechanism) -> dict[str, str]:
        private = "/tmp"
        if "files" not in how.layers:
            private = str(self.scratch / f"worker-{time.monotonic_ns()}")
            os.makedirs(private, mode=0o777)
        return {
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C",
            "HOME": private,
            "TMPDIR": private,
            "USER": "nobody",
            "LOGNAME": "nobody",
            "TRITON_CACHE_DIR": f"{private}/{COMPILED.rpartition('/')[2]}",
            "TORCHINDUCTOR_CACHE_DIR": f"{private}/inductor",
            "TORCHDYNAMO_DISABLE": "1",
            "CUDA_CACHE_DISABLE": "1",
            **_ONE_THREAD,
            **device_environment(self.memory.uuid),
        }

    def _confine(self) -> Confined:
        """The layers that workers run under here: the best that do without another program, which would forget all
        that is loaded, and under which memory of the judge can be mapped.
        """
        best = layers().how
        if best.bubblewrap:
            best = try_all("").how
        address = self.memory.allocate(BLOCK)
        buffer = {"handle": self.memory.handle(address), "offset": 0, "shape": (1,), "dtype": "u8"}
        config = {"language": "nothing", "traffic": [], "workloads": [{"buffers": {"x": buffer}, "copies": {}}]}

        def refuses(how: Mechanism) -> str | None:
            process = self.spawn(config, how=how)
            try:
                process.settle(START_S, self.core)
                process.answered(self.clock, 0, START_S, "while the sandbox was tried", nothing)
            except (CandidateFailed, WorkerLost, SandboxFailed) as error:
                return str(error)
            finally:
                process.stop()
            return None

        try:
            return strongest("worker", self.memory.uuid, refuses, best)
        finally:
            self.memory.free(address)
