"""How far outputs miss the oracle, by kernels of our own: two passes over device memory instead of a dozen.

Verifying takes most of a screen's time on a GPU, since every timed output of every side is verified. Same formulas as
verify.py, which holds both to each other in a test. Runs trusted code only, in the judge's own context.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from warpsmith.judge.memory import Memory
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
KERNELS = {"f64": "misses_f64", "f32": "misses_f32", "f16": "misses_f16", "bf16": "misses_bf16"}


class FusedMisses:
    """The loaded kernels. Made once for a judge session; raises Missing or WarpsmithError where they do not build."""

    def __init__(self, memory: Memory, target: Target, cache: Path) -> None:
        self.memory = memory
        self.torch = memory.numeric.torch
        module = memory.ask(memory.cu.cuModuleLoadData, cubin("fused.cu", "sizes", target, cache))
        names = ("sizes", *KERNELS.values())
        self.functions = {n: memory.ask(memory.cu.cuModuleGetFunction, module, n.encode()) for n in names}

    def __call__(self, out: Array, ref: Array, dtype: Dtype, element: float, row_floor: float) -> Misses | None:
        """Compare storage ``out`` [rows, columns] with ``ref`` of the same shape; None where ``ref`` is no float64, or
        has too many short rows.
        """
        torch = self.torch
        rows, columns = ref.shape
        parts = -(-columns // SPAN)
        if ref.dtype != torch.float64 or rows * parts > MOST_BLOCKS:
            return None
        out, ref = out.contiguous(), ref.contiguous()
        seen = torch.zeros(2 * rows + 1, dtype=torch.float64, device=ref.device)
        size, missed, near = seen[:rows], seen[rows : 2 * rows], seen[2 * rows :]
        geometry = (columns, min(columns, SPAN), parts)
        self._launch("sizes", rows * parts, (ref, size, *geometry))
        total = size.sum()
        scale = torch.maximum(size, row_floor * row_floor * total / rows)
        self._launch(KERNELS[dtype.value], rows * parts, (out, ref, scale, missed, near, *geometry, element))
        by_row = torch.sqrt(missed / torch.where(scale > 0, scale, torch.ones_like(scale)))
        worst, index = torch.max(torch.nan_to_num(by_row, nan=torch.inf), dim=0)
        found = torch.stack([total, missed.sum(), worst, index.to(torch.float64), near[0]]).tolist()
        return Misses(found[0], found[1], found[2], int(found[3]), found[4] / (rows * columns))

    def _launch(self, name: str, blocks: int, arguments: tuple[Any, ...]) -> None:
        values = tuple(a if isinstance(a, int | float) else a.data_ptr() for a in arguments)
        kinds = tuple(
            ctypes.c_double if isinstance(a, float) else ctypes.c_longlong if isinstance(a, int) else ctypes.c_void_p
            for a in arguments
        )
        stream = self.torch.cuda.current_stream().cuda_stream
        self.memory.ask(
            self.memory.cu.cuLaunchKernel,
            *(self.functions[name], blocks, 1, 1, THREADS, 1, 1, 0, stream, (values, kinds), 0),
        )
