"""A profile of the real harness: the command of a task, in the copy of the workspace that a candidate's overlay makes.

It runs once under the tool, in the sandbox of every other run, with the variables of every other run. Its document is
not verified: the tool writes into the same streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from warpsmith.errors import BadInput, ProfilerFailed
from warpsmith.judge import runs
from warpsmith.judge.command import CommandHarness
from warpsmith.judge.evidence import Side
from warpsmith.judge.nvml import gpus
from warpsmith.judge.pin import must_see
from warpsmith.model.harness import CommandTask
from warpsmith.model.head import Workload
from warpsmith.model.profile import KernelProfile, Profile
from warpsmith.model.step import ProfileRequest
from warpsmith.profilers import callgrind, nsys
from warpsmith.profilers.cpu import OPTIONS
from warpsmith.profilers.tools import Ran, find

SCRATCH = ".warpsmith-profile"
"""Where in its copy of the workspace the tool writes."""
MOST_FUNCTIONS = 20
"""Functions that are kept of what callgrind counted."""


def profile_command(request: ProfileRequest, task: CommandTask, folder: Path) -> tuple[Profile, Path]:
    """What the tool saw of the command, and its report. Raises WarpsmithError, CandidateFailed and WorkerLost."""
    if request.tool == "ncu":
        raise BadInput("--tool ncu counts one kernel, and a harness is looked at as a whole.", "Use nsys or cpu.")
    tool = find("valgrind" if request.tool == "cpu" else "nsys")
    workload = _chosen(task, request.workload)
    harness = CommandHarness(request, folder)
    side = Side(request.candidate, folder / "candidate")
    harness.prepare(side)
    argv, place = harness.call(side, workload)
    scratch = place.folder / SCRATCH
    scratch.mkdir()
    place = replace(place, timeout_s=request.limit_s)
    said = Profile(
        candidate=request.candidate.id, target=request.target.key, tool=tool.said, effort=request.effort,
        workload=workload.name,
        conditions=(*must_see(request.target, gpus), f"'{' '.join(argv)}', once; its document was not verified"),
    )  # fmt: skip
    if request.tool == "cpu":
        command = (tool.path, *OPTIONS, "--trace-children=yes", f"--callgrind-out-file={scratch / 'callgrind.%p'}")
        _ran((*command, *argv), place)
        return _counted(said, scratch, Path(argv[0]).name)
    report, database = scratch / "report.nsys-rep", scratch / "report.sqlite"
    ran = _ran((*nsys.command(tool, report.with_suffix("")), *argv), place)
    if not report.is_file():
        raise nsys.no_report(tool, report, ran)
    nsys.export(tool, report, database)
    return said.model_copy(update={"timeline": nsys.read_timeline(database)}), report


def _ran(argv: Sequence[str], place: runs.Place) -> Ran:
    """How it ended; it may have ended badly. Raises ProfilerFailed where it had to be ended."""
    ran = runs.run(argv, place)
    if ran.ended is not None:
        raise ProfilerFailed(
            f"{Path(argv[0]).name} over the harness: {ran.ended[1]}; {ran.said}",
            "Give it more time (--duration), or name a workload that takes less.",
        )
    if ran.status != 0:
        raise ProfilerFailed(
            f"{Path(argv[0]).name} over the harness ended with status {ran.status}; {ran.said}",
            "See whether the task passes 'check'; 'profile TASK CANDIDATE -- APP ARGS...' profiles a program as it is.",
        )
    return Ran(ran.status, (ran.out + ran.err).decode(errors="replace"), ran.seconds)


def _counted(said: Profile, scratch: Path, name: str) -> tuple[Profile, Path]:
    """Of all processes the one that did most: as a whole, then its functions by what they did themselves."""
    seen = {p: callgrind.parse(p.read_text(errors="replace")) for p in scratch.glob("callgrind.*") if p.stat().st_size}
    if not seen:
        raise ProfilerFailed(f"{said.tool} left no output.", "See whether valgrind works by hand.")
    most = max(seen, key=lambda path: seen[path].total("Ir"))
    counted = f"counted by simulation; of {len(seen)} processes the one that did most"
    whole = callgrind.profile(seen[most], name, {})
    at = seen[most].events.index("Ir")
    leading = sorted(seen[most].functions.items(), key=lambda item: -item[1][at])[:MOST_FUNCTIONS]
    functions = (
        KernelProfile(kernel=function, grid=(1, 1, 1), block=(1, 1, 1), metrics={"cpu_instructions": float(cost[at])})
        for function, cost in leading
    )
    return said.model_copy(update={"kernels": (whole, *functions), "conditions": (*said.conditions, counted)}), most


def _chosen(task: CommandTask, name: str) -> Workload:
    found = {w.name: w for w in task.workloads}
    if name and name not in found:
        raise BadInput(f"--workload: {name!r} is not one of {task.name}.", f"Choose one of: {', '.join(found)}.")
    return found[name] if name else max(task.workloads, key=lambda w: w.weight)
