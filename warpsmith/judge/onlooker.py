"""Whether anything beside the judge computes on its device: seen from gaps in a kernel that only looks at the clock.

Contexts of different processes take turns on a GPU, in slices of about 2 ms, and a turn of another one stops every
kernel of this one. While no one is to compute (a worker is stopped, its inputs are being revealed), a kernel of the
judge's spins on one multiprocessor; the longest gap between two of its looks at the clock is what others took. Alone,
the longest gap is a few microseconds, which are looks at the host's memory.
"""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import Any

from warpsmith.judge.failures import WorkerLost
from warpsmith.judge.memory import Memory
from warpsmith.model.base import digest_bytes
from warpsmith.model.candidate import Candidate, SourceFile
from warpsmith.model.target import Target
from warpsmith.toolchains.cache import build

SOURCE = Path(__file__).with_name("onlooker.cu")
GAP_S = 50e-6
"""A longer gap is somebody else's work: changing contexts alone takes twice 150 us on an H200, a look up to 8 us."""
LATE_S = 500e-6
"""The looking kernel runs within 20 us where the device is idle; a device that is busy lets it wait for its slice."""
MOST_S = 2.0
"""The kernel ends by itself after this."""
LONG_S = 0.02
"""Several slices: whatever runs all the time is seen."""


class Onlooker:
    """The looking kernel. One at a time: :meth:`begin`, then :meth:`end`, which tells what was seen."""

    def __init__(self, memory: Memory, target: Target, cache: Path) -> None:
        self.memory = memory
        cu, ask = memory.cu, memory.ask
        source = SourceFile(path=SOURCE.name, content=digest_bytes(SOURCE.read_bytes()))
        candidate = Candidate(toolchain="cuda", entry="look", sources=(source,))
        cubin = build(candidate, SOURCE.parent, target, "release", cache).binary.read_bytes()
        self._function = ask(cu.cuModuleGetFunction, ask(cu.cuModuleLoadData, cubin), b"look")
        self._stream = ask(cu.cuStreamCreate, int(cu.CUstream_flags.CU_STREAM_NON_BLOCKING))
        self._host = int(ask(cu.cuMemHostAlloc, 4096, cu.CU_MEMHOSTALLOC_DEVICEMAP))
        device = int(ask(cu.cuMemHostGetDevicePointer, self._host, 0))
        self._end = ctypes.c_uint32.from_address(self._host)
        self._seen = (ctypes.c_uint64 * 3).from_address(self._host + 64)
        values = (device, device + 64, round(MOST_S * 1e9))
        self._arguments: Any = (values, (ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64))
        self.late_s = 0.0
        """What the kernel took to start, the last time."""
        self.looking = False

    def begin(self) -> None:
        """Start to look, and return once the kernel does. Raises WorkerLost where it does not start."""
        self._end.value = 0
        for index in range(3):
            self._seen[index] = 0
        began = time.perf_counter()
        launch = self.memory.cu.cuLaunchKernel
        self.memory.ask(launch, self._function, 1, 1, 1, 1, 1, 1, 0, self._stream, self._arguments, 0)
        self.looking = True
        while not self._seen[0]:
            if time.perf_counter() - began > MOST_S:
                self.end()
                raise WorkerLost(f"a kernel of the judge's did not start within {MOST_S:g} s: the device is busy")
        self.late_s = time.perf_counter() - began

    def release(self) -> None:
        """Tell the kernel to end, without waiting for it: a few instructions, for when the clock is about to run."""
        self._end.value = 1

    def end(self) -> float:
        """Wait for the kernel; seconds that others had the device, 0 where they did not. Raises WorkerLost where it
        stopped looking by itself.
        """
        self._end.value = 1
        self.memory.ask(self.memory.cu.cuStreamSynchronize, self._stream)
        self.looking = False
        gap, looked = self._seen[1] / 1e9, self._seen[2] / 1e9
        if looked >= MOST_S:
            raise WorkerLost(f"inputs were not revealed within {MOST_S:g} s")
        return gap if gap > GAP_S else 0.0

    def look(self, seconds: float = LONG_S) -> float:
        """Look for so long; seconds that others had the device at a time."""
        self.begin()
        time.sleep(seconds)
        return self.end()

    def close(self) -> None:
        """Give its memory back."""
        self.memory.ask(self.memory.cu.cuMemFreeHost, self._host)
        self.memory.ask(self.memory.cu.cuStreamDestroy, self._stream)
