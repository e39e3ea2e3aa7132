"""An Explain step, carried out in a session: the candidate built with its lines, run under a tool, and its report read.

What goes wrong is a fault that says what to do; a campaign goes on without the profile. Trying again helps only where a
process was lost.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from warpsmith.errors import BadInput, WarpsmithError
from warpsmith.judge.failures import CandidateFailed, WorkerLost
from warpsmith.judge.nvml import gpus
from warpsmith.judge.pin import must_see
from warpsmith.model.base import digest_bytes
from warpsmith.model.harness import CommandTask
from warpsmith.model.head import Workload
from warpsmith.model.metrics import HOPPER
from warpsmith.model.profile import Profile
from warpsmith.model.step import KEPT, Fault, Outcome, ProfileRequest, Result
from warpsmith.model.target import Target
from warpsmith.model.task import AppTask, KernelTask
from warpsmith.profilers import callgrind, ncu, nsys
from warpsmith.profilers.calling import VerifiedCalls, verified_calls
from warpsmith.profilers.harness import profile_command
from warpsmith.profilers.tools import Tool, find
from warpsmith.toolchains.cache import Built, build

if TYPE_CHECKING:
    from warpsmith.judge.device import DeviceBench


def carry_out(folder: Path) -> Result:
    """Profile as the request in ``folder`` says; whatever keeps it from doing so becomes a fault."""
    began = time.monotonic()
    outcome: Outcome
    try:
        request = ProfileRequest.model_validate_json((folder / "request.json").read_bytes())
        with np.errstate(all="ignore"):
            made = profile(request, folder)
        outcome = made.model_copy(update={"seconds": time.monotonic() - began})
    except WorkerLost as lost:
        outcome = Fault(what="the worker was lost", detail=str(lost))
    except (WarpsmithError, CandidateFailed) as error:
        outcome = Fault(what="no profile", detail=str(error), final=True)
    except (OSError, ValidationError) as error:
        outcome = Fault(what="the step could not be read or set up", detail=str(error))
    return Result(outcome=outcome, seconds=time.monotonic() - began)


def profile(request: ProfileRequest, folder: Path) -> Profile:
    """The profile that was asked for. Raises WarpsmithError, CandidateFailed and WorkerLost."""
    task = request.task
    if isinstance(task, CommandTask):
        found, report = profile_command(request, task, folder)
        return found.model_copy(update={"reports": _keep(folder, [report])})
    if not isinstance(task, KernelTask):
        raise BadInput(f"tasks of the kind {task.kind!r} cannot be profiled.", "Use 'profile -- APP ARGS...'.")
    workload = chosen(task, request.workload)
    task = task.model_copy(update={"workloads": (workload,)})
    on_device = task.contract == "device"
    if (request.tool == "cpu") is on_device or (not on_device and request.candidate.toolchain != "c"):
        raise BadInput(
            f"--tool {request.tool} cannot profile a {request.candidate.toolchain} candidate under the {task.contract}"
            " contract.",
            "Use ncu or nsys for the device contract, and cpu for C.",
        )
    tool = find("valgrind" if request.tool == "cpu" else request.tool)
    cache = Path(request.cache) / "build"
    built = build(request.candidate, folder / "candidate", request.target, "profiled", cache, task)
    take = _on_host if not on_device else _traced if request.tool == "nsys" else _counted
    return take(request, task, folder, built, tool)


def chosen(task: KernelTask, name: str) -> Workload:
    """The workload of that name; without one, that with the most weight, and of those with the most traffic."""
    found = {w.name: w for w in task.workloads}
    if name and name not in found:
        raise BadInput(f"--workload: {name!r} is not one of {task.name}.", f"Choose one of: {', '.join(found)}.")
    return found[name] if name else max(task.workloads, key=lambda w: (w.weight, task.traffic(w)))


def _counted(request: ProfileRequest, task: KernelTask, folder: Path, built: Built, tool: Tool) -> Profile:
    """Nsight Compute."""
    from warpsmith.profilers.counting import Counting
    from warpsmith.profilers.launches import Calls

    bench, verified = _device(request, task, folder)
    try:
        calls = Calls(bench, task, verified, request.candidate, built, request.limit_s)
        launches = len(calls.plan.launches)
        ask = ncu.Ask(
            kernels=calls.symbols,
            skip=launches,
            count=min(launches, ncu.MOST_LAUNCHES),
            effort=request.effort,
            cold=request.cold,
            architecture=architecture(request.target),
        )
        counting = Counting(tool, calls, folder, _sources(request, folder))
        kernels = counting.count(ask)
        if launches == 1 and not isinstance(task, AppTask):  # the only kernel of a call moves all that the call must
            least = {"compulsory_bytes": float(task.traffic(task.workloads[0]))}
            kernels = tuple(k.model_copy(update={"metrics": {**k.metrics, **least}}) for k in kernels)
    finally:
        verified.close()
        bench.close()
    some = f"of {launches} launches of a call the first {ask.count} were counted"
    conditions = (*counting.conditions, *calls.conditions, *([some] if launches > ncu.MOST_LAUNCHES else []))
    assert counting.report is not None
    return _profile(request, tool, task, conditions, kernels=kernels, reports=_keep(folder, [counting.report]))


def _traced(request: ProfileRequest, task: KernelTask, folder: Path, built: Built, tool: Tool) -> Profile:
    """Nsight Systems."""
    from warpsmith.profilers.launches import TRACED_CALLS, Calls

    scratch = folder / "nsys"
    report, database = scratch / "report.nsys-rep", scratch / "report.sqlite"

    def why() -> WarpsmithError | None:
        return None if report.is_file() else nsys.no_report(tool, report)

    bench, verified = _device(request, task, folder)
    try:
        calls = Calls(bench, task, verified, request.candidate, built, request.limit_s)
        calls.under(tool, nsys.command(tool, report.with_suffix("")), scratch, why, TRACED_CALLS)
    finally:
        verified.close()
        bench.close()
    nsys.export(tool, report, database)
    timeline = nsys.read_timeline(database)
    return _profile(request, tool, task, calls.conditions, timeline=timeline, reports=_keep(folder, [report]))


def _on_host(request: ProfileRequest, task: KernelTask, folder: Path, built: Built, tool: Tool) -> Profile:
    """Callgrind on the worker of a C candidate."""
    from warpsmith.judge.host import HostBench
    from warpsmith.profilers.cpu import CallgrindRunner

    cache = Path(request.cache) / "build"
    bench = HostBench(task, request.target, folder / "scratch", cache, cold=False, timeout_s=request.limit_s)
    try:
        verified = verified_calls(request, task, folder, bench)
        runner = CallgrindRunner(bench, task, request.candidate, built, folder / "candidate", tool)
        try:
            runner.restart()
            verified.make(runner)
            text = runner.counted()
        finally:
            runner.close()
            verified.close()
    finally:
        bench.close()
    counts = callgrind.parse(text, (str(built.binary),))
    kernel = callgrind.profile(counts, request.candidate.entry, _sources(request, folder))
    output = folder / "callgrind.out"
    output.write_text(text)
    conditions = ("counted by simulation, of the candidate's own code, built without AVX-512",)
    return _profile(request, tool, task, conditions, kernels=(kernel,), reports=_keep(folder, [output]))


def _device(request: ProfileRequest, task: KernelTask, folder: Path) -> tuple[DeviceBench, VerifiedCalls]:
    """The bench, and what makes calls in it; of a captured kernel the original runs there too."""
    from warpsmith.judge.appdevice import AppDeviceBench
    from warpsmith.judge.device import DeviceBench

    kind = AppDeviceBench if isinstance(task, AppTask) else DeviceBench
    told = (task, request.target, folder / "scratch", Path(request.cache) / "build")
    bench = kind(*told, cold=request.cold, timeout_s=request.timeout_s)
    try:
        return bench, verified_calls(request, task, folder, bench)
    except BaseException:
        bench.close()
        raise


def _profile(request: ProfileRequest, tool: Tool, task: KernelTask, conditions: Iterable[str], **seen: Any) -> Profile:
    on_device = task.contract == "device"
    said = (
        *must_see(request.target, gpus),
        *(("cache: cold (flushed before every pass)" if request.cold else "cache: warm",) if on_device else ()),
        *conditions,
    )
    return Profile(
        candidate=request.candidate.id,
        target=request.target.key,
        tool=tool.said,
        effort=request.effort,
        workload=task.workloads[0].name,
        conditions=said,
        **seen,
    )


def architecture(target: Target) -> int:
    """90 for ``sm_90a``; Hopper's where the target does not say."""
    digits = "".join(c for c in target.architecture if c.isdigit())
    return int(digits) if digits else HOPPER


def _sources(request: ProfileRequest, folder: Path) -> dict[str, str]:
    files = {s.path: folder / "candidate" / s.path for s in request.candidate.sources}
    return {name: path.read_text(errors="replace") for name, path in files.items() if path.is_file()}


def _keep(folder: Path, reports: Iterable[Path]) -> tuple[str, ...]:
    """Move reports to where the executor's side takes them from; their digests."""
    (folder / KEPT).mkdir(exist_ok=True)
    digests = []
    for report in reports:
        digest = digest_bytes(report.read_bytes())
        shutil.move(report, folder / KEPT / f"{digest}{report.suffix}")
        digests.append(digest)
    return tuple(digests)
