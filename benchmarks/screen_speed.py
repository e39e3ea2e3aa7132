"""How long is a screen? Ten candidates of a toolchain, never built before, through one warm judge session. Needs a GPU.

    python benchmarks/screen_speed.py --toolchain cuda > speed.json

Each is built, verified and timed beside the task's baseline at screen effort, as a campaign would; the first step,
which starts the session, is not counted. The cost of a confirm comes last.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from warpsmith.crew import write_step
from warpsmith.judge.machine import detect
from warpsmith.model.base import digest
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Effort, Evaluation
from warpsmith.model.step import Measure, Request, Result
from warpsmith.surface.workspace import Known, Workspace

ROOT = Path(__file__).parent.parent
COUNT = 10

Candidates = Callable[[Workspace, Known], list[Candidate]]


def points(space: Workspace, known: Known) -> list[Candidate]:
    """Points of the entry's space, spread over it; the first is the entry itself."""
    found = list(known.entry.space.points())
    chosen = random.Random(0).sample(found, min(COUNT, len(found) - 1))
    return [known.entry, *(known.entry.at(point, "") for point in chosen if point != known.entry.parameters)]


TOOLCHAINS: dict[str, tuple[str, Candidates]] = {
    "cuda": ("tasks/cuda/rmsnorm", points),
}
"""By toolchain: a task, and what makes its candidates, one more than are counted."""


def measured(space: Workspace, known: Known, candidates: list[Candidate]) -> list[dict[str, Any]]:
    """One row per step: its effort, status, wall seconds as its caller sees them, the judge's seconds and phases."""
    target = detect(known.loaded.head.hardware)
    executor = space.executor(space.home / "speed", target, "speed")
    steps = [(c, Effort.screen) for c in candidates] + [(candidates[1], Effort.confirm)]
    rows = []

    def prepare(request: Request, folder: Path) -> None:
        write_step(folder, request, known.loaded.folder, space.blobs)

    try:
        for number, (candidate, effort) in enumerate(steps):
            step = Measure(candidate=candidate.id, rival=known.baseline.id, effort=effort, round=number)
            request = space.request(known, target, step, candidate, known.baseline)
            key, began = digest([number, time.time_ns()]), time.monotonic()
            result = executor.run(key, 0, partial(prepare, request))
            wall = time.monotonic() - began
            executor.forget(key)
            if not isinstance(result, Result) or not isinstance(result.outcome, Evaluation):
                sys.exit(f"step {number} failed: {result}")
            said = result.outcome
            row = {"effort": effort.value, "status": said.status.value, "detail": said.detail, "wall_s": wall}
            rows.append(row | {"judge_s": result.seconds, "phases": result.phases, "conditions": said.conditions})
            rows[-1]["disturbed"] = said.disturbed.model_dump(mode="json") if said.disturbed else None
            print({k: v for k, v in rows[-1].items() if k != "conditions"}, file=sys.stderr, flush=True)
    finally:
        executor.close()
    return rows


def main() -> None:
    """Measure in a project of its own, so that no build is known, and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toolchain", choices=sorted(TOOLCHAINS), default="cuda")
    said = parser.parse_args()
    task, make = TOOLCHAINS[said.toolchain]
    with tempfile.TemporaryDirectory() as folder:
        space = Workspace(ROOT, {"home": folder})
        known = space.task(str(ROOT / task))
        rows = measured(space, known, make(space, known)[: COUNT + 1])
        screens = [r["judge_s"] for r in rows[1:] if r["effort"] == "screen"]
        target = detect(known.loaded.head.hardware)
    told = {"toolchain": said.toolchain, "task": known.loaded.head.name, "median_s": statistics.median(screens)}
    told |= {"screens_s": screens, "confirm_s": rows[-1]["judge_s"], "steps": rows}
    print(json.dumps(told | {"target": target.model_dump(mode="json", exclude={"uuid"})}, indent=1))


if __name__ == "__main__":
    main()
