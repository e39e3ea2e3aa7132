"""Is the GPU well? Its clocks around timed calls, and a probe after a candidate crashed, hung or was killed.

What is found here is never a verdict on a candidate: low clocks disturb a round (it is taken again), and a device that
is not well is a fault. The management library is optional; without it the conditions say so.
"""

from __future__ import annotations

from collections import Counter

from warpsmith.judge.failures import WorkerLost
from warpsmith.judge.memory import Memory
from warpsmith.judge.nvml import Look, Nvml

COPY_BYTES = 256 << 20
COPIES = 5
SLOWEST = 0.7
"""A copy may fall to this share of the rate that the same session saw at first: clocks may still be rising."""
SIDE = 1024
"""Of the matrices of the checked product; their elements are from -8 to 8, so that float32 gives it exactly."""


class Health:
    """What one session knows of its device."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.suspect = False
        """Whether something ended badly since the device was last known to be well."""
        try:
            self.nvml: Nvml | None = Nvml(memory.uuid)
            self.unseen = ""
        except OSError as error:
            self.nvml, self.unseen = None, str(error)
        self.errors = self.nvml.uncorrected() if self.nvml else None
        self.rate = self._copy_rate()
        self.looks: list[Look] = []
        self.slowed: Counter[str] = Counter()

    def close(self) -> None:
        """Look no more."""
        if self.nvml is not None:
            self.nvml.close()

    def begin(self) -> None:
        """A measurement begins: forget the clocks of the last, and probe the device if it is suspect.

        Raises WorkerLost where the device is not well.
        """
        self.looks, self.slowed = [], Counter()
        if self.suspect:
            self.probe()
            self.suspect = False

    def look(self) -> str:
        """Look at the clocks, beside no timed call; why they are low, empty where they are not."""
        if self.nvml is None:
            return ""
        try:
            seen = self.nvml.look()
        except OSError as error:
            raise WorkerLost(f"the GPU does not answer: {error}") from None
        self.looks.append(seen)
        if seen.slowed:
            self.slowed[seen.slowed] += 1
        return f"the GPU was {seen.slowed}" if seen.slowed else ""

    @property
    def conditions(self) -> tuple[str, ...]:
        """The clocks during the timed calls of this measurement."""
        if self.nvml is None:
            return (f"GPU clocks were not watched: {self.unseen}",)
        if not self.looks:
            return ()
        sm, memory = [x.sm_mhz for x in self.looks], [x.memory_mhz for x in self.looks]
        said = f"GPU clocks beside timed calls: SM {min(sm)} to {max(sm)}, memory {min(memory)} to {max(memory)} MHz"
        slow = "; ".join(f"{why} at {count} of {len(self.looks)} looks" for why, count in sorted(self.slowed.items()))
        return (f"{said}; {slow or 'never slowed for power or temperature'}",)

    def probe(self) -> None:
        """Raise WorkerLost unless errors are none, a product is exact and a copy about as fast as before."""
        for wrong in (self._reported(), self._computes(), self._copies()):
            if wrong:
                raise WorkerLost(f"the GPU is not well: {wrong}")

    def _reported(self) -> str:
        if self.nvml is None:
            return ""
        try:
            errors, broken = self.nvml.uncorrected(), self.nvml.broken()
        except OSError as error:
            return f"it does not answer ({error})"
        if broken:
            return f"the driver reported Xid {', '.join(map(str, broken))}"
        if errors is not None and self.errors is not None and errors > self.errors:
            return f"{errors - self.errors} more memory errors that could not be corrected"
        return ""

    def _computes(self) -> str:
        """Freivalds' check of a product of whole numbers: (A B) v against A (B v), both exact."""
        torch, device = self.memory.numeric.torch, self.memory.numeric.device
        a, b = (torch.randint(-8, 9, (SIDE, SIDE), device=device, dtype=torch.float32) for _ in range(2))
        v = torch.randint(-8, 9, (SIDE, 1), device=device, dtype=torch.float64)
        wanted = a.double() @ (b.double() @ v)
        wrong = int(((a @ b).double() @ v != wanted).sum().item())
        return f"a product of matrices came out wrong in {wrong} rows of {SIDE}" if wrong else ""

    def _copies(self) -> str:
        rate = self._copy_rate()
        return f"a copy runs at {rate / self.rate:.0%} of its first rate" if rate < SLOWEST * self.rate else ""

    def _copy_rate(self) -> float:
        """Bytes per second, read plus written, of the fastest of a few copies in the judge's own context."""
        torch, device = self.memory.numeric.torch, self.memory.numeric.device
        free, _ = torch.cuda.mem_get_info()
        count = min(COPY_BYTES, int(free) // 8)
        source, target = (torch.zeros(count, dtype=torch.uint8, device=device) for _ in range(2))
        best = 0.0
        for _ in range(COPIES):
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            began.record()
            target.copy_(source)
            ended.record()
            ended.synchronize()
            best = max(best, 2 * count / max(float(began.elapsed_time(ended)) / 1e3, 1e-9))
        return best
