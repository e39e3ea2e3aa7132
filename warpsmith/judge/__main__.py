"""A judge session: reads step folders from standard input, a line each, and leaves ``result.json`` in each.

Started by an executor, kept warm, ended by closing its standard input or by the death of its parent.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from warpsmith.errors import TaskAtFault, WarpsmithError
from warpsmith.judge.contract import Bench
from warpsmith.judge.failures import Kills, WorkerLost
from warpsmith.judge.harness import HarnessJudge
from warpsmith.judge.kernel import KernelJudge
from warpsmith.judge.nvml import gpus
from warpsmith.judge.pin import must_see
from warpsmith.judge.progress import Progress
from warpsmith.model.harness import ServingTask
from warpsmith.model.step import DONE, Fault, Outcome, Request, Result
from warpsmith.model.target import Target
from warpsmith.model.task import AppTask, KernelTask
from warpsmith.store.files import write_atomic

PR_SET_PDEATHSIG = 1
QUIET_S = 5.0
"""Runs of a command may take milliseconds: what is going on is said so often, at most."""
Tell = Callable[[str], None]


def make_bench(task: KernelTask, target: Target, scratch: Path, request: Request) -> Bench:
    """The bench of the task's contract."""
    cache = Path(request.cache) / "build"
    if isinstance(task, AppTask) and task.contract == "device":
        from warpsmith.judge.appdevice import AppDeviceBench

        told = (task, target, scratch, cache)
        return AppDeviceBench(*told, cold=request.cold, timeout_s=request.timeout_s, effort=request.step.effort)
    if task.contract == "host" and task.hardware == "cuda":
        from warpsmith.judge.gpuhost import GpuHostBench

        return GpuHostBench(task, target, scratch, cache, cold=request.cold, timeout_s=request.timeout_s)
    if task.contract == "host":
        from warpsmith.judge.host import HostBench

        return HostBench(task, target, scratch, cache, cold=request.cold, timeout_s=request.timeout_s)
    from warpsmith.judge.device import DeviceBench

    effort = request.step.effort
    return DeviceBench(task, target, scratch, cache, cold=request.cold, timeout_s=request.timeout_s, effort=effort)


def judge_of(task: KernelTask) -> type[KernelJudge]:
    """Who judges tasks of that kind."""
    if isinstance(task, AppTask):
        from warpsmith.judge.app import AppJudge

        return AppJudge
    return KernelJudge


def harness_judge(request: Request, folder: Path, kills: Kills, tell: Tell | None = None) -> HarnessJudge:
    """Who judges the request, where its task is one of a harness."""
    if isinstance(request.task, ServingTask):
        from warpsmith.judge.serving import ServingHarness

        progress = Progress(tell)
        return HarnessJudge(request, folder, ServingHarness(request, folder, progress), kills, progress)
    from warpsmith.judge.command import CommandHarness

    return HarnessJudge(request, folder, CommandHarness(request, folder), kills, Progress(tell, QUIET_S))


def carry_out(folder: Path, kills: Kills | None = None, tell: Tell | None = None) -> Result:
    """Judge the request in ``folder``; whatever is nobody's verdict becomes a fault.

    ``kills`` is what the session remembers of workers that were killed; ``tell`` is told how a harness gets on.
    """
    began = time.monotonic()
    phases: dict[str, float] = {}
    outcome: Outcome
    try:
        request = Request.model_validate_json((folder / "request.json").read_bytes())
        seen = must_see(request.target, gpus)
        kills = kills or Kills()
        if isinstance(request.task, KernelTask):
            judge: KernelJudge | HarnessJudge = judge_of(request.task)(request, folder, make_bench, kills)
        else:
            judge = harness_judge(request, folder, kills, tell)
        phases = judge.phases
        with np.errstate(all="ignore"):  # NaN and infinity are values here, and overflow is the reference's business
            found = judge.judge()
        outcome = found.model_copy(update={"conditions": (*seen, *found.conditions)})
        for candidate in (request.candidate, request.rival):
            kills.forget(candidate.id)
    except WorkerLost as lost:
        outcome = Fault(what="the worker was lost", detail=str(lost))
    except TaskAtFault as error:
        outcome = Fault(what="the task is at fault", detail=str(error), final=True)
    except WarpsmithError as error:
        outcome = Fault(what="the judge could not judge", detail=str(error))
    except (OSError, ValidationError) as error:
        outcome = Fault(what="the step could not be read or set up", detail=str(error))
    return Result(outcome=outcome, seconds=time.monotonic() - began, phases=phases)


Answer = Callable[[Path, Kills], Result]
"""Carries out the step in a folder; never raises for what it finds there."""


def told(doing: str) -> None:
    """What is going on, to whoever started the session."""
    print(doing.replace("\n", " "), flush=True)


def serve(answer: Answer | None = None) -> None:
    """Answer steps until standard input ends."""
    kills = Kills()
    for line in sys.stdin:
        folder = Path(line.rstrip("\n"))
        result = answer(folder, kills) if answer else carry_out(folder, kills, told)
        write_atomic(folder / "result.json", result.model_dump_json())
        print(DONE, flush=True)


def main(answer: Answer | None = None) -> None:
    """Die with the parent, then serve; an unexpected error is printed to the log and ends the session."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(os.environ.get("PARENT_PID", os.getppid())):
        return  # it died while this process was starting: an orphan must not measure beside its successor
    try:
        serve(answer)
    except Exception:  # the edge of this process: the executor turns its end into a fault that carries this log
        traceback.print_exc()
        sys.exit(1)


if __name__ == "__main__":
    main()
