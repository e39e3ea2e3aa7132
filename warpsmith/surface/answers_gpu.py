"""What the verbs of the GPU pin answer."""

from __future__ import annotations

from typing import Self

from warpsmith.judge.nvml import Gpu
from warpsmith.model.base import Record
from warpsmith.surface.answers import Answer


class GpuProcess(Record):
    """A process that computes on a GPU."""

    pid: int
    name: str


class GpuRow(Record):
    """One GPU, or one MIG slice."""

    index: str
    uuid: str
    name: str
    memory_bytes: int
    free_bytes: int
    processes: tuple[GpuProcess, ...] | None
    """None where it cannot be told."""
    unusable: str
    used: str
    """Why steps use this one: pinned by what, or chosen; empty for the others."""

    @classmethod
    def of(cls, gpu: Gpu, used: str) -> Self:
        """What the driver says, and whether it is the one."""
        seen = gpu.processes
        return cls(
            index=gpu.index, uuid=gpu.uuid, name=gpu.name, memory_bytes=gpu.memory_bytes, free_bytes=gpu.free_bytes,
            processes=None if seen is None else tuple(GpuProcess(pid=p.pid, name=p.name) for p in seen),
            unusable=gpu.unusable, used=used,
        )  # fmt: skip

    @property
    def state(self) -> str:
        """Free, or who computes on it, in words."""
        if self.unusable:
            return self.unusable
        if self.processes is None:
            return "unknown"
        return ", ".join(f"{p.name} (pid {p.pid})" for p in self.processes) or "free"


class GpuListAnswer(Answer):
    """The GPUs of this machine."""

    gpus: tuple[GpuRow, ...]
    pin: str
    """The setting ``gpu``; empty where nothing is pinned."""
    by: str
    """Who says it."""
    problem: str
    """Why no GPU can be used as things are."""


class GpuSelectAnswer(Answer):
    """What was written."""

    file: str
    uuid: str
    """Empty where the pin was taken off."""
    name: str
    note: str
