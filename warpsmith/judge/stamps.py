"""The clock of the device contract: two stamps of the device's own timer, and a witness outside. Part of the launcher.

A kernel can write wherever its context can, so also where events keep their times. Here a trusted kernel before and one
after the work write ``%globaltimer`` (xor a key) to pinned memory at places drawn anew for each call, and this thread
watches both words. The first value seen counts, and must still be there in the end; when each was first seen gives a
duration from outside, which must agree. What a candidate can gain by forging both is the noise of that: 0.1 us.

Imports the standard library only; CUDA comes as a module from the launcher.
"""

import ctypes
import math
import os
import random
import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PAGE = 64 << 10
"""Bytes of pinned memory, of which a call uses two words: whoever looks for them reads all of it over PCIe."""
LINE = 8
"""Words of a cache line: the two stamps never share one."""
STEADY_NS = 3000
"""A turn of the watching loop takes about 190 ns; where two of them took longer, something else had the processor."""
STRAY_NS = 2000
"""A disagreement beyond this, and beyond what the watch could not see, is noted ..."""
MOST_STRAYS = 3
"""... and that many of the calls remembered are accidents."""
AGREED_NS = 250
"""The median over calls of what outside and inside differ by: +-30 ns is seen, single calls show +-120 ns."""
LATE_NS = 30_000
"""The median, over as many calls as are remembered, of the time from the last stamp to the stream's end: 2.3 us is
seen, 11 us with much printf. Over five calls honest kernels showed 32 and 31 us, once in 72 and once in 352 tests.
"""
DRIFT = 1024
"""Two clocks may run apart by one part of so many: 3e-6 is seen, and NTP may slew the processor's by 5e-4."""
FIRST, LAST = 0, 1
"""The two stamps."""
REMEMBERED = 15
LEAST_CALLS = 5
"""Calls from which medians count."""
LOOKS = 10_000
"""In vain, about 2 ms; then the stream is asked whether it failed, which takes 1 us."""
SLEEP_NS = 200_000_000
"""Waited so long, the processor is given back for short times."""


class CudaError(Exception):
    """The driver's name of an error."""


class Forged(Exception):
    """Somebody but the stamps' kernels wrote where the stamps are."""


class Doubtful(Exception):
    """The stamps do not agree with the outside, time and again. Forged by all odds; but a machine could be so restless,
    and then nobody is to be called a cheat: there is no verdict.
    """


def ask(function: Any, *arguments: Any) -> Any:
    """Call a driver function; its value. Raises CudaError."""
    status, *values = function(*arguments)
    if int(status) != 0:
        raise CudaError(status.name)
    return values[0] if len(values) == 1 else values


@dataclass(frozen=True)
class Sight:
    """When a word was first seen to have changed, on the processor's clock in ns, and what it was then."""

    value: int
    earliest: int
    """It had not changed when this was over."""
    seen: int

    @property
    def gap(self) -> int:
        """For how long nobody had looked."""
        return self.seen - self.earliest


