"""The servers of a measurement: one per side at a time, and what goes wrong with them as a status with their log."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from warpsmith.errors import BadInput, TaskAtFault
from warpsmith.judge.evidence import Side
from warpsmith.judge.failures import CandidateFailed, WorkerKilled, WorkerLost, ended_for_memory
from warpsmith.judge.workspaces import environment, overlaid
from warpsmith.model.evaluation import Status
from warpsmith.model.harness import ScenarioReport, ServingTask
from warpsmith.model.target import Target
from warpsmith.serving.process import Running, ServerFailed, start

SNAPSHOT = "snapshot"
"""The model's files, in ``task/`` of a step's folder: a link to where they lie."""
KEPT_LOG = 64 << 10
"""Bytes of each server's log that are kept: its end."""


@dataclass
class Life:
    """The servers of one side, one after the other."""

    side: Side
    workspace: Path
    running: Running | None = None
    logs: list[Path] = field(default_factory=list)
    verified: int = 0
    """Verifications so far."""
    loaded: int = 0
    """Loads so far."""
    resident: int | None = None
    """Resident bytes of the running server before its first load."""
    grown_gpu: int = 0
    """Bytes by which it has grown on the GPU, over the loads of the running server."""
    reports: list[ScenarioReport] = field(default_factory=list)
    """Of the load under way."""

    @property
    def name(self) -> str:
        """``candidate``, ``rival`` or ``baseline``."""
        return self.side.folder.name

    @property
    def live(self) -> Running:
        """The server, which is there while it is verified and loaded."""
        assert self.running is not None
        return self.running

    @property
    def grown(self) -> int:
        """Bytes that it holds more than before its first load."""
        return 0 if self.resident is None or self.running is None else self.running.resident_bytes - self.resident

    def stop(self) -> None:
        """End the server with all that it started; safe at any time."""
        running, self.running, self.resident, self.grown_gpu = self.running, None, None, 0
        if running is not None:
            running.stop()


class Servers:
    """Starts them, and says whose doing it is when they end."""

    def __init__(self, task: ServingTask, target: Target, folder: Path) -> None:
        self.task = task
        self.target = target
        self.folder = folder
        self.lives: dict[str, Life] = {}

    def of(self, side: Side) -> Life:
        """The side's, with its workspace. Raises CandidateFailed for an overlay that does not fit."""
        name = side.folder.name
        if name not in self.lives:
            self.lives[name] = Life(side, overlaid(self.folder, side))
        return self.lives[name]

    def start(self, life: Life) -> None:
        """A server that is ready. Raises CandidateFailed, and TaskAtFault for what no candidate can bring about."""
        log = self.folder / "logs" / f"{life.name}-{len(life.logs) + 1}.log"
        life.logs.append(log)
        variables = environment(self.task, life.side.candidate, self.target)
        files = (self.folder / "task" / SNAPSHOT).resolve() if self.task.server.snapshot else None
        try:
            life.running = start(self.task.server, life.workspace, variables, log, model_files=files)
        except BadInput as error:
            raise TaskAtFault(f"the server cannot be started: {error.message}", error.remedy) from None
        with blamed(life):
            life.running.wait_ready()

    def logs(self) -> dict[str, bytes]:
        """The end of each server's log, by side."""
        said = {}
        for name, life in self.lives.items():
            parts = [f"--- start {n}\n".encode() + _end(log) for n, log in enumerate(life.logs, 1)]
            said[f"{name}.log"] = b"\n".join(parts)
        return said


@contextmanager
def blamed(life: Life) -> Iterator[None]:
    """What goes wrong is told with how the server ended, where it did, and with the end of its log.

    Raises CandidateFailed, and WorkerLost where it was killed from outside.
    """
    memory = ended_for_memory()
    try:
        yield
    except ServerFailed as failed:
        raise _ended(life, failed, "", memory) from None
    except CandidateFailed as failed:
        if failed.status is Status.crashed and (ended := life.live.ending()) is not None:
            raise _ended(life, ended, f"{failed.detail}; ", memory) from None
        said = life.live.tail
        log = f"; its log ends:\n{said}" if said and failed.status is not Status.wrong_values else ""
        raise CandidateFailed(failed.status, f"{failed.detail}{log}") from None


def _ended(life: Life, failed: ServerFailed, seen: str, memory: int) -> CandidateFailed | WorkerLost:
    """What the end of a server means. A SIGKILL comes from outside: a person, or the kernel for want of memory."""
    if failed.kind == "not_ready":
        return CandidateFailed(Status.not_ready, failed.detail)
    if life.live.stop().status != -signal.SIGKILL:
        return CandidateFailed(Status.crashed, f"{seen}{failed.detail}")
    if ended_for_memory() > memory:
        return WorkerLost(f"the kernel ended a process of this machine for want of memory; {failed.detail}")
    return WorkerKilled(f"the server was killed from outside; {failed.detail}")


def _end(log: Path) -> bytes:
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - KEPT_LOG))
        return file.read()
    return b""
