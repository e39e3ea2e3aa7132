"""The verbs ``profile`` and ``explain``: what a profiler saw, and the one thing to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from warpsmith.model.candidate import Candidate
    from warpsmith.model.profile import Profile, ProfileEffort
    from warpsmith.surface import answers
    from warpsmith.surface.answers_profile import BucketsAnswer
    from warpsmith.surface.workspace import Known, Workspace

Tool = Literal["ncu", "nsys", "sanitizer", "cpu", "all"]
Amount = Literal["quick", "full"]


def profile(
    task: str = "",
    candidate: str = "entry",
    *,
    application: tuple[str, ...] = (),
    tool: Tool | None = None,
    effort: Amount = "quick",
    duration: float | None = None,
    workload: str = "",
    tag: str = "main",
) -> answers.ProfileAnswer:
    """Profile a candidate, or any program: 'profile -- APP ARGS...'. Headless; the report is kept.

    A candidate is run by the judge's own launcher or worker, on hidden inputs, and its outputs are verified. Of a
    command task the command itself is run. A program is run as it is; 'all' is one combined capture: a timeline, then
    the counters of the kernels that led it. With a harness task named too, what the program showed is kept as the
    profile of that candidate.

    Args:
        task: The task, by path or group/name.
        candidate: A folder, an id, or baseline, entry, best, or a peer's name.
        application: A program and its arguments, behind --.
        tool: What counts; nsys for a program and what knows the task's language where nothing is said.
        effort: quick, what the rules need; full, everything, with the source.
        duration: Seconds after which the program is ended, or longest time of the profiler over a candidate.
        workload: Of the task; the one with the most weight where none is given.
        tag: The campaign that 'best' refers to.
    """
    from warpsmith.errors import BadInput
    from warpsmith.model.profile import ProfileEffort
    from warpsmith.surface.answers import ProfileAnswer
    from warpsmith.surface.workspace import Workspace

    space = Workspace()
    if application and not task:
        return _application(space, application, tool or "nsys", effort, duration)
    if not task:
        raise BadInput("nothing to profile is named.", "Name a task, or a program behind --.")
    known = space.task(task)
    if application and known.loaded.kernel is not None:
        raise BadInput(f"both a task with kernels ({task}) and a program are named.", "Name one of them.")
    chosen = space.candidate(known, candidate, tag)
    name = known.loaded.head.name
    if known.loaded.kernel is None and tool != "sanitizer":
        told = _harness(space, known, chosen, tag, application, tool, ProfileEffort(effort), workload, duration)
        return ProfileAnswer(task=name, candidate=chosen.id, profile=told, reports=_paths(space, told))
    if tool == "sanitizer":
        from warpsmith.surface.sanitizing import sanitized, verdict

        evaluation = sanitized(space, known, chosen, "release")
        status = {"passed": 0, "failed": 1, "unavailable": 2}[verdict(evaluation)]
        return ProfileAnswer(exit_status=status, task=name, candidate=chosen.id, evaluation=evaluation)
    if tool == "all":
        raise BadInput(
            "--tool all is for programs.", "Profile a candidate with ncu and with nsys, or a program behind --."
        )
    from warpsmith.model.step import Explain
    from warpsmith.surface.profiling import profile_request, take

    step = Explain(candidate=chosen.id, round=0)
    request = profile_request(
        space, known, space.target(known), step, chosen, tool=tool, effort=ProfileEffort(effort), workload=workload,
        limit_s=duration,
    )  # fmt: skip
    found = take(space, known, request)
    return ProfileAnswer(task=name, candidate=chosen.id, profile=found, reports=_paths(space, found))


def explain(
    task: str, candidate: str = "best", *, effort: Amount = "quick", again: bool = False, workload: str = "",
    tag: str = "main",
) -> answers.ExplainAnswer | BucketsAnswer:  # fmt: skip
    """Say what limits a candidate: bottleneck, findings, the vendor's advice, roofline, and the one next edit to try.

    Uses a profile that is kept (that of a campaign does without the device), or takes one. Exit status 2 where nothing
    is left to gain by an edit. Of a command or serving task: where the time goes, beside the best before it or the
    baseline, and what the campaign asks for next; exit status 1 where there is no profile.

    Args:
        task: The task, by path or group/name.
        candidate: A folder, an id, or baseline, entry, best, or a peer's name.
        effort: quick, what the rules need; full, everything, with the source.
        again: Profile anew, whatever is kept.
        workload: Of the task; the one with the most weight where none is given.
        tag: The campaign that 'best' refers to.
    """
    from warpsmith.errors import BadInput
    from warpsmith.knowledge.library import Library
    from warpsmith.model.profile import ProfileEffort
    from warpsmith.model.step import Explain
    from warpsmith.surface.explanations import explained
    from warpsmith.surface.profiling import kept, profile_request, profiled_target, take, usual_tool
    from warpsmith.surface.workspace import Workspace

    space = Workspace()
    known = space.task(task)
    if known.loaded.kernel is None:
        from warpsmith.surface.harness_profiles import explain_harness

        chosen = space.candidate(known, _there(space, known, candidate, tag), tag)
        return explain_harness(space, known, chosen, tag, ProfileEffort(effort), again, workload)
    if usual_tool(known.loaded.kernel) == "cpu":
        raise BadInput(
            "the rules read what Nsight Compute counts, and this task runs on the processor.",
            f"'warpsmith profile {task} --tool cpu' counts instructions by line.",
        )
    chosen = space.candidate(known, _there(space, known, candidate, tag), tag)
    target, lacking = profiled_target(space, known, chosen.id)
    step = Explain(candidate=chosen.id, round=0)
    request = profile_request(space, known, target, step, chosen, effort=ProfileEffort(effort), workload=workload)
    found = None if again else kept(space, known, request)
    reused = found is not None
    if found is None and lacking is not None:
        raise lacking
    found = found or take(space, known, request)
    made = explained(space, known, target, found, Library(space.home, space.root, space.blobs))
    if made is None:
        raise BadInput("the profile holds no kernel that can be explained.", "Run 'explain --again'.")
    told = {"reused": reused, "rhythm": _rhythm(space, known, tag), "reports": _paths(space, found)}
    return made.model_copy(update=told)


def _harness(
    space: Workspace, known: Known, chosen: Candidate, tag: str, application: tuple[str, ...], tool: Tool | None,
    effort: ProfileEffort, workload: str, duration: float | None,
) -> Profile:  # fmt: skip
    """The command of a task, or a program that stands for its harness."""
    from warpsmith.errors import BadInput
    from warpsmith.surface.harness_profiles import take_harness, take_program

    assert tool != "sanitizer"
    if application:
        return take_program(space, known, chosen, tag, application, tool or "nsys", effort, duration)
    if tool == "all":
        raise BadInput("--tool all is for programs.", "Profile the command with nsys, or name a program behind --.")
    return take_harness(space, known, chosen, tag, tool, effort, workload, duration)


def _rhythm(space: Workspace, known: Known, tag: str) -> tuple[str, ...]:
    """What the campaign asks for next; nothing where there is none."""
    from warpsmith.surface.view import view

    name = known.loaded.head.name
    return view(space.history(name, tag), known.loaded.kernel).rhythm if tag in space.tags(name) else ()


def _there(space: Workspace, known: Known, candidate: str, tag: str) -> str:
    """``best`` where a campaign has one, else the entry."""
    name = known.loaded.head.name
    return "entry" if candidate == "best" and tag not in space.tags(name) else candidate


def _application(
    space: Workspace, argv: tuple[str, ...], tool: Tool, effort: Amount, duration: float | None
) -> answers.ProfileAnswer:
    from warpsmith.errors import BadInput
    from warpsmith.model.profile import ProfileEffort
    from warpsmith.profilers.application import Application
    from warpsmith.surface.answers import ProfileAnswer
    from warpsmith.surface.gpus import settle

    if tool == "sanitizer":
        raise BadInput("--tool sanitizer is for candidates.", f"Run 'compute-sanitizer {argv[0]}' by hand.")

    settle(space.settings, needed=False)

    def keep(report: Path) -> str:
        return space.blobs.put(report.read_bytes())

    found = Application(argv, duration, keep).profile(tool, ProfileEffort(effort))
    return ProfileAnswer(task="", candidate="", profile=found, reports=_paths(space, found))


def _paths(space: Workspace, found: Profile) -> tuple[str, ...]:
    return tuple(str(space.blobs.path(digest)) for digest in found.reports)
