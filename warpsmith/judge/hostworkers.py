"""The trusted workers of the host contract: one that does nothing, before each clock, and one that copies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from warpsmith.judge.arena import Arena
from warpsmith.judge.hostcalls import HostRunner
from warpsmith.model.base import digest_bytes
from warpsmith.model.candidate import Candidate, SourceFile
from warpsmith.model.head import Workload
from warpsmith.model.task import Argument, Dtype, KernelTask, Role
from warpsmith.toolchains.cache import build

if TYPE_CHECKING:
    from warpsmith.judge.host import HostBench


def pinger(bench: HostBench) -> HostRunner:
    """A trusted worker that does nothing."""
    source = Path(__file__).with_name("nothing.c")
    axis = Argument(name="N", role=Role.axis)
    out = Argument(name="y", role=Role.output, dtype=Dtype.u8, shape=("N",))
    task = KernelTask(
        name="warpsmith/nothing",
        title="nothing",
        hardware="cpu",
        contract="host",
        arguments=(out, axis),
        bytes=0,
        workloads=(Workload(name="nothing", axes={"N": 1}),),
    )
    content = source.read_bytes()
    sources = (SourceFile(path=source.name, content=digest_bytes(content)),)
    candidate = Candidate(toolchain="c", entry="nothing", sources=sources)
    built = build(candidate, source.parent, bench.target, "release", bench.cache)
    runner = HostRunner(bench, task, [Arena(task, task.workloads[0], bench.numeric)], candidate, built, source.parent)
    runner.restart()
    return runner


class Copier:
    """A trusted worker that copies: what the memory of this machine gives one core, under the judge's own clock."""

    def __init__(self, bench: HostBench) -> None:
        source = Path(__file__).with_name("copy.c")
        self.traffic = [bench.task.traffic(w) for w in bench.task.workloads]
        largest = max(2, *self.traffic) // 2
        self.task = KernelTask(
            name="warpsmith/copy",
            title="copy",
            hardware="cpu",
            contract="host",
            arguments=(
                Argument(name="from_", role=Role.input, dtype=Dtype.u8, shape=("LARGEST",)),
                Argument(name="to", role=Role.output, dtype=Dtype.u8, shape=("LARGEST",)),
                Argument(name="BYTES", role=Role.axis),
                Argument(name="STREAM", role=Role.axis),
            ),
            bytes="2 * BYTES",
            workloads=tuple(
                Workload(
                    name=f"{index}-{mode}", axes={"LARGEST": largest, "BYTES": max(1, traffic // 2), "STREAM": mode}
                )
                for index, traffic in enumerate(self.traffic)
                for mode in (0, 1)
            ),
        )
        content = source.read_bytes()
        candidate = Candidate(
            toolchain="c",
            entry="copy",
            sources=(SourceFile(path=source.name, content=digest_bytes(content)),),
        )
        built = build(candidate, source.parent, bench.target, "release", bench.cache)
        self.arena = Arena(self.task, self.task.workloads[0], bench.numeric)
        arenas = [self.arena] * len(self.task.workloads)
        self.runner = HostRunner(bench, self.task, arenas, candidate, built, source.parent)
        self.runner.restart()
        for index in range(len(arenas)):
            self.runner.clocked(index, evict=False)

    def copy(self, workload: int) -> tuple[float, int, str]:
        """Seconds, bytes read plus written, and how."""
        plain, streamed = (self.runner.clocked(2 * workload + mode, evict=True) for mode in (0, 1))
        how = "memcpy" if plain <= streamed else "streaming copy"
        return min(plain, streamed), 2 * max(1, self.traffic[workload] // 2), how

    def close(self) -> None:
        """End the worker."""
        self.runner.stop()
        self.arena.close()
