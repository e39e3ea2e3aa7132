"""The crew of one machine: proposals on one thread, measurements on another, outcomes through one queue.

Stands beside the campaign, above ``execute`` and ``propose``, which know nothing of each other.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Empty, Queue

from pydantic import ValidationError

from warpsmith.errors import BadInput, WarpsmithError
from warpsmith.execute.local import LocalExecutor
from warpsmith.model.base import digest
from warpsmith.model.campaign import Finished, Submitted
from warpsmith.model.candidate import Candidate
from warpsmith.model.harness import HarnessTask, ServingTask
from warpsmith.model.step import (
    Explain,
    Fault,
    Measure,
    Outcome,
    ProfileRequest,
    Proposal,
    Propose,
    Request,
    Result,
    Step,
    step_key,
)
from warpsmith.model.task import task_digest
from warpsmith.propose import Proposer
from warpsmith.store.blobs import Blobs
from warpsmith.store.folders import workspace_digests
from warpsmith.store.history import History

RequestFor = Callable[[Measure, Candidate, Candidate], Request]
"""Completes a measurement with the task, the target and the settings of this campaign."""
ProfileFor = Callable[[Explain, Candidate], ProfileRequest]
"""The same for a profile."""


Done = tuple[Finished, str | None]
"""An outcome, and the key of the step's folder where it has one."""


class LocalCrew:
    """One device, one proposer, ``asks`` threads for it. ``inbox`` is the folder where submissions land."""

    def __init__(
        self,
        executor: LocalExecutor,
        proposer: Proposer,
        request_for: RequestFor,
        blobs: Blobs,
        task: Path,
        inbox: Path,
        profile_for: ProfileFor | None = None,
        asks: int = 1,
    ) -> None:
        self.executor = executor
        self.proposer = proposer
        self.request_for = request_for
        self.profile_for = profile_for
        self.blobs = blobs
        self.task = task
        self.inbox = inbox
        self._measuring = ThreadPoolExecutor(1, "measure")
        self._asking = ThreadPoolExecutor(asks, "propose")
        self._done: Queue[Future[Done]] = Queue()
        self._busy = 0
        self._kept: list[str] = []
        """Steps whose folders can go once their outcome is in the ledger."""
        self._taken: list[Path] = []
        """Submissions whose files can go once their event is in the ledger."""

    @property
    def free(self) -> int:
        """1 while no measurement is under way."""
        return 1 - self._busy

    def submit(self, step: Step, history: History) -> None:
        """Begin ``step`` on its thread."""
        if isinstance(step, Propose):
            future = self._asking.submit(self._propose, step, history)
        elif isinstance(step, Measure):
            self._busy += 1
            future = self._measuring.submit(self._measure, step, history)
        else:
            self._busy += 1
            future = self._measuring.submit(self._explain, step, history)
        future.add_done_callback(self._done.put)

    def next(self) -> Finished | None:
        """The next outcome, or None where a submission came first. Raises what a thread raised: that is our own bug,
        never a candidate's doing.
        """
        for kept in self._kept:
            self.executor.forget(kept)  # its event has been appended since
        self._kept = []
        while True:
            try:
                finished, key = self._done.get(timeout=0.2).result()
            except Empty:  # a wait without time-out could not be interrupted, and would not see a submission
                if set(self.inbox.glob("*.json")) - set(self._taken):
                    return None
                continue
            if not isinstance(finished.step, Propose):
                self._busy -= 1
            if key is not None and not isinstance(finished.outcome, Fault):
                self._kept.append(key)  # the folder of a fault stays, to be looked into
            return finished

    def arrived(self) -> list[Submitted]:
        """The submissions in the inbox. Each file stays until the next call, when its event is in the ledger.

        One that cannot be read is put aside, with its reason, as ``*.refused``.
        """
        for path in self._taken:
            path.unlink(missing_ok=True)
        self._taken = []
        submissions = []
        for path in sorted(self.inbox.glob("*.json")):
            try:
                submissions.append(Submitted.model_validate_json(path.read_bytes()))
            except ValidationError as error:
                path.with_suffix(".refused").write_text(f"{error}\n")
            self._taken.append(path)
        return submissions

    def close(self) -> None:
        """End the session and the threads; running steps are lost, and asked for again by the next process."""
        if (end := getattr(self.proposer, "close", None)) is not None:
            end()  # what it started (an agent) would otherwise go on, and this process would wait for it
        self.executor.close()
        self._measuring.shutdown(wait=True, cancel_futures=True)
        self._asking.shutdown(wait=False, cancel_futures=True)

    def _propose(self, step: Propose, history: History) -> Done:
        began = time.monotonic()
        outcome: Proposal | Fault
        try:
            outcome = self.proposer.propose(step, history)
        except WarpsmithError as error:
            outcome = Fault(what="the proposer failed", detail=str(error), asks=getattr(error, "asks", ()))
        return Finished(step=step, outcome=outcome, seconds=time.monotonic() - began, at=time.time()), None

    def _measure(self, step: Measure, history: History) -> Done:
        began = time.monotonic()
        request = self.request_for(step, history.candidates[step.candidate], history.candidates[step.rival])

        def prepare(folder: Path) -> None:
            write_step(folder, request, self.task, self.blobs)

        key = measurement_key(request)
        answer = self.executor.run(key, step.attempt, prepare, request.limit_s)
        for report in self.executor.kept(key):
            self.blobs.put(report.read_bytes())
        outcome: Outcome = answer.outcome if isinstance(answer, Result) else answer
        seconds = answer.seconds if isinstance(answer, Result) else time.monotonic() - began
        return Finished(step=step, outcome=outcome, seconds=seconds, at=time.time()), key

    def _explain(self, step: Explain, history: History) -> Done:
        began = time.monotonic()
        if self.profile_for is None:
            fault = Fault(what="no profile", detail="this crew has no profiler", final=True)
            return Finished(step=step, outcome=fault, seconds=0.0, at=time.time()), None
        request = self.profile_for(step, history.candidates[step.candidate])
        key = profile_key(request)
        answer = profiled(self.executor, key, step.attempt, request, self.task, self.blobs)
        outcome: Outcome = answer.outcome if isinstance(answer, Result) else answer
        return Finished(step=step, outcome=outcome, seconds=time.monotonic() - began, at=time.time()), key


