"""Tensors as allocations of exactly their own size, for tools that look at what lies beside them. Part of the launcher.

A tool sees where an allocation ends, not where a tensor ends within the judge's mapped blocks, and holds what another
process wrote there for never written. So the launcher gives kernels copies, through this process's own memory.
"""

import ctypes
from typing import Any

from warpsmith.judge.stamps import ask


class Copies:
    """The tensors of one workload."""

    def __init__(self, cu: Any, said: dict[str, tuple[int, bool, bool]], addresses: dict[str, int]) -> None:
        """``said`` has the bytes of each tensor, whether a call reads what the judge put there, and whether it gives
        something back; ``addresses`` then has the copies'.
        """
        self.cu = cu
        self.inputs: list[tuple[int, int, int]] = []
        self.outputs: list[tuple[int, int, int]] = []
        for name, (size, reads, gives) in said.items():
            own = int(ask(cu.cuMemAlloc, max(1, size)))
            if size and reads:
                self.inputs.append((own, addresses[name], size))
            if size and gives:
                self.outputs.append((addresses[name], own, size))
            addresses[name] = own

    def fill(self) -> None:
        """The judge's contents into the copies. What a call does not read stays as allocated: nobody wrote it."""
        self._move(self.inputs)

    def give_back(self) -> None:
        """The copies of outputs into the judge's buffers."""
        self._move(self.outputs)

    def _move(self, moves: list[tuple[int, int, int]]) -> None:
        for target, source, size in moves:
            between = ctypes.create_string_buffer(size)
            ask(self.cu.cuMemcpyDtoH, ctypes.addressof(between), source, size)
            ask(self.cu.cuMemcpyHtoD, target, ctypes.addressof(between), size)
