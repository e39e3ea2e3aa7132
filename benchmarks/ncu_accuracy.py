"""Do the judge's device times agree with Nsight Compute's gpu__time_duration? Needs a GPU of its own, and ncu.

    python benchmarks/ncu_accuracy.py --output accuracy

Each kernel is timed by the judge (calls on hidden inputs, each verified: stamps of the launcher, cold L2), then the
same cubin is launched by the same launcher under ncu (this one metric, one pass, clocks left alone, caches flushed
before each launch), and the medians are compared. The interval is the middle 95 % of the ratio over resamples of both.
ncu's durations are never used as times elsewhere: it serialises, and has conditions of its own.

Cases run in a process beside this one, which ends it where a case takes too long. OUTPUT.json and OUTPUT.md are written
after every case. Exit status 1 where a kernel of more than 20 us is off by more than 3 %, or fewer than five were seen.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warpsmith.errors import WarpsmithError
from warpsmith.judge.failures import CandidateFailed, WorkerLost
from warpsmith.judge.machine import detect
from warpsmith.model.target import Target
from warpsmith.surface.workspace import CALIBRATION, Workspace

if TYPE_CHECKING:
    from warpsmith.profilers.launches import Calls

ROOT = Path(__file__).parent.parent
CALLS, MOST_CALLS = 25, 60
"""Calls that either clock times, and calls of the judge that may be made to get as many undisturbed ones."""
CASE_S, START_S, RUN_S = 20.0, 40.0, 85.0
"""Longest time for one case, more for the first one in a process, and for all of them."""
LEAST_S, AGREED, FEWEST = 20e-6, 0.03, 5
RESAMPLES = 2000
METRIC = "gpu__time_duration.sum"


@dataclass(frozen=True)
class Case:
    """One kernel on one workload."""

    task: Path
    candidate: str
    workload: str
    what: str


RMSNORM, STUDY = ROOT / "tasks/cuda/rmsnorm", ROOT / "benchmarks/study"
CASES = (
    Case(RMSNORM, "entry", "8192x4096", "tuned norm, 134 MB"),
    Case(RMSNORM, "entry", "37800x5120", "tuned norm, 774 MB"),
    Case(CALIBRATION / "cuda", "entry", "1 GB", "streaming copy, 1 GB"),
    Case(CALIBRATION / "cuda-peak", "entry", "registers", "multiply-adds, nothing but registers"),
    Case(STUDY / "cuda", "entry", "two", "multiply-adds, one load and one store a thread"),
    Case(RMSNORM, "triton", "8192x4096", "Triton norm, 134 MB"),
    Case(RMSNORM, "baseline", "37800x5120", "plain norm, 774 MB"),
    Case(STUDY / "cuda-memory", "entry", "128 MB", "streaming copy, 134 MB"),
)
"""Those that differ most come first: what a slow machine does not reach are shapes of the same."""
Row = dict[str, Any]


class Bay:
    """The judge's device in this process, and what measures on it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.space = Workspace(ROOT, {"home": str(home)})
        self.target = detect("cuda")
        self.how: Any = None
        """The layers under which ncu works here, once one case found them."""

    def measure(self, case: Case) -> Row:
        """Both clocks on one case. Raises WarpsmithError, CandidateFailed and WorkerLost."""
        from warpsmith.judge.device import DeviceBench
        from warpsmith.judge.oracle import Oracle
        from warpsmith.profilers.calling import VerifiedCalls
        from warpsmith.profilers.launches import Calls
        from warpsmith.toolchains.cache import build

        known = self.space.task(str(case.task))
        candidate, task = self.space.candidate(known, case.candidate, "main"), known.loaded.kernel
        assert task is not None
        task = task.model_copy(update={"workloads": tuple(w for w in task.workloads if w.name == case.workload)})
        folder, cache = self.home / "case", self.home / "cache" / "build"
        shutil.rmtree(folder, ignore_errors=True)
        self.space.blobs.unpack(candidate, folder / "candidate")
        built = build(candidate, folder / "candidate", self.target, "release", cache, task)
        bench = DeviceBench(task, self.target, folder / "scratch", cache, cold=True, timeout_s=CASE_S)
        try:
            verified = VerifiedCalls(task, Oracle(task, known.loaded.folder, bench.numeric), bench.numeric)
            calls = Calls(bench, task, verified, candidate, built, CASE_S)
            said = {"judge_s": self._judged(calls), "ncu_s": self._counted(calls, folder / "ncu")}
            return said | {"overhead_ns": bench.gpu.overhead_ns}
        finally:
            bench.close()

    def _judged(self, calls: Calls) -> list[float]:
        """Seconds of timed calls as the judge takes them, each verified, without those that were disturbed."""
        from warpsmith.judge.device import DeviceRunner

        runner = DeviceRunner(calls.bench, calls.task, calls.candidate, calls.built)
        taken: list[float] = []
        try:
            runner.restart()
            calls.verified.make(runner)
            for _ in range(MOST_CALLS):
                seconds = calls.verified.make(runner, timed=True)
                taken += [] if runner.disturbed() else [seconds]
                if len(taken) == CALLS:
                    break
        finally:
            runner.close()
        if len(taken) < CALLS:
            raise WorkerLost(f"of {MOST_CALLS} calls all but {len(taken)} were disturbed")
        return taken

    def _counted(self, calls: Calls, folder: Path) -> list[float]:
        """Seconds of each call by ncu."""
        from warpsmith.profilers import ncu
        from warpsmith.profilers.reports import results
        from warpsmith.profilers.tools import find

        log, report = folder / "ncu.log", folder / "report.ncu-rep"
        calls.how, each = self.how, len(calls.plan.launches)
        ask = ncu.Ask(kernels=calls.symbols, skip=each, count=each * CALLS, only=("duration",))

        def why() -> WarpsmithError | None:
            said = log.read_text(errors="replace") if log.is_file() else ""
            return ncu.complaint(said, ask) or (None if report.is_file() else WarpsmithError(f"no report. {said}"))

        command = ncu.command(find("ncu"), ask, report.with_suffix(""), log)
        calls.under(find("ncu"), command, folder, why, CALLS)
        self.how = calls.how
        seen = [launch["raw"][METRIC] / 1e9 for launch in results(report)]
        return [sum(seen[at : at + each]) for at in range(0, len(seen) - each + 1, each)]


