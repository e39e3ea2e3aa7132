"""Independent judge sessions side by side: each a process with processor cores, home, scratch and locks of its own.

A lane reads jobs from its standard input, one JSON line each, and answers each with one line. Started by judge_study.py
as ``judge_study.py --lane HARDWARE CORES``, in a folder of its own. One that measures a GPU has it for itself: its
environment names that one alone, so nothing that it starts sees another.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warpsmith.analyse.compare import compare, logs, weighted
from warpsmith.errors import WarpsmithError
from warpsmith.execute.local import LocalExecutor
from warpsmith.judge.machine import detect
from warpsmith.model.evaluation import Effort, Evaluation
from warpsmith.model.target import Target
from warpsmith.store.folders import load_candidate, load_task
from warpsmith.surface.calibrating import bare_campaign
from warpsmith.surface.workspace import Known, Workspace

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
GRACE = 1.3
"""A job is not begun where less than this times the longest of its kind so far is left."""

Job = dict[str, Any]
"""``series`` (a name), ``task`` (a folder here), ``turns`` (None: identical)."""


class Study:
    """One task, through the session of its lane: two would start and end processes beside each other's timed calls."""

    def __init__(self, folder: Path, space: Workspace, executor: LocalExecutor, target: Target) -> None:
        self.space, self.executor, self.target = space, executor, target
        loaded = load_task(folder)
        entry = load_candidate(folder / loaded.head.entry, self.space.blobs, loaded.head)
        self.known = Known(loaded, entry, entry, {}, admission=False)
        # a noise floor of zero: rates are those of the statistics, not of a generous floor
        self.campaign = bare_campaign(self.known, self.target, noise_floor=0.0)

    def compare(self, turns: int | None) -> dict[str, Any]:
        """The verdict on a candidate over the entry, with what the record of the study needs."""
        entry = self.known.entry
        candidate = entry if turns is None else entry.at({"TURNS": turns}, f"TURNS={turns}")
        began = time.monotonic()
        evaluation = self.space.measure(
            self.known, self.target, candidate, entry, Effort.confirm, name="study", executor=self.executor
        )
        answer = compare(evaluation, self.campaign)
        if answer is None:
            raise WarpsmithError(f"a comparison failed: {evaluation.status}: {evaluation.detail}.")
        return {
            "verdict": answer.verdict.value,
            "log_effect": answer.overall.log,
            "sd_over_pairs": statistics.stdev(self._pairs(evaluation)),
            "detectable": answer.detectable,
            "dropped": evaluation.disturbed.dropped if evaluation.disturbed else 0,
            "undone": bool(evaluation.disturbed and evaluation.disturbed.undone),
            "seconds": time.monotonic() - began,
            "conditions": list(evaluation.conditions),
        }

    def _pairs(self, evaluation: Evaluation) -> tuple[float, ...]:
        timed = {w.workload: logs(m) for w in evaluation.workloads if (m := w.metric("time"))}
        return weighted(timed, self.campaign.weights)


def serve(hardware: str, cores: str) -> None:
    """Answer jobs until standard input ends."""
    os.sched_setaffinity(0, {int(c) for c in cores.split(",")})
    space, target = Workspace(Path.cwd()), detect(hardware)
    executor = space.executor(space.home / "study", target, "study")
    studies: dict[str, Study] = {}
    for line in sys.stdin:
        job = json.loads(line)
        try:
            if job["task"] not in studies:
                studies[job["task"]] = Study(HERE / job["task"], space, executor, target)
            answer = studies[job["task"]].compare(job["turns"])
        except WarpsmithError as error:
            answer = {"lost": str(error)}
        print(json.dumps({**answer, "series": job["series"]}), flush=True)


@dataclass(frozen=True)
class Place:
    """What one lane has for itself."""

    number: int
    cores: tuple[int, ...]
    gpu: str = ""
    """As CUDA_VISIBLE_DEVICES names it, by UUID; empty for none."""

    @property
    def said(self) -> str:
        """For the table. A UUID would name the machine."""
        gpu = f", GPU {self.number}" if self.gpu else ""
        return f"lane {self.number}: cores {spans(self.cores)}{gpu}"

    def environment(self, folder: Path) -> dict[str, str]:
        """What its process, and all that this starts, differs in from ours."""
        paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
        own = {"WARPSMITH_HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")}
        seen = {"CUDA_VISIBLE_DEVICES": self.gpu} if self.gpu else {}
        return {**own, **seen, "PYTHONPATH": os.pathsep.join(paths)}


