"""Sanitizers as a gate: which tools look at which candidates, and what their looking means. Starts no process.

A tool runs the judge's own workers (the trusted launcher, or the worker of C) over hidden inputs, on the task's
smallest workload and on small hidden shapes; sanitize_device.py and sanitize_host.py say how. Outputs are verified
there too, so a candidate gains nothing by doing less under a tool. At the end each process makes planted mistakes of
the judge's own: a tool that does not report them was not at work, and a tool that was not at work passes nobody.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from warpsmith.errors import BuildFailed, Missing
from warpsmith.judge.contract import Bench, Runner, SanitizedRunner
from warpsmith.judge.evidence import Side
from warpsmith.judge.failures import CandidateFailed, WorkerLost
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import SanitizerFinding, SanitizerResult, Status
from warpsmith.model.head import Workload
from warpsmith.model.step import Request
from warpsmith.model.task import KernelTask
from warpsmith.toolchains.cache import build

DEVICE_TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
HOST_TOOLS = ("address", "undefined")
STATUS = {
    "memcheck": Status.crashed,
    "racecheck": Status.nondeterministic,
    "initcheck": Status.wrong_values,
    "synccheck": Status.crashed,
    "address": Status.crashed,
    "undefined": Status.crashed,
}
"""What a failed tool makes of an evaluation: a mistake that did not bite here bites elsewhere in that way."""
SHARE = 0.5
"""Of a step's time, for all tools together."""
MOST_TRAFFIC = 8 << 20
"""Bytes that a hidden workload may read and write to be run under tools that are up to 100 times slower."""


def tools_for(task: KernelTask, candidate: Candidate) -> tuple[str, ...]:
    """The tools that apply to a candidate; none where no sanitizer knows its language."""
    if task.contract == "device":
        return DEVICE_TOOLS
    return HOST_TOOLS if candidate.toolchain == "c" else ()


def small(task: KernelTask, workloads: Iterable[Workload]) -> tuple[Workload, ...]:
    """The first, whatever its size, and those that are small enough."""
    first, *others = workloads
    return (first, *(w for w in others if task.traffic(w) <= MOST_TRAFFIC))


def gate(
    request: Request, side: Side, bench: Bench, workloads: tuple[Workload, ...], meet: Callable[[Runner, int], None]
) -> tuple[SanitizerResult, ...]:
    """What each tool that the request names says of the candidate. ``meet`` calls a runner on hidden inputs of one of
    ``workloads`` and verifies its outputs. Nothing is raised for a tool that cannot look: it is unavailable.
    """
    assert isinstance(request.task, KernelTask)
    applicable = tools_for(request.task, side.candidate)
    results = unavailable(
        (t for t in request.sanitizers if t not in applicable),
        f"it does not apply to {side.candidate.toolchain} under the {request.task.contract} contract",
    )
    tools = tuple(t for t in request.sanitizers if t in applicable)
    until = time.monotonic() + SHARE * request.limit_s
    try:
        if tools:
            cache = Path(request.cache) / "build"
            built = build(side.candidate, side.folder, request.target, "sanitized", cache, request.task)
            for runner in bench.sanitized(side.candidate, built, side.folder, workloads, tools):
                results += look(runner, len(workloads), meet, until)
    except (BuildFailed, Missing) as error:
        done = {r.tool for r in results}
        results += unavailable((t for t in tools if t not in done), str(error))
    return tuple(results)


def look(
    runner: SanitizedRunner, workloads: int, meet: Callable[[Runner, int], None], until: float = math.inf
) -> list[SanitizerResult]:
    """One run under the runner's tools, begun and gone on with before ``until``. The runner is closed afterwards."""
    ended: CandidateFailed | WorkerLost | None = None
    said: dict[str, tuple[SanitizerFinding, ...] | str] = {}
    try:
        try:
            if time.monotonic() < until:
                runner.restart()
            for index in range(workloads):
                if time.monotonic() > until:
                    raise CandidateFailed(Status.timed_out, "no time was left for the tools")
                meet(runner, index)
        except (CandidateFailed, WorkerLost) as error:
            ended = error
        said = runner.report()
    except WorkerLost as lost:
        ended = ended or lost
    finally:
        runner.close()
    return [_result(tool, said.get(tool, "it left no report"), ended) for tool in runner.tools]


def unavailable(tools: Iterable[str], reason: str) -> list[SanitizerResult]:
    """None of them could look."""
    return [SanitizerResult(tool=tool, status="unavailable", reason=reason) for tool in tools]


def failure(results: Iterable[SanitizerResult]) -> CandidateFailed | None:
    """What the first failed tool makes of the candidate."""
    for result in results:
        if result.status == "failed":
            return CandidateFailed(STATUS[result.tool], f"{result.tool}: {result.findings[0].said}")
    return None


def _result(
    tool: str, said: tuple[SanitizerFinding, ...] | str, ended: CandidateFailed | WorkerLost | None
) -> SanitizerResult:
    if not isinstance(said, str) and said:
        return SanitizerResult(tool=tool, status="failed", findings=said)
    if isinstance(ended, CandidateFailed) and ended.status not in (Status.crashed, Status.timed_out):
        finding = SanitizerFinding(kernel="", kind=f"its outputs are wrong when the tool looks: {ended.detail}")
        return SanitizerResult(tool=tool, status="failed", findings=(finding,))
    if ended is not None:
        return SanitizerResult(tool=tool, status="unavailable", reason=f"the run under it ended early: {ended}")
    if isinstance(said, str):
        return SanitizerResult(tool=tool, status="unavailable", reason=said)
    return SanitizerResult(tool=tool, status="passed")