def work(pipe: Connection, home: str) -> None:
    """Measure the cases whose numbers arrive; runs in a process of its own."""
    try:
        bay = Bay(Path(home))
    except WarpsmithError as error:
        pipe.send({"failed": str(error)})
        return
    pipe.send(bay.target)
    while (number := pipe.recv()) is not None:
        try:
            pipe.send(bay.measure(CASES[number]))
        except (WarpsmithError, CandidateFailed, WorkerLost, OSError, KeyError) as error:
            pipe.send({"failed": f"{type(error).__name__}: {error}"[:2000]})
    from warpsmith.judge import gpu

    gpu.forget()


class Worker:
    """The process that runs cases: started when needed, ended where it is late."""

    def __init__(self, home: str) -> None:
        self.home = home
        self.target: Target | None = None
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def ask(self, number: int, until: float) -> Row:
        """What one case gave, or why it gave nothing."""
        limit_s = CASE_S
        if self._pipe is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, other = context.Pipe()
            self._process = context.Process(target=work, args=(other, self.home))
            self._process.start()
            other.close()
            begun = self._next(START_S, until)
            if isinstance(begun, dict):
                self._end()
                return begun
            self.target, limit_s = begun, START_S
        self._pipe.send(number)
        found = self._next(limit_s, until)
        assert isinstance(found, dict)
        return found

    def close(self) -> None:
        """Let it end, or end it."""
        if self._process is not None and self._pipe is not None:
            self._pipe.send(None)
            self._process.join(5.0)
            self._end()

    def _next(self, limit_s: float, until: float) -> Row | Target:
        assert self._pipe is not None
        limit_s = max(0.0, min(limit_s, until - time.monotonic()))
        try:
            if self._pipe.poll(limit_s):
                said: Row | Target = self._pipe.recv()
                return said
            why = f"no result within {limit_s:.0f} s"
        except EOFError:
            why = "the process that ran it ended"
        self._end()
        return {"failed": why}

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._process = self._pipe = None


