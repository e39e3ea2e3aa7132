"""Profiles of candidates as the verbs and the campaign ask for them: which tool, on what, and those that are kept.

A profile is a fact, so one that was taken is used again: that of a campaign's ledger, or the last that a verb took.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from warpsmith.crew import profile_key, profiled
from warpsmith.errors import BadInput, Missing, ProfilerFailed, WarpsmithError
from warpsmith.model.candidate import Candidate
from warpsmith.model.harness import CommandTask, ServingTask
from warpsmith.model.profile import Profile, ProfileEffort
from warpsmith.model.step import Explain, Fault, ProfileRequest, Result
from warpsmith.model.target import Target
from warpsmith.model.task import AppTask, KernelTask
from warpsmith.profilers.tools import available
from warpsmith.store.files import write_atomic

if TYPE_CHECKING:
    from warpsmith.surface.workspace import Known, Workspace

Tool = Literal["ncu", "nsys", "cpu"]
LIMIT_S = {ProfileEffort.quick: 120.0, ProfileEffort.full: 300.0}
"""Longest time that a profiler may take over a candidate."""


def usual_tool(task: KernelTask | CommandTask) -> Tool:
    """The tool that counts what candidates of this task do; of a harness on a GPU the one that sees all of it."""
    if isinstance(task, CommandTask):
        return "nsys" if task.hardware == "cuda" else "cpu"
    return "ncu" if task.contract == "device" else "cpu"


def explains(known: Known) -> bool:
    """Whether a campaign on this machine profiles its leaders: where somebody in it reads what a profiler gives.

    The rules read what ncu counts, of written and captured kernels alike; the rhythm and models read the timeline of a
    command on a GPU. Callgrind's counts are for people: they take seconds, and nothing here reads them.
    """
    task = known.loaded.task
    return not isinstance(task, ServingTask) and (tool := usual_tool(task)) != "cpu" and available(tool)


def profile_request(
    space: Workspace,
    known: Known,
    target: Target,
    step: Explain,
    candidate: Candidate,
    *,
    tool: Tool | None = None,
    effort: ProfileEffort = ProfileEffort.quick,
    workload: str = "",
    limit_s: float | None = None,
) -> ProfileRequest:
    """A profile, complete. Raises BadInput for a serving task: what loads the server is not the judge's to trace."""
    task = known.loaded.task
    if isinstance(task, ServingTask):
        name = known.loaded.head.name
        raise BadInput(
            f"{name}: a server under load is not traced by itself.",
            "Trace what starts it and loads it, and have that kept with the candidate: 'warpsmith profile"
            f" {name} CANDIDATE -- warpsmith load {name} CANDIDATE --scenario {task.scenarios[-1].name}'.",
        )
    return ProfileRequest(
        step=step,
        task=task,
        task_digest=known.loaded.digest,
        candidate=candidate,
        baseline=known.baseline if isinstance(task, AppTask) else None,
        target=target,
        tool=tool or usual_tool(task),
        effort=effort,
        workload=workload,
        cold=space.settings.cold,
        timeout_s=space.settings.call_timeout_s,
        limit_s=limit_s or LIMIT_S[effort],
        cache=str(space.home / "cache"),
        fixtures=str(space.home / "fixtures") if isinstance(task, AppTask) else "",
    )


def take(space: Workspace, known: Known, request: ProfileRequest) -> Profile:
    """Profile now, in a session of its own, and keep the profile. Raises ProfilerFailed where there is none."""
    key = profile_key(request)
    executor = space.executor(space.home / "steps", request.target, "profile")
    try:
        executor.forget(key)  # what an earlier run left is not what was asked for now
        fault: Fault | None = None
        for attempt in range(space.settings.attempts):
            answer = profiled(executor, key, attempt, request, known.loaded.folder, space.blobs)
            if isinstance(answer, Result) and isinstance(answer.outcome, Profile):
                executor.forget(key)
                write_atomic(_file(space, key), answer.outcome.model_dump_json())
                return answer.outcome
            fault = answer.outcome if isinstance(answer, Result) and isinstance(answer.outcome, Fault) else None
            fault = fault or (answer if isinstance(answer, Fault) else Fault(what="no profile"))
            if fault.final:
                raise ProfilerFailed(f"{fault.what}: {fault.detail}")
    finally:
        executor.close()
    assert fault is not None
    raise WarpsmithError(f"the profile was lost {space.settings.attempts} times: {fault.what}: {fault.detail}")


def kept(space: Workspace, known: Known, request: ProfileRequest) -> Profile | None:
    """A profile of that very candidate, target, tool, effort and workload that was taken before; None without one."""
    try:
        return Profile.model_validate_json(_file(space, profile_key(request)).read_bytes())
    except (OSError, ValidationError):
        pass
    name = known.loaded.head.name
    for tag in space.tags(name):
        found = space.history(name, tag).profiles.get(request.candidate.id)
        same_place = found is not None and found.target == request.target.key and not request.workload
        if found is not None and same_place and found.effort is request.effort and found.tool.startswith(request.tool):
            return found
    return None


def profiled_target(space: Workspace, known: Known, candidate: str) -> tuple[Target, Missing | None]:
    """The device of this machine; where it has none, that of a campaign which profiled ``candidate``, and what is
    missing here. Raises Missing where there is neither.
    """
    try:
        return space.target(known), None
    except Missing as error:
        name = known.loaded.head.name
        for tag in space.tags(name):
            h = space.history(name, tag)
            found = h.profiles.get(candidate)
            if found is not None and h.campaign is not None and h.campaign.target.key == found.target:
                return h.campaign.target, error
        raise


def _file(space: Workspace, key: str) -> Path:
    return space.home / "profiles" / f"{key[:32]}.json"
