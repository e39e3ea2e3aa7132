"""Outputs as they were when the clock stopped: copies in device memory that no worker can reach."""

from __future__ import annotations

import math
from typing import Any

from warpsmith.judge.memory import BLOCK, Arena, Memory
from warpsmith.judge.numeric import Array
from warpsmith.model.task import Role

Piece = tuple[int, int, int]
"""One copy: to, from, bytes."""


class Snapshot:
    """Room for the outputs of one call. It grows to the largest; views hold until the next copy is taken."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.address = self.size = 0
        self._views: dict[str, Array] = {}

    def prepare(self, arena: Arena) -> list[Piece]:
        """Room for the outputs of ``arena``; the copies to make."""
        pieces, offset = [], 0
        outputs = {n: b for n, b in arena.buffers.items() if b.argument.role is Role.output}
        for buffer in outputs.values():
            pieces.append((offset, buffer.address + buffer.offset, buffer.bytes.numel()))
            offset += -(-buffer.bytes.numel() // 512) * 512
        if offset > self.size:
            self.close()
            self.size = -(-offset // BLOCK) * BLOCK
            self.address = self.memory.allocate(self.size)
        whole = self.memory.view(self.address, self.size) if offset else None
        for (start, _, size), (name, buffer) in zip(pieces, outputs.items(), strict=True):
            if whole is None or not size:
                self._views[name] = buffer.values
                continue
            self._views[name] = whole[start : start + size].view(buffer.values.dtype).reshape(buffer.values.shape)
        return [(self.address + start, source, size) for start, source, size in pieces if size]

    def take(self, pieces: list[Piece], stream: Any) -> None:
        """Copy, and wait until the copy is complete."""
        cu = self.memory.cu
        for target, source, size in pieces:
            self.memory.ask(cu.cuMemcpyDtoDAsync, target, source, size, stream)
        self.memory.ask(cu.cuStreamSynchronize, stream)

    def outputs(self) -> dict[str, Array]:
        """The outputs of the arena that was last prepared."""
        return dict(self._views)

    def close(self) -> None:
        """Give the memory back."""
        self._views.clear()
        if self.size:
            self.memory.free(self.address)
        self.address = self.size = 0


class Second:
    """For each output a second buffer that a worker copies it to in the order of its stream, as a next user of that
    stream would see it.
    """

    def __init__(self, memory: Memory, arena: Arena) -> None:
        self.memory = memory
        self.handles: dict[str, str] = {}
        self._views: dict[str, Array] = {}
        self._addresses: list[int] = []
        for name, buffer in arena.buffers.items():
            if buffer.argument.role is Role.output and (size := math.prod(buffer.bytes.shape)):
                address = memory.allocate(-(-size // BLOCK) * BLOCK)
                self._addresses.append(address)
                self.handles[name] = memory.handle(address)
                self._views[name] = memory.view(address, size)

    def differing(self, outputs: dict[str, Array]) -> str:
        """The first output whose second copy differs from ``outputs``; empty where none does."""
        torch = self.memory.numeric.torch
        for name, seen in self._views.items():
            if not torch.equal(seen, outputs[name].reshape(-1).view(torch.uint8)):
                return name
        return ""

    def close(self) -> None:
        """Give the memory back."""
        self._views.clear()
        for address in self._addresses:
            self.memory.free(address)
        self._addresses.clear()
