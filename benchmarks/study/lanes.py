"""Independent judge sessions side by side: each a process with processor cores, home, scratch and locks of its own.

A lane reads jobs from its standard input, one JSON line each, and answers each with one line. Started by judge_study.py
as ``judge_study.py --lane HARDWARE CORES``, in a folder of its own.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from warpsmith.analyse.compare import compare, logs, weighted
from warpsmith.errors import WarpsmithError
from warpsmith.judge.machine import detect
from warpsmith.model.evaluation import Effort, Evaluation
from warpsmith.store.folders import load_candidate, load_task
from warpsmith.surface.bare import bare_campaign
from warpsmith.surface.workspace import Known, Workspace

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
GRACE = 1.3
"""A job is not begun where less than this times the longest of its kind so far is left."""

Job = dict[str, Any]
"""``series`` (a name), ``task`` (a folder here), ``turns`` (None: identical)."""


class Study:
    """One task through one warm session."""

    def __init__(self, folder: Path, hardware: str) -> None:
        self.space = Workspace(Path.cwd())
        loaded = load_task(folder)
        entry = load_candidate(folder / loaded.head.entry, self.space.blobs, loaded.head)
        self.known = Known(loaded, entry, entry, {}, admission=False)
        self.target = detect(hardware)
        self.executor = self.space.executor(self.space.home / "study", self.target, folder.name)
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
    studies: dict[str, Study] = {}
    for line in sys.stdin:
        job = json.loads(line)
        try:
            if job["task"] not in studies:
                studies[job["task"]] = Study(HERE / job["task"], hardware)
            answer = studies[job["task"]].compare(job["turns"])
        except WarpsmithError as error:
            answer = {"lost": str(error)}
        print(json.dumps({**answer, "series": job["series"]}), flush=True)


class Lane:
    """The other end of :func:`serve`: one process, which is ended with all that it started."""

    def __init__(self, folder: Path, hardware: str, cores: tuple[int, ...]) -> None:
        self.cores = cores
        (folder / "tmp").mkdir(parents=True)
        paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
        own = {"WARPSMITH_HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")}
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "judge_study.py"), "--lane", hardware, ",".join(map(str, cores))],
            cwd=folder,
            env={**os.environ, **own, "PYTHONPATH": os.pathsep.join(paths)},
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
        self._process.wait()


def split(cores: list[int], lanes: int) -> Iterator[tuple[int, ...]]:
    """The cores of each lane: as many for each, those that are left over unused."""
    each = len(cores) // lanes
    if each < 1:
        raise SystemExit(f"{lanes} lanes need {lanes} cores; {len(cores)} may be used")
    for lane in range(lanes):
        yield tuple(cores[lane * each : (lane + 1) * each])


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
                    told(answer)
            if answer.get("ended"):
                return

    threads = [threading.Thread(target=work, args=(lane,), daemon=True) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