def profiled(
    executor: LocalExecutor, key: str, attempt: int, request: ProfileRequest, task: Path, blobs: Blobs
) -> Result | Fault:
    """Carry a profile out. The profiler's reports are blobs by the time that this returns."""

    def prepare(folder: Path) -> None:
        write_step(folder, request, task, blobs)

    answer = executor.run(key, attempt, prepare)
    for report in executor.kept(key):
        blobs.put(report.read_bytes())
    return answer


def profile_key(request: ProfileRequest) -> str:
    """What makes two profiles the same one."""
    told = [request.target.key, request.cold, request.tool, request.effort, request.workload]
    return digest([step_key(request.step), request.task_digest, *told])


def measurement_key(request: Request) -> str:
    """What makes two measurements the same one: the step, the task, the target, and what the judge was told."""
    baseline = request.baseline.id if request.baseline else None
    told = [request.target.key, request.cold, request.configuration, baseline, request.admission]
    return digest([step_key(request.step), request.task_digest, *told])


def write_step(folder: Path, request: Request | ProfileRequest, task: Path, blobs: Blobs) -> None:
    """Make a step's folder whole: ``request.json`` last, with the task's oracle and the candidates beside it."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "task").mkdir(parents=True)
    reference = getattr(request.task, "reference", None)
    if reference is not None:
        shutil.copy2(task / reference, folder / "task" / reference)
    if isinstance(request.task, HarnessTask):
        _write_workspace(folder / "task", request, task)
    blobs.unpack(request.candidate, folder / "candidate")
    if isinstance(request, Request):
        blobs.unpack(request.rival, folder / "rival")
    if request.baseline is not None:
        blobs.unpack(request.baseline, folder / "baseline")
    (folder / "request.json").write_text(json.dumps(request.model_dump(mode="json"), indent=1))


def _write_workspace(folder: Path, request: Request | ProfileRequest, task: Path) -> None:
    """``workspace/`` of a harness task, and ``snapshot``, a link to the model's files. Raises BadInput for a workspace
    that is no longer the one that the task was read with: its measurements would be those of another task.
    """
    said = request.task
    assert isinstance(said, HarnessTask)
    digests = workspace_digests(task, said)
    for path in digests:
        place = folder / "workspace" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(task / said.workspace / path, place)
    if task_digest(said, digests) != request.task_digest:
        raise BadInput(f"the files of {task / said.workspace} have changed.", "Run the same command again.")
    if isinstance(said, ServingTask) and said.server.snapshot:
        (folder / "snapshot").symlink_to((task / said.server.snapshot).resolve())
