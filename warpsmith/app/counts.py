"""Counting an application's launches and nothing else, which costs it an addition each (``inject/count.cpp``)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import IO

from warpsmith.app.injection import counting
from warpsmith.app.library import counter
from warpsmith.app.log import Log, read_logs
from warpsmith.app.running import App, run
from warpsmith.model.base import Record


class ProcessCount(Record):
    """What one process of an application launched, from its start until it ended or became another program."""

    program: str
    """Its executable."""
    pid: int
    launches: int
    """Kernel launches that were asked for, those that went into graphs among them."""
    graph_launches: int


class Counts(Record):
    """How often an application called the driver's launch functions."""

    command: tuple[str, ...]
    status: int | None
    """Exit status, negative for a signal; None where its time was up."""
    seconds: float
    processes: tuple[ProcessCount, ...]
    """Those that started the driver, by their start."""

    @property
    def launched(self) -> bool:
        """Whether there was any launch."""
        return any(p.launches or p.graph_launches for p in self.processes)


def count(app: App, home: Path, limit_s: float | None, output: int | IO[bytes] | None) -> Counts:
    """Run the application once. Raises Missing, BuildFailed, and BadInput where the counter cannot be preloaded."""
    with tempfile.TemporaryDirectory(prefix="warpsmith-count-") as folder:
        variables = counting(counter(home / "cache"), Path(folder), app.environment)
        ended = run(app, variables, limit_s=limit_s, stdout=output)
        logs = read_logs(Path(folder))
    return Counts(
        command=app.argv, status=ended.status, seconds=ended.seconds, processes=tuple(_process(log) for log in logs)
    )


def _process(log: Log) -> ProcessCount:
    return ProcessCount(program=log.exe, pid=log.pid, launches=log.launched, graph_launches=log.graph_launched)
