"""What verifying takes on a GPU, by kernels of our own: one pass over device memory each instead of a dozen.

Verifying takes most of a screen's time, since every timed output of every side is verified. Same formulas as verify.py
and memory.py, which a test holds to each other. Runs trusted code only, in the judge's own context.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from warpsmith.judge.memory import GUARD, Memory, Piece
from warpsmith.judge.misses import Misses
from warpsmith.judge.numeric import Array
from warpsmith.judge.trusted import cubin
from warpsmith.model.target import Target
from warpsmith.model.task import Dtype

THREADS = 256
SPAN = 1 << 14
"""Columns that one block takes at most."""
MOST_BLOCKS = 1 << 26
"""Of more, each would have next to nothing to do: array functions are as fast then."""
FILLING = 1056
"""Blocks that fill a GPU, where a thread takes as much as there is."""
KERNELS = {"f64": "misses_f64", "f32": "misses_f32", "f16": "misses_f16", "bf16": "misses_bf16"}
MOST_PIECES = 64
FOUND = 5
"""Words of what is found of a tensor."""


class _Piece(ctypes.Structure):
    _fields_ = (("at", ctypes.c_void_p), ("other", ctypes.c_void_p), ("bytes", ctypes.c_uint64))


class _Pieces(ctypes.Structure):
    _fields_ = (("piece", _Piece * MOST_PIECES),)


class Kernels:
    """The loaded kernels. Raises Missing or WarpsmithError where they do not build."""

    def __init__(self, memory: Memory, target: Target, cache: Path) -> None:
        self.memory = memory
        self.torch = memory.numeric.torch
        module = memory.ask(memory.cu.cuModuleLoadData, cubin("fused.cu", "sizes", target, cache))
        names = ("sizes", "total", "worst", "where", "changes", *KERNELS.values())
        self.functions = {n: memory.ask(memory.cu.cuModuleGetFunction, module, n.encode()) for n in names}

    def stream(self) -> int:
        """The current stream; asking takes as long as a launch."""
        return int(self.torch.cuda.current_stream().cuda_stream)

    def launch(self, name: str, stream: int, blocks: tuple[int, int], *arguments: Any) -> None:
        """Enqueue on a stream. ``arguments`` are whole numbers (addresses too), floats or ctypes values."""
        values = [
            ctypes.c_double(a) if isinstance(a, float) else ctypes.c_longlong(a) if isinstance(a, int) else a
            for a in arguments
        ]
        places = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        geometry = (*blocks, 1, THREADS, 1, 1, 0, stream)
        launch = self.memory.cu.cuLaunchKernel
        self.memory.ask(launch, self.functions[name], *geometry, ctypes.addressof(places), 0)


class FusedMisses:
    """How far outputs miss the oracle."""

    def __init__(self, kernels: Kernels) -> None:
        self.kernels = kernels
        self.torch = kernels.torch

    def __call__(self, out: Array, ref: Array, dtype: Dtype, element: float, row_floor: float) -> Misses | None:
        """Compare storage ``out`` [rows, columns] with ``ref`` of the same shape; None where ``ref`` is no float64, or
        has too many short rows.
        """
        torch, launch, stream = self.torch, self.kernels.launch, self.kernels.stream()
        rows, columns = ref.shape
        parts = -(-columns // SPAN)
        if ref.dtype != torch.float64 or rows * parts > MOST_BLOCKS:
            return None
        out, ref = out.contiguous(), ref.contiguous()
        seen = torch.zeros(2 * rows + FOUND, dtype=torch.float64, device=ref.device)
        size = seen.data_ptr()
        missed, found = size + 8 * rows, size + 16 * rows
        span, each, few = (columns, min(columns, SPAN), parts), (rows * parts, 1), (_blocks(rows), 1)
        limits = (rows, row_floor * row_floor, found)
        launch("sizes", stream, each, ref.data_ptr(), size, *span)
        launch("total", stream, few, size, rows, found)
        launch(
            KERNELS[dtype.value], stream, each, out.data_ptr(), ref.data_ptr(), size, missed, *limits, *span, element
        )
        launch("worst", stream, few, size, missed, *limits)
        launch("where", stream, few, size, missed, *limits)
        total, misses, near, worst, below = seen[2 * rows :].tolist()
        return Misses(total, misses, worst, rows - 1 - int(below), near / (rows * columns))


class FusedChanges:
    """Which pieces of memory are not as they were."""

    def __init__(self, kernels: Kernels) -> None:
        self.kernels = kernels
        self.numeric = kernels.memory.numeric
        self.guard = ctypes.c_uint32(GUARD)

    def __call__(self, pieces: Sequence[Piece]) -> list[bool]:
        """Whether each changed; waits for the device once."""
        torch = self.numeric.torch
        stream = self.kernels.stream()
        changed = torch.zeros(len(pieces), dtype=torch.int32, device=self.numeric.device)
        for start in range(0, len(pieces), MOST_PIECES):
            some = pieces[start : start + MOST_PIECES]
            said = _Pieces()
            for place, (at, other, size) in zip(said.piece, some, strict=False):
                place.at, place.other, place.bytes = at, other, size
            blocks = (_blocks(max(size for _, _, size in some) // 16), len(some))
            self.kernels.launch("changes", stream, blocks, said, self.guard, changed.data_ptr() + 4 * start)
        return [bool(flag) for flag in changed.tolist()]


def use(memory: Memory, target: Target, cache: Path) -> None:
    """Have ``memory`` and its arrays use the kernels, loaded once. Raises as :class:`Kernels` does."""
    held = memory.numeric.misses
    kernels = held.kernels if isinstance(held, FusedMisses) else Kernels(memory, target, cache)
    memory.numeric.misses, memory.changes = FusedMisses(kernels), FusedChanges(kernels)


def _blocks(threads: int) -> int:
    return max(1, min(FILLING, -(-threads // THREADS)))
