"""What this machine says of its processor cores: whether something from outside disturbed a timed call on one of them.

Counters of the kernel, read before and after a call, never while the clock runs. Where a counter does not exist,
nothing is concluded from it, and the conditions say which do.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

LOST_S = 10e-6
"""A call is disturbed where others had the core for longer than this ..."""
LOST_SHARE = 0.005
"""... and for more than this share of the call. Handing over between judge and worker costs a few microseconds."""
_CPU = Path("/sys/devices/system/cpu")
_STEAL = 8
"""Field of a line of /proc/stat: time that the hypervisor gave to others, in ticks."""


class Watch:
    """The counters of one core. :meth:`begin` and :meth:`end` span a timed call."""

    def __init__(self, core: int) -> None:
        self.core = core
        self._stat = _open(Path("/proc/stat"))
        self._throttled = _open(_CPU / f"cpu{core}/thermal_throttle/core_throttle_count")
        self._frequency = _open(_CPU / f"cpu{core}/cpufreq/scaling_cur_freq")
        self._pressure = _open(Path("/proc/pressure/cpu"))
        self._began = (time.monotonic(), self._waiting())
        self._before = (0, 0)
        self._hertz: list[int] = []
        self._said: tuple[str, ...] = ()

    def begin(self) -> None:
        """Before a timed call."""
        self._before = (self._steal(), _number(self._throttled))

    def end(self, took_s: float, lost_s: float) -> str:
        """After it: why its time cannot be trusted, empty where it can. ``lost_s`` is how long others had the core."""
        if (hertz := _number(self._frequency)) > 0:
            self._hertz.append(hertz)
        if self._steal() > self._before[0]:
            return "time stolen by the hypervisor"
        if _number(self._throttled) > self._before[1]:
            return "the core was throttled"
        if lost_s > max(LOST_S, LOST_SHARE * took_s):
            return "others had the core"
        return ""

    @property
    def conditions(self) -> tuple[str, ...]:
        """Which counters there were, and what the machine was like, as far as it was watched."""
        return self._said or self._say()

    def close(self) -> None:
        """Give the descriptors back; the conditions stay what they were."""
        self._said = self._say()
        for descriptor in (self._stat, self._throttled, self._frequency, self._pressure):
            if descriptor >= 0:
                os.close(descriptor)
        self._stat = self._throttled = self._frequency = self._pressure = -1

    def _say(self) -> tuple[str, ...]:
        known = {"waits": _waits_are_kept(), "steal": self._stat >= 0}
        known |= {"throttling": self._throttled >= 0, "frequency": self._frequency >= 0}
        seen = ", ".join(name for name, there in known.items() if there) or "nothing"
        blind = ", ".join(name for name, there in known.items() if not there)
        said = [f"core watched for: {seen}" + (f" (not seen: {blind})" if blind else "")]
        if self._hertz:
            said.append(f"core frequency: {min(self._hertz) / 1e6:.2f} to {max(self._hertz) / 1e6:.2f} GHz")
        began, waiting = self._began
        if self._pressure >= 0 and (elapsed := time.monotonic() - began) > 0:
            share = (self._waiting() - waiting) / 1e6 / elapsed
            said.append(f"processor pressure: some task of this machine waited {share:.0%} of the time")
        return tuple(said)

    def _steal(self) -> int:
        wanted = f"cpu{self.core} ".encode()
        for line in _read(self._stat, 1 << 16).splitlines():
            if line.startswith(wanted):
                fields = line.split()
                return int(fields[_STEAL]) if len(fields) > _STEAL else 0
        return 0

    def _waiting(self) -> int:
        """Microseconds in which some task waited for a processor, since the machine was started."""
        some = _read(self._pressure, 256).partition(b"total=")[2].split(maxsplit=1)
        return int(some[0]) if some else 0


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def _waits_are_kept() -> bool:
    """Whether this kernel counts how long a thread waits for a processor."""
    try:
        return len(Path("/proc/self/schedstat").read_bytes().split()) >= 2
    except OSError:
        return False


def _read(descriptor: int, most: int) -> bytes:
    if descriptor < 0:
        return b""
    try:
        return os.pread(descriptor, most, 0)
    except OSError:
        return b""


def _number(descriptor: int) -> int:
    text = _read(descriptor, 64).strip()
    return int(text) if text.isdigit() else 0