class Clock:
    """Times what lies between :meth:`begin` and :meth:`end` on one stream."""

    def __init__(self, cu: Any, stream: Any, function: Any) -> None:
        self.cu, self.stream, self.function = cu, stream, function
        host = int(ask(cu.cuMemHostAlloc, PAGE, cu.CU_MEMHOSTALLOC_DEVICEMAP))
        self.address = int(ask(cu.cuMemHostGetDevicePointer, host, 0))
        self.bytes = memoryview((ctypes.c_uint8 * PAGE).from_address(host)).cast("B")
        self.words = self.bytes.cast("Q")
        self.expected = bytearray(os.urandom(PAGE))
        self.bytes[:] = self.expected
        self.random = random.SystemRandom()
        self.overhead_ns = 0
        """What two stamps with nothing between them are apart."""
        self.slots = self.keys = self.before = (0, 0)
        self.opened = 0
        self.differences: deque[float] = deque(maxlen=REMEMBERED)
        self.delays: deque[int] = deque(maxlen=REMEMBERED)
        self.strays: deque[bool] = deque(maxlen=REMEMBERED)
        self.slot, self.key = ctypes.c_uint64(), ctypes.c_uint64()
        self.parameters = (ctypes.c_void_p * 2)(ctypes.addressof(self.slot), ctypes.addressof(self.key))

    def begin(self) -> None:
        """Enqueue the first stamp, at a place drawn anew."""
        lines = self.random.sample(range(len(self.words) // LINE), 2)
        self.slots = (lines[0] * LINE + self.random.randrange(LINE), lines[1] * LINE + self.random.randrange(LINE))
        self.keys = (self.random.getrandbits(64), self.random.getrandbits(64))
        self.before = (self.words[self.slots[0]], self.words[self.slots[1]])
        self._stamp(FIRST)

    def end(self) -> None:
        """Enqueue the second."""
        self._stamp(LAST)

    def opening(self) -> None:
        """The stream is let go now: none of its stamps was written before."""
        self.opened = time.perf_counter_ns()

    def watched(self) -> tuple[float, str]:
        """Wait until the stream is done, and watch; seconds, and why they cannot be trusted (empty where they can).

        Raises Forged, Doubtful and CudaError.
        """
        first, last = self._watch()
        while int(status := self.cu.cuStreamQuery(self.stream)[0]) != 0:
            if status != self.cu.CUresult.CUDA_ERROR_NOT_READY:
                raise CudaError(status.name)
        delay = time.perf_counter_ns() - last.seen
        ask(self.cu.cuStreamSynchronize, self.stream)
        inside = self._inside(first.value, last.value)
        return self._seconds(inside), self._agreed(first, last, inside, delay)

    def unwatched(self) -> float:
        """Wait until the stream is done; seconds that nobody should build on. Raises Forged and CudaError."""
        ask(self.cu.cuStreamSynchronize, self.stream)
        first, last = (self.words[slot] for slot in self.slots)
        return self._seconds(self._inside(first, last))

    def _stamp(self, number: int) -> None:
        self.slot.value = self.address + 8 * self.slots[number]
        self.key.value = self.keys[number]
        geometry = (1, 1, 1, 1, 1, 1, 0)
        ask(self.cu.cuLaunchKernel, self.function, *geometry, self.stream, ctypes.addressof(self.parameters), 0)

    def _watch(self) -> tuple[Sight, Sight]:
        """Look at the first stamp's word until it changes, then at the last one's. What is done between two looks is
        what the watch cannot see, so there is as little as Python allows.
        """
        words, now = self.words, time.perf_counter_ns
        (first_slot, last_slot), (first_before, last_before) = self.slots, self.before
        earlier = later = self.opened
        while True:
            for _ in range(LOOKS):
                if (first := words[first_slot]) != first_before:
                    break
                earlier, later = later, now()
            else:
                self._pause()
                continue
            break
        first_earliest, first_seen = earlier, now()
        while True:
            for _ in range(LOOKS):
                if (last := words[last_slot]) != last_before:
                    break
                earlier, later = later, now()
            else:
                self._pause()
                continue
            break
        last_seen = now()
        return Sight(first, first_earliest, first_seen), Sight(last, earlier, last_seen)

    def _pause(self) -> None:
        """After many looks in vain: has the stream failed? And where it takes long, give the processor back."""
        self._still_runs()
        waited = time.perf_counter_ns() - self.opened
        if waited > SLEEP_NS:
            time.sleep(waited / 5e12)

    def _still_runs(self) -> None:
        (status,) = self.cu.cuStreamQuery(self.stream)
        if int(status) != 0 and status != self.cu.CUresult.CUDA_ERROR_NOT_READY:
            raise CudaError(status.name)

    def _inside(self, first: int, last: int) -> int:
        """The device's own nanoseconds between the stamps. Raises Forged where anything else was written meanwhile."""
        for slot, value in zip(self.slots, (first, last), strict=True):
            self.expected[8 * slot : 8 * slot + 8] = value.to_bytes(8, "little")
        if bytes(self.bytes) != self.expected:
            raise Forged("it wrote where the judge keeps its clock")
        inside = (last ^ self.keys[1]) - (first ^ self.keys[0])
        if inside < 0:
            raise Forged("its last time stamp is before its first")
        return inside

    def _seconds(self, inside: int) -> float:
        return max(inside - self.overhead_ns, 1) / 1e9

    def _agreed(self, first: Sight, last: Sight, inside: int, delay: int) -> str:
        """Why this call's time is in doubt. Raises Doubtful where inside and outside differ beyond accidents."""
        least, most = last.earliest - first.seen, last.seen - first.earliest
        drift = inside // DRIFT
        stray = max(least - inside, inside - most, 0) - drift
        disturbed = first.gap > STEADY_NS or last.gap > max(STEADY_NS, drift)
        if not disturbed:
            difference = (least + most) / 2 - inside
            self.differences.append(math.copysign(max(abs(difference) - drift, 0.0), difference))
        self.strays.append(stray > STRAY_NS)
        self.delays.append(delay)
        typical = abs(_median(self.differences))
        if typical > AGREED_NS or sum(self.strays) > MOST_STRAYS:
            by = f"{typical:.0f} ns in the median, {sum(self.strays)} of {len(self.strays)} calls by far"
            raise Doubtful(f"its time stamps do not agree with the clock outside ({by})")
        late = statistics.median(self.delays)
        if len(self.delays) == REMEMBERED and late > LATE_NS:
            raise Doubtful(f"it was still running {late / 1e3:.0f} us after the last time stamp")
        return "the watch over the clock was interrupted" if disturbed or stray > 0 else ""


def _median(values: Sequence[float]) -> float:
    """Zero for fewer than LEAST_CALLS."""
    return statistics.median(values) if len(values) >= LEAST_CALLS else 0.0
