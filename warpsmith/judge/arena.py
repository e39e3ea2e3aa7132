"""The shared memory of the host contract: where tensors lie in it, the guard bands around them, and their poison."""

from __future__ import annotations

import fcntl
import math
import mmap
import os
from contextlib import suppress

import numpy as np

from warpsmith.judge.failures import CandidateFailed
from warpsmith.judge.numeric import Array, NumpyNumeric
from warpsmith.judge.poison import poison
from warpsmith.model.evaluation import Status
from warpsmith.model.head import Workload
from warpsmith.model.task import Argument, KernelTask, Role

PAGE = 4096
GUARD = 0x5A
"""Byte that fills the bands around every tensor."""


class Region:
    """One tensor inside an arena: a guard band, the data from ``shift`` bytes after a page boundary, and a guard band
    up to the next page.
    """

    def __init__(self, argument: Argument, shape: tuple[int, ...], offset: int, shift: int = 0) -> None:
        self.argument = argument
        self.shape = shape
        self.count = math.prod(shape)
        self.bytes = self.count * argument.element.itemsize
        self.start = offset
        self.offset = offset + PAGE + shift
        self.end = (self.offset + self.bytes + PAGE - 1) // PAGE * PAGE + PAGE


class Arena:
    """The shared memory of one side for one workload. ``shift`` takes every tensor so far off its page."""

    def __init__(self, task: KernelTask, workload: Workload, numeric: NumpyNumeric, shift: int = 0) -> None:
        self.regions: dict[str, Region] = {}
        size = 0
        for argument in task.arguments:
            if argument.is_tensor:
                region = Region(argument, argument.extent(workload.axes), size, shift)
                self.regions[argument.name] = region
                size = region.end
        self.size = max(size, PAGE)
        self.descriptor = os.memfd_create("warpsmith-arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, self.size)
        # a worker that made it shorter would end the judge, which reads it, with SIGBUS
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self.memory = mmap.mmap(self.descriptor, self.size)
        self.bytes = np.frombuffer(self.memory, np.uint8)
        self.bytes[:] = GUARD
        self.views = {
            name: np.frombuffer(self.memory, numeric.dtype(r.argument.element), r.count, r.offset).reshape(r.shape)
            for name, r in self.regions.items()
        }

    def reveal(self, inputs: dict[str, Array]) -> None:
        """Fresh inputs in, outputs poisoned but for those that ``inputs`` has a content of."""
        for name, region in self.regions.items():
            if name in inputs:
                self.views[name][...] = inputs[name]
            else:
                element = region.argument.element
                self.views[name].view(f"u{element.itemsize}").fill(poison(element))

    def check(self, inputs: dict[str, Array], numeric: NumpyNumeric) -> None:
        """Raise CandidateFailed where a guard band or an input was written."""
        for name, region in self.regions.items():
            before = self.bytes[region.start : region.offset]
            after = self.bytes[region.offset + region.bytes : region.end]
            if not ((before == GUARD).all() and (after == GUARD).all()):
                raise CandidateFailed(Status.wrong_values, f"it wrote out of bounds of {name!r} (a guard band changed)")
            if region.argument.role is Role.input and not numeric.same_bits(self.views[name], inputs[name]):
                raise CandidateFailed(Status.cheated, f"it changed its input {name!r}")

    def close(self) -> None:
        """Give the memory back; views must not be used afterwards."""
        self.views.clear()
        del self.bytes
        with suppress(BufferError):  # a view is still alive somewhere; the mapping goes with it
            self.memory.close()
        os.close(self.descriptor)
