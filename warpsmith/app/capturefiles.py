"""The folder of a captured task: ``task.toml``, the original by its fixture, and its source as a candidate."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from warpsmith.app.capturegeometry import Extents, blocks, choices, grids
from warpsmith.app.capturesource import Extracted
from warpsmith.app.capturetask import SHARED, TaskMaker
from warpsmith.errors import BadInput
from warpsmith.model.captured import GEOMETRY
from warpsmith.model.task import AppTask
from warpsmith.store.files import write_atomic
from warpsmith.store.folders import CANDIDATE_FILE, FIXTURE_SUFFIX, TASK_FILE

IMAGE = "original.cubin"
MARK = "# Written by 'warpsmith capture'."


def write_task(folder: Path, task: AppTask, maker: TaskMaker, source: Extracted | None) -> AppTask:
    """Write the task's folder; returns the task as it was written. Raises BadInput where one lies there that no capture
    wrote.
    """
    if (folder / TASK_FILE).is_file() and not (folder / TASK_FILE).read_text().startswith(MARK):
        raise BadInput(f"{folder} holds a task that no capture wrote.", "Name another with --name.")
    if folder.exists() and not (folder / TASK_FILE).is_file() and any(folder.iterdir()):
        raise BadInput(f"{folder} is not empty.", "Name another with --name.")
    shutil.rmtree(folder / "baseline", ignore_errors=True)
    entry = "src" if source is not None else "baseline"
    task = task.model_copy(update={"entry": entry})
    image = task.original.image
    assert image is not None
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / task.reference, _original(task))
    write_atomic(folder / "baseline" / f"{IMAGE}{FIXTURE_SUFFIX}", image + "\n")
    names = [p.name for p in task.parameters]
    shared: str | int = SHARED
    if len({one.dynamic_bytes for one in task.launches}) == 1:
        shared = task.launches[0].dynamic_bytes
    as_it_was = (GEOMETRY[:3], GEOMETRY[3:])
    cluster = task.launches[0].cluster
    plan = {"cluster": list(cluster)} if cluster != (1, 1, 1) else {}
    launch = {"kernel": task.original.symbol, "grid": as_it_was[0], "block": as_it_was[1], "shared_bytes": shared}
    write_candidate(
        folder / "baseline",
        {"toolchain": "cubin", "sources": [IMAGE], "entry": "original", "memo": "the application's own kernel"},
        {**launch, "arguments": names, **plan},
    )
    made = folder / "src"
    if source is not None and not made.exists():  # what somebody may have worked on stays
        grid, block = geometry(task, maker, source.tunables)
        write_atomic(made / "kernel.cu", source.text)
        head = {"toolchain": "cuda", "sources": ["kernel.cu"], "entry": source.entry, "memo": "its source"}
        own = {"kernel": source.entry, "grid": grid, "block": block, "shared_bytes": shared, "arguments": names, **plan}
        write_candidate(made, head, own, source.tunables, _constraints(block, source.tunables))
    write_atomic(folder / TASK_FILE, as_toml(task))
    return task


def geometry(task: AppTask, maker: TaskMaker, tunables: Mapping[str, int]) -> tuple[Extents, Extents]:
    """Grid and block of the source's launches, as expressions that hold for every captured one."""
    seen = [(one.grid, one.block, maker.words(n)) for n, one in enumerate(task.launches)]
    block = blocks([b for _, b, _ in seen], tunables)
    return grids(seen, block, tunables), block


def write_candidate(
    folder: Path,
    head: Mapping[str, Any],
    launch: Mapping[str, Any],
    tunables: Mapping[str, int] | None = None,
    constraints: Sequence[str] = (),
) -> None:
    """One ``candidate.toml``."""
    lines = [f"{key} = {_value(value)}" for key, value in head.items()]
    if constraints:
        lines.append(f"constraints = {_value(list(constraints))}")
    for name, value in (tunables or {}).items():
        lines += ["", f"[tunables.{name}]", f"values = {_value(list(choices(value)))}", f"default = {value}"]
    lines += ["", "[[launch]]", *(f"{key} = {_value(value)}" for key, value in launch.items())]
    write_atomic(folder / CANDIDATE_FILE, "\n".join(lines) + "\n")


def _constraints(block: Extents, tunables: Mapping[str, int]) -> list[str]:
    """A block has at most 1024 threads, and the whole warps that its source may rely on."""
    named = [str(b) for b in block if b != 1]
    if not any(b in tunables for b in named) or any(b in GEOMETRY for b in named):
        return []
    product = " * ".join(named)
    return [f"{product} <= 1024", f"{product} >= 32"]


def as_toml(task: AppTask) -> str:
    """``task.toml``: a captured task as its record says it."""
    said = task.model_dump(mode="json", exclude_defaults=True)
    said = {"kind": "app", **said, "workloads": [w.model_dump(mode="json") for w in task.workloads]}
    tables = ("original", "capture", "variations", "globals", "tolerance", "objective", "gate")
    listed = ("arguments", "parameters", "workloads", "launches")
    lines = [MARK, "# Its data lies in .warpsmith/fixtures, by hash, and is not committed.", ""]
    lines += [f"{k} = {_value(v)}" for k, v in said.items() if k not in (*tables, *listed) and v is not None]
    for table in tables:
        if inside := {k: v for k, v in (said.get(table) or {}).items() if v is not None}:
            lines += ["", f"[{table}]", *(f"{_key(k)} = {_value(v)}" for k, v in inside.items())]
    for name in listed:
        for one in said.get(name, ()):
            lines += ["", f"[[{name}]]", *(f"{k} = {_value(v)}" for k, v in one.items() if v is not None)]
    return "\n".join(lines) + "\n"


def _original(task: AppTask) -> str:
    """The task's reference: what its oracle is."""
    types = ", ".join(f"{p.type or '?'} {p.name}" for p in task.parameters)
    return (
        "# What is right is what the original gives on the same contents.\n"
        f"symbol = {json.dumps(task.original.symbol)}\n"
        f"name = {json.dumps(task.original.name)}\n"
        f"signature = {json.dumps(types)}\n"
        f"image = {json.dumps(task.original.image or '')}\n"
    )


def _key(name: str) -> str:
    return name if name.replace("_", "").isalnum() else json.dumps(name)


def _value(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    return json.dumps(value)
