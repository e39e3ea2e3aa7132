"""Candidates of the device contract under Nsight Compute and Nsight Systems: the judge's launcher, started by the tool.

The tool gets the layers of the sandbox that other launchers have, and none where it does not work in them; the profile
says so. Calls are made on hidden inputs: the first as ever, the others counted, and all are verified.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from warpsmith.errors import BadReport, ProfilerFailed, WarpsmithError
from warpsmith.judge.device import DeviceBench, DeviceRunner
from warpsmith.judge.failures import CandidateFailed, WorkerLost
from warpsmith.judge.launching import LAUNCHER, LauncherProcess, Under, environment
from warpsmith.judge.plan import to_load
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Status
from warpsmith.model.task import KernelTask
from warpsmith.profilers.calling import VerifiedCalls
from warpsmith.profilers.tools import BARE, TAIL, Tool, run
from warpsmith.sandbox.cell import Mechanism
from warpsmith.sandbox.process import prepare
from warpsmith.toolchains.cache import Built

LIMITS = {"RLIMIT_FSIZE": 1 << 30, "RLIMIT_NOFILE": 4096}
"""Reports are larger than what launchers print."""
TRACED_CALLS = 10
"""Calls of a timeline after the first."""
UNCONFINED = "sandbox: none around the launcher, since the profiler did not work in it"
_COMMANDS, _ANSWERS, _BINARY = 8, 9, 7
"""Descriptors of a launcher that reads its messages from a file."""

Reason = Callable[[], WarpsmithError | None]
"""What a tool's own words mean once it has ended; None where it did its work."""


class ProfiledRunner(DeviceRunner):
    """A runner whose launcher runs under a tool. ``command`` is what stands before the launcher's own command line."""

    def __init__(self, calls: Calls, tool: Tool, command: tuple[str, ...], folder: Path, how: Mechanism | None) -> None:
        super().__init__(calls.bench, calls.task, calls.candidate, calls.built)
        self.timeout_s = calls.limit_s
        self.tool = tool
        self.folder = folder
        self.command = command
        self.how = how

    def _launcher(self) -> LauncherProcess:
        """A launcher of its own, under the tool, with a home for the tool's caches and settings."""
        home = _empty(self.folder) / "home"
        home.mkdir()
        for folder in (self.folder, home):
            prepare(folder, self.how or self.bench.gpu.confined.how)
        own = {"HOME": str(home), "TMPDIR": str(home)}
        under = Under(self.command, self.folder, self.tool.folders, how=self.how, environment=own, limits=LIMITS)
        return self.bench.gpu.spawn(under)

    def finish(self) -> None:
        """End the launcher, and wait until the tool has written its report. Raises WorkerLost."""
        if self._process is not None:
            self._process.stop()


class NotedRunner(DeviceRunner):
    """A runner that notes what its launcher is told."""

    def transcript(self) -> list[dict[str, object]]:
        """All messages so far, beginning with the configuration."""
        assert self._process is not None and self._process.transcript is not None
        return [self._process.config, *self._process.transcript]

    def end(self) -> None:
        """End the launcher, and keep what it mapped. Raises WorkerLost."""
        if (process := self._let_go()) is not None:
            self.bench.pool.leave(process)
            self.bench.pool.reap()

    def _launcher(self) -> LauncherProcess:
        process = self.bench.gpu.spawn()
        process.transcript = []
        return process


