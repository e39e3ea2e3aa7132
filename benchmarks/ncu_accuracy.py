"""Do the judge's device times agree with Nsight Compute's gpu__time_duration? Needs a GPU and ncu.

    python benchmarks/ncu_accuracy.py > accuracy.json

Each kernel is timed by the judge (bench at confirm effort against itself: events of the launcher, cold L2), then the
same judge's launches are profiled with ncu (one metric, clocks left alone, caches flushed before each launch) and the
medians compared. ncu's durations are never used as times elsewhere: it serialises, and has conditions of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from warpsmith.judge.machine import detect
from warpsmith.judge.plan import make_plan
from warpsmith.surface.workspace import CALIBRATION, Workspace

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
METRICS = "gpu__time_duration.sum,launch__grid_size"


def reader() -> Any:
    """NVIDIA's own report reader, which lies beside ncu."""
    ncu = shutil.which("ncu")
    if ncu is None:
        sys.exit("ncu was not found on PATH")
    for folder in Path(ncu).resolve().parents:
        for found in folder.glob("**/extras/python/ncu_report.py"):
            sys.path.insert(0, str(found.parent))
            import ncu_report

            return ncu_report
    for found in Path("/opt/nvidia").glob("nsight-compute/*/extras/python/ncu_report.py"):
        sys.path.insert(0, str(found.parent))
        import ncu_report

        return ncu_report
    sys.exit("ncu_report.py was not found beside ncu")


def judged(task: Path, candidate: str) -> dict[str, list[float]]:
    """Seconds of the candidate by workload, as the judge takes them."""
    said = subprocess.run(
        [*CLI, "bench", str(task), candidate, "--against", candidate, "--json"],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    entry = json.loads(said)["entries"][0]
    return {w["workload"]: w["metrics"][0]["candidate"] for w in entry["evaluation"]["workloads"]}


def profiled(task: Path, candidate: str, kernel: str, report: Path) -> list[tuple[int, float]]:
    """(blocks, seconds) of every launch of ``kernel`` while the judge checks the candidate."""
    subprocess.run(
        ["ncu", "--clock-control", "none", "--cache-control", "all", "--target-processes", "all",
         "--kernel-name", f"regex:^{kernel}$", "--metrics", METRICS, "-f", "-o", str(report),
         *CLI, "check", str(task), candidate],
        check=True, stdout=sys.stderr, stderr=sys.stderr, env={**os.environ, "WARPSMITH_PROFILED": "1"},
    )  # fmt: skip
    ranges = reader().load_report(str(report) + ".ncu-rep")
    actions = [a for r in range(ranges.num_ranges()) for a in _actions(ranges.range_by_idx(r))]
    return [
        (
            int(a.metric_by_name("launch__grid_size").as_uint64()),
            a.metric_by_name("gpu__time_duration.sum").as_double() / 1e9,
        )
        for a in actions
    ]


def _actions(found: Any) -> list[Any]:
    return [found.action_by_idx(i) for i in range(found.num_actions())]


def main() -> None:
    """Compare all cases and print one JSON document."""
    space, target, table = Workspace(ROOT), detect("cuda"), []
    for task, name, wanted in CASES:
        known = space.task(str(task))
        candidate = space.candidate(known, name, "main")
        kernel_task = known.loaded.kernel
        assert kernel_task is not None
        workload = next(w for w in kernel_task.workloads if w.name == wanted)
        launch = make_plan(kernel_task, workload, candidate, target).launches[0].said()
        blocks = launch["grid"][0] * launch["grid"][1] * launch["grid"][2]
        ours = statistics.median(judged(task, name)[wanted])
        with tempfile.TemporaryDirectory() as folder:
            seen = profiled(task, name, candidate.launch[0].kernel, Path(folder) / "report")
        theirs = statistics.median(seconds for grid, seconds in seen if grid == blocks)
        table.append(
            {"task": known.loaded.head.name, "candidate": name, "workload": wanted, "judge_s": ours, "ncu_s": theirs,
             "judge_over_ncu": ours / theirs, "ncu_launches": sum(grid == blocks for grid, _ in seen)}
        )  # fmt: skip
        print(table[-1], file=sys.stderr, flush=True)
    print(json.dumps({"target": target.model_dump(mode="json", exclude={"uuid"}), "table": table}, indent=1))


if __name__ == "__main__":
    main()
