"""The harness of command tasks: any command that prints one JSON document of metrics.

Every run begins at the workspace as it was after ``prepare``, so nothing that one run leaves reaches the next.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from warpsmith.errors import WarpsmithError
from warpsmith.judge.documents import document, expect, metrics
from warpsmith.judge.evidence import Side
from warpsmith.judge.failures import CandidateFailed
from warpsmith.judge.runs import Place, Ran, failure, protection, run
from warpsmith.judge.workspaces import environment, overlaid
from warpsmith.model.evaluation import Status
from warpsmith.model.harness import CommandTask
from warpsmith.model.head import Direction, Workload
from warpsmith.model.step import ProfileRequest, Request

KEPT_OF_A_RUN = 1 << 14
"""Bytes of either stream of one run that are kept, from its end."""


class CommandHarness:
    """Runs the command of a task on both sides."""

    alone = False

    def __init__(self, request: Request | ProfileRequest, folder: Path) -> None:
        assert isinstance(request.task, CommandTask)
        self.request = request
        self.task = request.task
        self.folder = folder
        self._copies: dict[int, Path] = {}
        self._verified: set[int] = set()
        self._runs: list[dict[str, Any]] = []

    @property
    def conditions(self) -> tuple[str, ...]:
        """What is shut, what a run sees, and what nobody held still."""
        candidate = self.request.candidate
        names = sorted(environment(self.task, candidate, self.request.target, self.task.workloads[0]))
        repeats = f", each the median of {self.task.repeats} runs" if self.task.repeats > 1 else ""
        return (
            f"harness_reported: the samples are what '{' '.join(self.task.command)}' printed{repeats}",
            protection(),
            "not pinned to a core; caches and clocks are as the command leaves them",
            f"variables of a run: {', '.join(names)}",
        )

    def prepare(self, side: Side) -> None:
        """Its copy of the workspace, built, and kept aside. Raises CandidateFailed, WorkerLost."""
        copy = overlaid(self.folder, side)
        self._copies[id(side)] = copy
        if self.task.prepare:
            ran = run(self.task.prepare, self._place(side, None))
            self._note(side, "prepare", ran)
            what = f"prepare ('{' '.join(self.task.prepare)}')"
            if (failed := failure(ran, what)) is not None:
                if isinstance(failed, CandidateFailed) and failed.status is Status.crashed:
                    raise CandidateFailed(Status.build_failed, failed.detail)
                raise failed
        try:
            shutil.copytree(copy, self._prepared(copy), symlinks=True)
        except (shutil.Error, OSError) as error:
            raise CandidateFailed(Status.build_failed, f"what prepare left cannot be copied: {error}"[:500]) from None

    def start(self, side: Side) -> None:
        """Nothing: every run is a process of its own."""

    def verify(self, side: Side) -> None:
        """One run per workload, once; every sample is verified by its own document. Raises CandidateFailed."""
        if id(side) in self._verified:
            return
        for workload in self.task.workloads:
            self._measured(side, workload)
        self._verified.add(id(side))

    @property
    def parts(self) -> tuple[str, ...]:
        """One: all repeats of a side together."""
        return ("",)

    def sample(self, side: Side, workload: Workload, part: str) -> dict[str, float]:
        """The medians over the runs of one sample. Raises CandidateFailed, WorkerLost."""
        found = [self._measured(side, workload) for _ in range(self.task.repeats)]
        return {name: statistics.median(values[name] for values in found) for name in self.task.metrics}

    def stop(self, side: Side) -> None:
        """Nothing: every run was ended with all that it started."""

    def metric(self, name: str) -> tuple[str, Direction]:
        """As the task says it."""
        reported = self.task.metrics[name]
        return reported.unit, reported.direction

    def close(self) -> None:
        """Nothing: no run is under way."""

    def kept(self) -> Mapping[str, bytes]:
        """Every run, a line each."""
        return {"runs.jsonl": "".join(f"{json.dumps(line)}\n" for line in self._runs).encode()}

    def call(self, side: Side, workload: Workload) -> tuple[list[str], Place]:
        """What one run is, and where: the workspace is as ``prepare`` left it."""
        self._restore(self._copies[id(side)])
        return [self._filled(word, workload) for word in self.task.command], self._place(side, workload)

    def _measured(self, side: Side, workload: Workload) -> dict[str, float]:
        """One run that ended well and was right."""
        argv, place = self.call(side, workload)
        ran = run(argv, place)
        self._note(side, workload.name, ran)
        if (failed := failure(ran, f"'{' '.join(argv)}'")) is not None:
            raise failed
        try:
            said = document(ran.out.decode(errors="replace"))
        except ValueError:
            named = " ".join(argv)
            raise CandidateFailed(Status.bad_report, f"'{named}' printed no JSON document; {ran.said}") from None
        expect(self.task, said)
        return metrics(self.task, said)

    def _place(self, side: Side, workload: Workload | None) -> Place:
        variables = environment(self.task, side.candidate, self.request.target, workload)
        return Place(self._copies[id(side)], variables, self.task.timeout_s, self.task.hardware == "cuda")

    def _filled(self, word: str, workload: Workload) -> str:
        axes = workload.axes
        return re.sub(r"\{(\w+)\}", lambda m: str(axes[m[1]]) if m[1] in axes else m[0], word)

    def _prepared(self, copy: Path) -> Path:
        return copy.with_name(f"{copy.name}-prepared")

    def _restore(self, copy: Path) -> None:
        """Put the workspace back as it was after ``prepare``."""
        clear(copy)
        shutil.copytree(self._prepared(copy), copy, symlinks=True)

    def _note(self, side: Side, what: str, ran: Ran) -> None:
        streams = {"stdout": ran.out, "stderr": ran.err}
        said = {name: text[-KEPT_OF_A_RUN:].decode(errors="replace") for name, text in streams.items()}
        named = side.folder.name
        self._runs.append({"side": named, "of": what, "status": ran.status, "seconds": ran.seconds, **said})


def clear(folder: Path) -> None:
    """Remove a folder whatever modes its own folders were given. Raises WarpsmithError where something stays."""

    def let(_: object, path: str, __: Sequence[object]) -> None:
        for p in (Path(path).parent, Path(path)):
            if not p.is_symlink():
                p.chmod(0o700)
        shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()

    try:
        shutil.rmtree(folder, onerror=let)
    except OSError as error:
        raise WarpsmithError(f"{folder} cannot be removed: {error}.", "Remove it by hand, and run again.") from None