class Calls:
    """The only workload of a task on a device, called under tools on hidden inputs and verified."""

    def __init__(
        self,
        bench: DeviceBench,
        task: KernelTask,
        verified: VerifiedCalls,
        candidate: Candidate,
        built: Built,
        limit_s: float,
    ) -> None:
        self.bench = bench
        self.task = task
        self.candidate = candidate
        self.built = built
        self.limit_s = limit_s
        self.verified = verified
        self.plan = bench.plan(task, task.workloads[0], candidate, built)
        self.how: Mechanism | None = None
        """Layers of the sandbox for the tool; those of other launchers until it turned out not to work in them."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """What the kernels of one call are called in the cubin."""
        symbols = {kernel["name"]: kernel["symbol"] for kernel in to_load(self.candidate, self.built.build)}
        return tuple(dict.fromkeys(symbols[launch.kernel] for launch in self.plan.launches))

    @property
    def conditions(self) -> tuple[str, ...]:
        """What a reader must know of how the calls were made."""
        return (UNCONFINED,) if self.how is not None else (f"sandbox of the launcher: {self.bench.gpu.confined.said}",)

    @property
    def crowded(self) -> bool:
        """Whether the device's memory does not suffice to save what a launcher maps, as a replay of kernels does."""
        axes = self.task.workloads[0].axes
        tensors = sum(a.element.itemsize * _count(a.extent(axes)) for a in self.task.arguments if a.is_tensor)
        mapped = tensors + sum(self.plan.scratch.values()) + self.bench.flush_bytes
        free, _ = self.bench.memory.numeric.torch.cuda.mem_get_info()
        return 2 * mapped > int(free)

    def under(self, tool: Tool, command: tuple[str, ...], folder: Path, why: Reason, more: int = 1) -> None:
        """Make ``1 + more`` calls under a tool that leaves its report in ``folder``, which is emptied before.

        Raises what ``why`` gives, ProfilerFailed where the tool took too long or broke something, and WorkerLost.
        """
        try:
            self._under(tool, command, folder, why, more)
        except ProfilerFailed:
            if self.how is not None:
                raise
            self.how = BARE
            self._under(tool, command, folder, why, more)

    def rerun(self, tool: Tool, command: tuple[str, ...], folder: Path, why: Reason) -> None:
        """Two calls by a launcher that the tool runs as often as it likes: its messages come from a file."""
        runner = NotedRunner(self.bench, self.task, self.candidate, self.built)
        try:
            runner.restart()
            for _ in range(2):
                self.verified.make(runner)
            said = runner.transcript()
            runner.end()
            self.how = BARE
            inside = _from_files(_empty(folder), said, self.built.binary)
            own = {**environment(self.bench.memory.uuid), "HOME": str(folder), "TMPDIR": str(folder)}
            ran = run((*command, *inside), timeout_s=self.limit_s, environment=own)
        finally:
            runner.close()
            self.bench.pool.reap()
        if (reason := why()) is not None:
            raise reason
        if ran.status != 0:
            raise ProfilerFailed(f"{tool.said} ended with status {ran.status}.{ran.tail}", "Try another effort.")

    def _under(self, tool: Tool, command: tuple[str, ...], folder: Path, why: Reason, more: int) -> None:
        runner = ProfiledRunner(self, tool, command, folder, self.how)
        ended: CandidateFailed | WorkerLost | None = None
        try:
            runner.restart()
            for _ in range(1 + more):
                self.verified.make(runner)
            runner.finish()
        except (CandidateFailed, WorkerLost) as error:
            ended = error
        finally:
            runner.close()
            self.bench.pool.reap()
        if isinstance(ended, CandidateFailed) and ended.status is Status.timed_out:
            raise BadReport(f"{tool.said} did not end within {self.limit_s:.0f} s.", "Give it more: --duration.")
        if (reason := why()) is not None:
            if isinstance(reason, ProfilerFailed) and ended is not None:
                reason = ProfilerFailed(f"{reason.message} {str(ended)[:TAIL]}", reason.remedy)
            raise reason
        if ended is not None:
            raise ProfilerFailed(
                f"a call failed under {tool.said}: {str(ended)[:TAIL]}.", "Try another effort, or tool."
            )


def _from_files(folder: Path, said: list[dict[str, object]], binary: Path) -> tuple[str, ...]:
    """The command line of a launcher that reads its messages and its cubin from files."""
    commands, answers = folder / "commands", folder / "answers"
    lines = [{**message, "binary": _BINARY} if "binary" in message else message for message in said]
    commands.write_text("".join(json.dumps(line) + "\n" for line in lines))
    program = shlex.join((sys.executable, "-I", str(LAUNCHER), str(_COMMANDS), str(_ANSWERS)))
    files = f"{_COMMANDS}<{shlex.quote(str(commands))} {_ANSWERS}>>{shlex.quote(str(answers))}"
    return ("/bin/sh", "-c", f"exec {program} {files} {_BINARY}<{shlex.quote(str(binary))}")


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _count(extents: tuple[int, ...]) -> int:
    count = 1
    for extent in extents:
        count *= extent
    return count
