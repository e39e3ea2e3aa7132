"""Small real projects for tests: a stamped task with tiny workloads on a machine that counts as calibrated."""

from __future__ import annotations

import time
from pathlib import Path

from warpsmith.judge.machine import detect
from warpsmith.model.target import Calibration
from warpsmith.store.files import write_atomic
from warpsmith.surface.stamp import stamp
from warpsmith.surface.workspace import Workspace


def shrink(root: Path, task: str = "my/axpy") -> None:
    """Make the stamped task's workloads small, so that a step takes milliseconds."""
    path = root / "tasks" / task / "task.toml"
    small = {"4194304": "65536", "1000003": "1003", "16777216": "262144"}
    text = path.read_text()
    for large, other in small.items():
        text = text.replace(large, other)
    path.write_text(text)


def calibrate(root: Path, noise_floor: float = 0.0) -> None:
    """Write a calibration for this machine's CPU: measuring one takes seconds."""
    target = detect("cpu")
    known = Calibration(
        target=target.key, noise_floor=noise_floor, comparisons=1, copy_bytes_per_s={}, flops_per_s=1e9, at=time.time()
    )
    write_atomic(root / ".warpsmith" / "devices" / f"{target.key[:16]}.json", known.model_dump_json())


def project(root: Path, **settings: object) -> Workspace:
    """A project with the task ``my/axpy``."""
    stamp(root / "tasks", "my/axpy", "kernel", "cpu")
    shrink(root)
    calibrate(root)
    return Workspace(root, settings)