def compared(case: Case, found: Row, seconds: float) -> Row:
    """One row: medians, their ratio with its interval, and whether they agree; or why there is none."""
    head: Row = {"task": case.task.relative_to(ROOT).as_posix(), "candidate": case.candidate}
    head |= {"workload": case.workload, "what": case.what, "took_s": seconds}
    if "failed" in found:
        return head | {"failed": found["failed"]}
    ours, theirs = found["judge_s"], found["ncu_s"]
    middle, (low, high) = ratio(ours, theirs), interval(ours, theirs)
    counts = statistics.median(theirs) > LEAST_S
    medians = {"judge_median_s": statistics.median(ours), "ncu_median_s": statistics.median(theirs)}
    verdict = {"counts": counts, "agrees": abs(middle - 1) <= AGREED}
    return head | medians | {"ratio": middle, "interval": [low, high]} | verdict | found


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Of the medians."""
    return statistics.median(ours) / statistics.median(theirs)


def interval(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """The middle 95 % of the ratio over resamples."""
    rng = random.Random(0)
    resamples = ([rng.choices(values, k=len(values)) for values in (ours, theirs)] for _ in range(RESAMPLES))
    found = sorted(ratio(*drawn) for drawn in resamples)
    return found[round(0.025 * RESAMPLES)], found[round(0.975 * RESAMPLES) - 1]


def table(document: Row) -> str:
    """The document in Markdown."""
    target, share = document["target"] or {}, f"{document['agree']} of {document['counted']}"
    lines = [
        f"# The judge's device times beside ncu's {METRIC}, on {target.get('device', 'an unknown device')}",
        "",
        f"`{document['command']}`: {share} kernels above {LEAST_S * 1e6:.0f} us agree within {AGREED:.0%}.",
        "",
        "| kernel | workload | judge, us | ncu, us | judge / ncu | 95 % interval | took, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in document["cases"]:
        name = f"{row['task']} {row['candidate']} ({row['what']})"
        if "failed" in row:
            told = ["-", "-", "-", row["failed"].splitlines()[0][:200]]
        else:
            low, high = row["interval"]
            told = [f"{row[key] * 1e6:.2f}" for key in ("judge_median_s", "ncu_median_s")]
            told += [f"{row['ratio']:.4f}", f"{low:.4f} to {high:.4f}"]
        lines.append("| " + " | ".join((name, row["workload"], *told, f"{row['took_s']:.1f}")) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Compare all cases; results so far are on disk after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("accuracy"), help="without suffix")
    output: Path = parser.parse_args().output
    until, rows = time.monotonic() + RUN_S, list[Row]()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        worker = Worker(home)
        for number, case in enumerate(CASES):
            began = time.monotonic()
            found = worker.ask(number, until) if began < until else {"failed": "not reached"}
            rows.append(compared(case, found, time.monotonic() - began))
            seen = [row for row in rows if row.get("counts")]
            document = {
                "command": "python benchmarks/ncu_accuracy.py",
                "target": worker.target.model_dump(mode="json", exclude={"uuid"}) if worker.target else None,
                "counted": len(seen),
                "agree": sum(row["agrees"] for row in seen),
                "cases": rows,
            }
            output.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
            output.with_suffix(".md").write_text(table(document))
            print({k: v for k, v in rows[-1].items() if k not in ("judge_s", "ncu_s")}, file=sys.stderr, flush=True)
        worker.close()
    print(table(document))
    sys.exit(len(seen) < FEWEST or not all(row["agrees"] for row in seen))


if __name__ == "__main__":
    main()