class Lane:
    """The other end of :func:`serve`: one process, which is ended with all that it started."""

    def __init__(self, folder: Path, hardware: str, place: Place) -> None:
        self.place = place
        (folder / "tmp").mkdir(parents=True)
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "judge_study.py"), "--lane", hardware, ",".join(map(str, place.cores))],
            cwd=folder,
            env={**os.environ, **place.environment(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, job: Job) -> dict[str, Any]:
        """What became of a job; ``lost`` where the process ended."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except (BrokenPipeError, ValueError):
            line = ""
        return json.loads(line) if line else {"series": job["series"], "lost": "its lane ended", "ended": True}

    def end(self) -> None:
        """End the process; its judge sees that its parent died, and ends too."""
        self._process.kill()
        with contextlib.suppress(BrokenPipeError), self._process:
            pass


def places(cores: Sequence[int], lanes: int, gpus: Sequence[str] = ()) -> Iterator[Place]:
    """What each lane has: as many cores for each, those that are left over unused, and one of the GPUs, if any.

    Raises SystemExit where there are not enough.
    """
    each = len(cores) // lanes
    if each < 1:
        raise SystemExit(f"{lanes} lanes need {lanes} cores; {len(cores)} may be used")
    if gpus and len(gpus) < lanes:
        raise SystemExit(f"{lanes} lanes need {lanes} GPUs; {len(gpus)} are visible")
    for lane in range(lanes):
        yield Place(lane, tuple(cores[lane * each : (lane + 1) * each]), gpus[lane] if gpus else "")


def neighbours(cores: Sequence[int], siblings: Callable[[int], str]) -> list[int]:
    """The cores in an order in which those that share a physical one lie side by side, so that lanes share none."""
    return sorted(cores, key=lambda core: (min([c for c in unspanned(siblings(core)) if c in cores] or [core]), core))


def thread_siblings(core: int) -> str:
    """Which cores share the physical one of ``core``, as the kernel writes it; the core alone where it does not say."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(core)


def own_cores() -> list[int]:
    """The cores that this process may use, in the order of :func:`neighbours`."""
    return neighbours(sorted(os.sched_getaffinity(0)), thread_siblings)


def unspanned(said: str) -> list[int]:
    """``"0-2,8"`` as numbers."""
    ends = (part.partition("-") for part in said.split(","))
    return [n for first, _, last in ends for n in range(int(first), int(last or first) + 1)]


def spans(numbers: Sequence[int]) -> str:
    """Numbers as ``"0-2,8"``."""
    told: list[list[int]] = []
    for n in sorted(numbers):
        if told and n == told[-1][-1] + 1:
            told[-1].append(n)
        else:
            told.append([n])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in told)


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them. Raises Missing where there are none."""
    detect("cuda")  # says what is missing, and starts the driver
    said = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if said.startswith("MIG"):
        return said.split(",")
    from cuda.bindings import driver as cu

    uuids = [cu.cuDeviceGetUuid(cu.cuDeviceGet(n)[1])[1] for n in range(cu.cuDeviceGetCount()[1])]
    return [f"GPU-{uuid.UUID(bytes=bytes(found.bytes))}" for found in uuids]


def run_jobs(lanes: list[Lane], jobs: list[Job], until: float, told: Callable[[dict[str, Any]], None]) -> None:
    """Hand the jobs out in their order until all are done or time is up (``until``, monotonic seconds)."""
    waiting, lock = list(reversed(jobs)), threading.Lock()
    longest: dict[str, float] = {}

    def work(lane: Lane) -> None:
        while True:
            with lock:
                known = max(longest.values(), default=0.0)
                left = until - time.monotonic()
                if not waiting or left <= GRACE * longest.get(waiting[-1]["task"], known):
                    return
                job = waiting.pop()
            began = time.monotonic()
            answer = lane.ask(job)
            with lock:
                if time.monotonic() < until:
                    longest[job["task"]] = max(longest.get(job["task"], 0.0), time.monotonic() - began)
                    told({**answer, "lane": lane.place.number})
            if answer.get("ended"):
                return

    threads = [threading.Thread(target=work, args=(lane,), daemon=True) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
