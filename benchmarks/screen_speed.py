"""How long is a screen? Ten candidates of a toolchain, never built before, through one warm judge session. Needs a GPU.

    python benchmarks/screen_speed.py --toolchain cuda --output speed-cuda

Each is built, verified and timed beside the task's baseline at screen effort, as a campaign would. The first step
starts the session and is not counted; the cost of a confirm comes last. OUTPUT.json and OUTPUT.md are written after
every step, so that a run that is cut short leaves what it measured.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from warpsmith.crew import write_step
from warpsmith.judge.machine import detect
from warpsmith.model.base import digest
from warpsmith.model.candidate import Candidate, SourceFile
from warpsmith.model.evaluation import Effort, Evaluation
from warpsmith.model.step import Fault, Measure, Request, Result
from warpsmith.model.target import Target
from warpsmith.store.folders import load_candidate
from warpsmith.surface.workspace import Known, Workspace

ROOT = Path(__file__).parent.parent
SCREENS = Path(__file__).parent / "screens"
COUNT = 10
Row = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """A task, and one candidate more than are counted."""

    known: Known
    candidates: list[Candidate]


def rmsnorm(space: Workspace) -> Known:
    return space.task(str(ROOT / "tasks/cuda/rmsnorm"))


def spread(known: Known) -> list[dict[str, int]]:
    """The default point of the entry's space, then points spread over it."""
    default = known.entry.parameters
    others = [point for point in known.entry.space.points() if point != default]
    return [default, *random.Random(0).sample(others, COUNT)]


def cuda(space: Workspace) -> Field:
    """Device contract: points of the entry's space."""
    known = rmsnorm(space)
    return Field(known, [known.entry.at(point, "") for point in spread(known)])


def triton(space: Workspace) -> Field:
    """Device contract, compiled ahead of time: warps for a row in registers, and the span of a row's pass."""
    known = rmsnorm(space)
    made = load_candidate(known.loaded.folder / "triton", space.blobs, known.loaded.head)
    *rows, passes = made.launch
    candidates = []
    for warps, span in product((4, 8, 16), (512, 1024, 2048, 4096)):
        last = passes.model_copy(update={"constants": {**passes.constants, "BLOCK": span}})
        candidates.append(made.model_copy(update={"parameters": {"num_warps": warps}, "launch": (*rows, last)}))
    return Field(known, random.Random(0).sample(candidates, COUNT + 1))


def ffi(space: Workspace) -> Field:
    """Host contract: the same points, launched by C++ of their own, beside array functions of torch."""
    known = rmsnorm(space)
    loaded = replace(known.loaded, task=known.loaded.task.model_copy(update={"contract": "host"}))
    kernel = (known.loaded.folder / "src" / "rmsnorm.cu").read_bytes()
    source = SourceFile(path="rmsnorm.cu", content=space.blobs.put(kernel + (SCREENS / "launch.cu").read_bytes()))
    plain = SourceFile(path="plain.py", content=space.blobs.put((SCREENS / "plain.py").read_bytes()))
    baseline = Candidate(toolchain="torch", entry="kernel", sources=(plain,))
    made = [
        Candidate(toolchain="tvm-ffi", entry="launch", sources=(source,), parameters=point) for point in spread(known)
    ]
    return Field(Known(loaded, baseline, made[0], {}), made)


TOOLCHAINS: dict[str, tuple[Callable[[Workspace], Field], float]] = {
    "cuda": (cuda, 0.7),
    "triton": (triton, 2.5),
    "tvm-ffi": (ffi, 6.0),
}
"""By toolchain: what makes its candidates, and the median that is aimed at, in seconds."""


def measured(space: Workspace, field: Field, target: Target) -> Iterator[Row]:
    """One row a step: effort, status, seconds as the caller sees them, the judge's own and its phases."""
    known = field.known
    executor = space.executor(space.home / "speed", target, "speed")
    steps = [(c, Effort.screen) for c in field.candidates] + [(field.candidates[1], Effort.confirm)]

    def prepare(request: Request, folder: Path) -> None:
        write_step(folder, request, known.loaded.folder, space.blobs)

    try:
        for number, (candidate, effort) in enumerate(steps):
            step = Measure(candidate=candidate.id, rival=known.baseline.id, effort=effort, round=number)
            request = space.request(known, target, step, candidate, known.baseline)
            key, began = digest([number, time.time_ns()]), time.monotonic()
            answer = executor.run(key, 0, partial(prepare, request))
            row: Row = {"effort": effort.value, "parameters": candidate.parameters, "counted": 0 < number <= COUNT}
            row["wall_s"] = time.monotonic() - began
            executor.forget(key)
            yield row | said(answer)
    finally:
        executor.close()


