"""Counters of the processor: callgrind on the worker of a C candidate, and perf where this system lets it count.

The worker is the judge's own, started behind valgrind and inside the sandbox, on hidden inputs. Valgrind knows no
AVX-512, so what is counted is built without; the counts say which lines do the work, not how long it takes.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from warpsmith.errors import ProfilerFailed
from warpsmith.judge.arena import Arena
from warpsmith.judge.host import HostBench
from warpsmith.judge.hostcalls import HostRunner
from warpsmith.model.candidate import Candidate
from warpsmith.model.task import KernelTask
from warpsmith.profilers.callgrind import MOST_BYTES
from warpsmith.profilers.tools import VERSION_S, Tool, run
from warpsmith.sandbox import layers
from warpsmith.sandbox.cell import Cell
from warpsmith.sandbox.process import adopt, prepare
from warpsmith.toolchains.cache import Built

END_S = 30.0
"""Longest time for callgrind to write what it counted."""
OPTIONS = ("--tool=callgrind", "--cache-sim=yes", "--compress-strings=yes", "--quiet")
PERF_EVENTS = ("task-clock", "cycles", "instructions", "cache-references", "cache-misses", "branches", "branch-misses")


class CallgrindRunner(HostRunner):
    """A runner whose worker runs under callgrind, over an arena of its own for each workload of ``task``."""

    def __init__(
        self, bench: HostBench, task: KernelTask, candidate: Candidate, built: Built, folder: Path, tool: Tool
    ) -> None:
        arenas = [Arena(task, w, bench.numeric) for w in task.workloads]
        super().__init__(bench, task, arenas, candidate, built, folder)
        self.tool = tool
        self.written = Path(tempfile.mkdtemp(prefix="callgrind-", dir=_made(self.scratch)))
        prepare(self.written, layers().how)

    def counted(self) -> str:
        """End the worker; callgrind's output. Raises ProfilerFailed where it left none."""
        output, copied = self.written / "callgrind.out", self.scratch / "callgrind.copied"
        printed = self.worker.finish(b"", END_S) if self.worker is not None else ""
        if not adopt(output, copied, MOST_BYTES):
            raise ProfilerFailed(
                f"callgrind left no output.{f' It printed: {printed}' if printed else ''}", "Try again."
            )
        return copied.read_text(errors="replace")

    def close(self) -> None:
        """End the worker and give back its memory."""
        super().close()
        for arena in self.arenas:
            arena.close()

    def _cell(self, config: Path, keep: tuple[int, ...]) -> Cell:
        """The worker behind valgrind, which may write its counts, and needs address space for its own."""
        cell = super()._cell(config, keep)
        options = (*OPTIONS, f"--callgrind-out-file={self.written / 'callgrind.out'}")
        limits = {name: value for name, value in cell.limits.items() if name not in ("RLIMIT_AS", "RLIMIT_FSIZE")}
        return replace(
            cell,
            argv=(self.tool.path, *options, *cell.argv),
            writes=(*cell.writes, (self.written, self.written)),
            folders=(*cell.folders, *self.tool.folders),
            limits={**limits, "RLIMIT_FSIZE": MOST_BYTES, "RLIMIT_NOFILE": max(256, limits.get("RLIMIT_NOFILE", 0))},
        )


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def perf_works(tool: Tool) -> None:
    """Raise ProfilerFailed where perf can count nothing here."""
    counted = perf_counters(tool, ("true",), VERSION_S)
    if not set(counted) - {"task-clock"}:
        raise ProfilerFailed(
            "perf can count neither cycles nor instructions here.",
            "Set kernel.perf_event_paranoid to 2 or less; virtual machines often have no counters at all.",
        )


def perf_counters(tool: Tool, argv: tuple[str, ...], timeout_s: float, output: int | None = None) -> dict[str, float]:
    """Counters of a program by perf's own names, of user code only; those that counted. It prints to ``output``."""
    with tempfile.NamedTemporaryFile(prefix="perf-") as counts:
        events = ",".join(f"{event}:u" for event in PERF_EVENTS)
        command = (tool.path, "stat", "-x", ";", "-o", counts.name, "-e", events, "--", *argv)
        ran = run(command, timeout_s=timeout_s, cwd=os.getcwd(), output=output)
        said = Path(counts.name).read_text(errors="replace")
    if ran.status is None:
        raise ProfilerFailed(
            f"the program was still running after {timeout_s:.0f} s, and was ended.", "Set --duration."
        )
    counted: dict[str, float] = {}
    for row in said.splitlines():
        value, *rest = row.split(";")
        with contextlib.suppress(ValueError, IndexError):
            counted[rest[1].removesuffix(":u")] = float(value)
    return counted
