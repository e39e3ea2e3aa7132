"""The verb ``serve``: a serving task's server in the foreground. Owns the folder that a server runs in, and its end."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from warpsmith.errors import BadInput

if TYPE_CHECKING:
    from warpsmith.model.candidate import Candidate
    from warpsmith.model.harness import ServingTask
    from warpsmith.serving.process import Running
    from warpsmith.surface import answers_serving as answers
    from warpsmith.surface.workspace import Known, Workspace

LOOK_S = 0.2
"""Between two looks at whether the server is there."""


def serve(
    task: str, candidate: str = "entry", *, port: int = 0, tag: str = "main", tell: Callable[[str], None] | None = None
) -> answers.ServeAnswer:
    """Serve a serving task's model, OpenAI-compatible, on this machine only, until Ctrl-C or SIGTERM.

    Then no new requests are taken, those under way are finished, and everything that was started is ended. Says the
    address on standard error once it is ready; the log is kept under .warpsmith/serving. Exit status 1 where the server
    never gets ready or ends by itself.

    Args:
        task: The task, by path or group/name.
        candidate: A folder, an id, or baseline, entry, best, or a peer's name.
        port: Where it listens; 0: at any free port.
        tag: The campaign that 'best' refers to.
        tell: Told what is going on.
    """
    from warpsmith.surface.answers_serving import ServeAnswer
    from warpsmith.surface.workspace import Workspace

    space = Workspace()
    known = space.task(task)
    chosen = space.candidate(known, candidate, tag)
    say = tell or (lambda text: None)
    with served(space, known, chosen, port) as running:
        say(f"log: {running.log}")
        with _ended_by_signal():
            running.wait_ready()
            say(f"ready: {running.url}/v1 serves {running.server.model!r}; Ctrl-C ends it")
            while True:
                running.check()
                time.sleep(LOOK_S)
        say("finishing the requests under way; Ctrl-C again ends them")
        ended = running.stop()
    return ServeAnswer(
        task=known.loaded.head.name, candidate=chosen.id, url=running.url, log=str(running.log), how=ended.how,
        status=ended.status, seconds=ended.seconds,
    )  # fmt: skip


@contextmanager
def served(space: Workspace, known: Known, chosen: Candidate, port: int = 0) -> Iterator[Running]:
    """The server of a serving task with a candidate's overlay; it need not be ready yet, and is ended afterwards.

    Raises BadInput for a task that has none to be started.
    """
    from warpsmith.judge.workspaces import environment
    from warpsmith.serving.process import start
    from warpsmith.serving.traced import WRITE_S, added

    task = _serving(known)
    folder = space.home / "serving" / task.name / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    files = known.loaded.folder / task.server.snapshot if task.server.snapshot else None
    if files is not None and not files.is_dir():
        raise BadInput(f"{known.loaded.folder / 'task.toml'}: server.snapshot: {files} is no folder.", "Fetch it.")
    tool = added()
    variables = environment(task, chosen, space.target(known)) | tool
    server = task.server.model_copy(update={"drain_s": max(task.server.drain_s, WRITE_S)}) if tool else task.server
    workspace = _laid_out(space, known, chosen, folder)
    try:
        running = start(server, workspace, variables, folder / "server.log", port, files)
        try:
            yield running
        finally:
            running.stop(at_once=True)  # nothing where it was stopped before
    finally:
        for part in ("task", "candidate", "sides"):
            shutil.rmtree(folder / part, ignore_errors=True)


def _serving(known: Known) -> ServingTask:
    from warpsmith.model.harness import ServingTask

    task = known.loaded.task
    if not isinstance(task, ServingTask):
        kind = getattr(task, "kind", "other")
        raise BadInput(f"{known.loaded.head.name} is a {kind} task; only serving tasks are served.", "Name another.")
    if task.server.url:
        raise BadInput(f"{task.name} is served at {task.server.url} already.", "Load it with 'warpsmith load'.")
    return task


def _laid_out(space: Workspace, known: Known, chosen: Candidate, folder: Path) -> Path:
    """A copy of the workspace with the overlay on it. Raises BadInput where the overlay does not fit."""
    from warpsmith.judge.evidence import Side
    from warpsmith.judge.failures import CandidateFailed
    from warpsmith.judge.workspaces import WORKSPACE, overlaid
    from warpsmith.store.folders import workspace_digests

    task = _serving(known)
    for path in workspace_digests(known.loaded.folder, task):
        place = folder / "task" / WORKSPACE / path
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(known.loaded.folder / task.workspace / path, place)
    space.blobs.unpack(chosen, folder / "candidate")
    try:
        return overlaid(folder, Side(chosen, folder / "candidate"))
    except CandidateFailed as error:
        raise BadInput(f"the candidate {chosen.id[:10]} cannot be served: {error.detail}.", "Mend it.") from None


@contextmanager
def _ended_by_signal() -> Iterator[None]:
    """SIGINT and SIGTERM end what is within, quietly; afterwards both do again what they did before."""

    def told(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, told) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