def said(answer: Result | Fault) -> Row:
    """What is kept of an answer."""
    outcome = answer.outcome if isinstance(answer, Result) else answer
    timed: Row = {"judge_s": answer.seconds, "phases": answer.phases} if isinstance(answer, Result) else {}
    if not isinstance(outcome, Evaluation):
        return {"status": "fault", "detail": str(outcome)} | timed
    disturbed = outcome.disturbed.model_dump(mode="json") if outcome.disturbed else None
    found = {"status": outcome.status.value, "detail": outcome.detail, "disturbed": disturbed}
    return found | timed | {"conditions": outcome.conditions}


def told(name: str, known: Known, target: Target, rows: list[Row]) -> Row:
    """The document: what was asked, the medians of the screens that passed, and every step."""
    screens = [r for r in rows if r["counted"] and r["status"] == "passed"]
    confirms = [r["judge_s"] for r in rows if r["effort"] == "confirm" and r["status"] == "passed"]
    parts = [split(r) for r in screens]
    return {
        "command": f"python benchmarks/screen_speed.py --toolchain {name}",
        "toolchain": name,
        "task": known.loaded.head.name,
        "contract": known.loaded.task.contract,
        "aimed_at_s": TOOLCHAINS[name][1],
        "screens": len(screens),
        "median_s": statistics.median(p["all"] for p in parts) if parts else None,
        "median_by_part_s": {key: statistics.median(p[key] for p in parts) for key in (parts[0] if parts else ())},
        "confirm_s": confirms[0] if confirms else None,
        "target": target.model_dump(mode="json", exclude={"uuid"}),
        "steps": rows,
    }


def split(row: Row) -> dict[str, float]:
    """Seconds of one step by part; what belongs to no phase (buffers, oracle, the end of processes) is ``rest``."""
    phases = row["phases"]
    parts = {
        "build": phases.get("build", 0.0),
        "verify": sum(phases.get(p, 0.0) for p in ("verify", "hidden")),
        "timing": phases.get("time", 0.0),
    }
    return parts | {"rest": row["judge_s"] - sum(parts.values()), "all": row["judge_s"]}


def table(document: Row) -> str:
    """The document in Markdown."""
    median, aim = document["median_s"], document["aimed_at_s"]
    found = "none passed" if median is None else f"median {median:.2f} s of {document['screens']} (aimed at: {aim:g} s)"
    lines = [
        f"# Screens of {document['toolchain']} candidates on {document['target']['device']}: {found}",
        "",
        f"`{document['command']}`: {document['task']}, {document['contract']} contract, one warm session. Seconds.",
        "",
        "| step | candidate | build | verify | timing | rest | all | status | rounds dropped |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in document["steps"]:
        name = row["effort"] if row["counted"] or row["effort"] == "confirm" else "first (not counted)"
        point = " ".join(f"{key}={value}" for key, value in row["parameters"].items())
        parts = [f"{s:.2f}" for s in split(row).values()] if "phases" in row else ["-"] * 5
        drops = f"{d['dropped']} of {d['rounds']}" if (d := row.get("disturbed")) else "-"
        lines.append("| " + " | ".join((name, point, *parts, row["status"], drops)) + " |")
    if medians := document["median_by_part_s"]:
        lines.append("| median | | " + " | ".join(f"{s:.2f}" for s in medians.values()) + " | | |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure in a project of its own, so that no build is known; exit status 1 where a screen did not pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toolchain", choices=sorted(TOOLCHAINS), default="cuda")
    parser.add_argument("--output", type=Path, default=Path("screen-speed"), help="without suffix")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        space = Workspace(ROOT, {"home": folder})
        field = TOOLCHAINS[asked.toolchain][0](space)
        target, rows = detect("cuda"), list[Row]()
        for row in measured(space, field, target):
            rows.append(row)
            document = told(asked.toolchain, field.known, target, rows)
            asked.output.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
            asked.output.with_suffix(".md").write_text(table(document))
            print({k: v for k, v in row.items() if k != "conditions"}, file=sys.stderr, flush=True)
    print(table(document))
    sys.exit(document["screens"] < COUNT)


if __name__ == "__main__":
    main()
