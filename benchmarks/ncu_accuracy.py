"""Do the judge's device times agree with Nsight Compute's gpu__time_duration? Needs a GPU and ncu.

    python benchmarks/ncu_accuracy.py > accuracy.json

Each kernel is timed by the judge (a screen against itself: stamps of the launcher, cold L2), then the launches of a
check are profiled with ncu (one metric, clocks left alone, caches flushed before each launch) and the medians compared.
ncu's durations are never used as times elsewhere: it serialises, and has conditions of its own.
"""

from __future__ import annotations

import csv
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from warpsmith.judge.machine import detect
from warpsmith.judge.plan import make_plan
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Effort
from warpsmith.model.target import Target
from warpsmith.surface.workspace import CALIBRATION, Known, Workspace

ROOT = Path(__file__).parent.parent
CASES = (
    (ROOT / "tasks/cuda/rmsnorm", "entry", "8192x4096"),
    (ROOT / "tasks/cuda/rmsnorm", "entry", "37800x5120"),
    (ROOT / "tasks/cuda/rmsnorm", "baseline", "37800x5120"),
    (CALIBRATION / "cuda", "entry", "1 GB"),
    (CALIBRATION / "cuda-peak", "entry", "registers"),
    (ROOT / "benchmarks/study/cuda", "entry", "two"),
)
CLI = (sys.executable, "-m", "warpsmith.surface.cli")
METRIC = "gpu__time_duration.sum"


def judged(space: Workspace, known: Known, target: Target, candidate: Candidate) -> dict[str, list[float]]:
    """Seconds of the candidate by workload, as the judge takes them: the medians of each pair, of both sides."""
    found = space.measure(known, target, candidate, candidate, Effort.screen, "accuracy")
    if not found.passed:
        sys.exit(f"{known.loaded.head.name}: {found.status}: {found.detail or found.rival_detail}")
    metrics = {w.workload: w.metric("time") for w in found.workloads}
    return {name: [*metric.candidate, *metric.rival] for name, metric in metrics.items() if metric}


def profiled(task: Path, candidate: str, kernel: str, log: Path) -> list[tuple[int, float]]:
    """(blocks, seconds) of every launch of ``kernel`` while the judge checks the candidate."""
    subprocess.run(
        ["ncu", "--clock-control", "none", "--cache-control", "all", "--target-processes", "all",
         "--kernel-name", f"regex:^{kernel}$", "--metrics", METRIC, "--csv", "--print-units", "base",
         "--log-file", str(log), *CLI, "check", str(task), candidate],
        check=True, stdout=sys.stderr, stderr=sys.stderr, env={**os.environ, "WARPSMITH_PROFILED": "1"},
    )  # fmt: skip
    lines = [line for line in log.read_text().splitlines() if line.startswith('"')]
    rows = [row for row in csv.DictReader(lines) if row["Metric Name"] == METRIC]
    return [
        (math.prod(json.loads(f"[{row['Grid Size'].strip('()')}]")), float(row["Metric Value"].replace(",", "")) / 1e9)
        for row in rows
    ]


def main() -> None:
    """Compare all cases and print one JSON document."""
    space, target, table = Workspace(ROOT), detect("cuda"), []
    for task, name, wanted in CASES:
        known = replace(space.task(str(task)), admission=False)
        candidate = space.candidate(known, name, "main")
        kernel_task = known.loaded.kernel
        assert kernel_task is not None
        workload = next(w for w in kernel_task.workloads if w.name == wanted)
        blocks = math.prod(make_plan(kernel_task, workload, candidate, target).launches[0].grid)
        ours = statistics.median(judged(space, known, target, candidate)[wanted])
        with tempfile.TemporaryDirectory() as folder:
            seen = profiled(task, name, candidate.launch[0].kernel, Path(folder) / "log")
        theirs = statistics.median(seconds for grid, seconds in seen if grid == blocks)
        table.append(
            {"task": known.loaded.head.name, "candidate": name, "workload": wanted, "judge_s": ours, "ncu_s": theirs,
             "judge_over_ncu": ours / theirs, "ncu_launches": sum(grid == blocks for grid, _ in seen)}
        )  # fmt: skip
        print(table[-1], file=sys.stderr, flush=True)
    print(json.dumps({"target": target.model_dump(mode="json", exclude={"uuid"}), "table": table}, indent=1))


if __name__ == "__main__":
    main()
