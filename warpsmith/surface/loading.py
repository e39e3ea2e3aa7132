"""The verb ``load``: the scenarios of a serving task against its server, or another. Owns where reports are kept."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from warpsmith.errors import BadInput

if TYPE_CHECKING:
    from warpsmith.model.harness import LoadReport, Scenario, ServingTask
    from warpsmith.surface import answers_load as answers
    from warpsmith.surface.workspace import Known, Workspace

LoadTool = Literal["own", "aiperf", "guidellm", "vllm"]


def load(
    task: str,
    candidate: str = "entry",
    *,
    url: str = "",
    scenario: tuple[str, ...] = (),
    tool: LoadTool = "own",
    output: Path | None = None,
    tag: str = "main",
    tell: Callable[[str], None] | None = None,
) -> answers.LoadAnswer:
    """Load a served model with the scenarios of a serving task, and say what it answered how fast.

    The task's server is started for it, and ended afterwards, unless the task or --url names one that runs already.
    Nothing is judged: 'bench' does that. Exit status 1 where more requests failed than the task allows, or the server
    ended by itself.

    Args:
        task: The task, by path or group/name.
        candidate: A folder, an id, or baseline, entry, best, or a peer's name: what is served.
        url: Load the server that is there, as http://host:port.
        scenario: Only these of the task's scenarios.
        tool: Who loads: our own client, or another tool in an environment of its own (setting load_tools).
        output: File for the report; under .warpsmith/load where none is given.
        tag: The campaign that 'best' refers to.
        tell: Told what is going on.
    """
    from warpsmith.judge.loadtools import program_of
    from warpsmith.serving.process import ENDING_S
    from warpsmith.store.files import write_atomic
    from warpsmith.surface.answers import NO, YES
    from warpsmith.surface.answers_load import LoadAnswer
    from warpsmith.surface.serving import served
    from warpsmith.surface.workspace import Workspace

    space = Workspace()
    known = space.task(task)
    served_task = _serving(known)
    wanted = _wanted(served_task, scenario)
    place = _kept(space, served_task, output)
    if tool != "own":
        program_of(tool, space.settings.load_tools, _tokenizer(space, known))  # before a server is started for it
    say = tell or (lambda text: None)
    crashed = served_by = ""
    if url or served_task.server.url:
        report = _loaded(space, known, tool, url or served_task.server.url, wanted)
    else:
        chosen = space.candidate(known, candidate, tag)
        served_by = chosen.id
        with served(space, known, chosen) as running:
            running.wait_ready()
            say(f"ready: {running.url}; log: {running.log}")
            report = _loaded(space, known, tool, running.url, wanted)
            unanswered = any(one.errors for one in report.scenarios)
            crashed = str(running.ending(ENDING_S if unanswered else 0.0) or "")
            running.stop()  # in order: what traces it writes at its end
    write_atomic(place, report.model_dump_json(indent=1) + "\n")
    failed = tuple(one.scenario for one in report.scenarios if _too_many(one.requests, one.errors, served_task))
    status = NO if failed or crashed else YES
    return LoadAnswer(
        exit_status=status, task=served_task.name, candidate=served_by, report=report, file=str(place), failed=failed,
        crashed=crashed,
    )  # fmt: skip


def _serving(known: Known) -> ServingTask:
    from warpsmith.model.harness import ServingTask

    task = known.loaded.task
    if not isinstance(task, ServingTask):
        raise BadInput(f"{known.loaded.head.name} is no serving task.", "Name one of kind serving.")
    return task


def _wanted(task: ServingTask, names: tuple[str, ...]) -> tuple[Scenario, ...]:
    there = {one.name: one for one in task.scenarios}
    if unknown := [name for name in names if name not in there]:
        raise BadInput(f"{task.name} has no scenario {', '.join(unknown)}.", f"There are: {', '.join(there)}.")
    return tuple(there[name] for name in names or there)


def _kept(space: Workspace, task: ServingTask, output: Path | None) -> Path:
    """Where the report goes; asked before anything is loaded, so that a bad place costs nothing."""
    if output is not None:
        if output.is_dir():
            raise BadInput(f"--output: {output} is a folder.", "Name a file.")
        return space.outside_releases(output)
    return space.home / "load" / task.name / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.json"


def _loaded(space: Workspace, known: Known, tool: LoadTool, url: str, wanted: tuple[Scenario, ...]) -> LoadReport:
    from warpsmith.judge.load import load as load_ourselves
    from warpsmith.judge.loadtools import load_by

    task, settings = _serving(known), space.settings
    if tool == "own":
        return load_ourselves(url, task.server.model, wanted, timeout_s=task.timeout_s)
    return load_by(
        tool, settings.load_tools, url, task.server.model, wanted,
        tokenizer=_tokenizer(space, known), timeout_s=task.timeout_s,
    )  # fmt: skip


def _tokenizer(space: Workspace, known: Known) -> str:
    """What another tool measures its prompts by; empty where nothing says it."""
    snapshot = _serving(known).server.snapshot
    return space.settings.load_tokenizer or (str((known.loaded.folder / snapshot).resolve()) if snapshot else "")


def _too_many(answered: int, errors: dict[str, int], task: ServingTask) -> bool:
    failed = sum(errors.values())
    return failed > task.failures * (answered + failed)
