"""What one judge session keeps of its GPU from one measurement to the next: context, launchers, own kernels, health."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from warpsmith.judge import fused
from warpsmith.judge.failures import CandidateFailed, WorkerLost
from warpsmith.judge.health import Health
from warpsmith.judge.launching import PROFILED, LauncherProcess, Under, confined
from warpsmith.judge.memory import BLOCK, Memory, flush_bytes
from warpsmith.judge.pool import READY_S, Pool
from warpsmith.judge.trusted import cubin
from warpsmith.model.target import Target
from warpsmith.toolchains import spare
from warpsmith.toolchains.cuda import keep_ready

SPARES = 4
"""Launchers that wait between measurements: two for the next one's sides, and two that may still be starting then."""
MOST_AHEAD = 25
"""Launchers that wait, at most, for the fresh processes of a confirming measurement."""
LAUNCHER_BYTES = {"device": 1 << 30, "host": 512 << 20}
"""What a launcher takes of either memory, at most; those that wait may take a quarter of what is free."""


class Gpu:
    """One device in one session."""

    def __init__(self, target: Target, cache: Path) -> None:
        self.memory = Memory(keep=True)
        self.memory.must_be(target)
        self.stamps = cubin("stamps.cu", "stamp", target, cache).hex()
        self.health = Health(self.memory)
        fused.use(self.memory, target, cache)
        address = self.memory.allocate(BLOCK)
        try:
            self.confined = confined(self._config(), self.memory.handle(address), READY_S)
        finally:
            self.memory.free(address)
        self.pool = Pool(self.spawn)
        keep_ready(target.architecture)
        self.flush_bytes = flush_bytes(target)
        self.overhead_ns = self._overhead()

    def close(self) -> None:
        """End the launchers that wait, and give everything back."""
        self.pool.close()
        self.health.close()
        self.memory.trim()

    @property
    def room(self) -> int:
        """How many launchers may wait."""
        free, _ = self.memory.numeric.torch.cuda.mem_get_info()
        host = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        most = min(int(free) // LAUNCHER_BYTES["device"], host // LAUNCHER_BYTES["host"]) // 4
        return max(0, min(most, MOST_AHEAD))

    def spawn(self, under: Under | None = None) -> LauncherProcess:
        """Start a launcher, beside those that wait; ``under`` a tool where one is given."""
        return LauncherProcess(self._config(), how=self.confined.how, under=under)

    def _config(self) -> dict[str, Any]:
        paths = [p for p in sys.path if os.path.isabs(p) and (Path(p) / "cuda").is_dir()]
        return {"paths": paths, "uuid": self.memory.uuid, "stamps": self.stamps}

    def _overhead(self) -> int:
        """What the clock itself takes, in ns, by a launcher without a candidate, flushed as before a timed call: on an
        idle device it came out 1.6 to 2.4 us from one session to the next. Raises WorkerLost.

        Not under a profiler, which may let one kernel run at a time, and so waits for ever where a stream is held back.
        """
        if PROFILED in os.environ:
            return 0
        process = self.pool.take()
        load = {"do": "load", "binary": -1, "kernels": [], "flush_bytes": self.flush_bytes, "overhead_ns": 0}
        try:
            process.ready(READY_S)
            process.ask(load, "loaded", READY_S, "before the clock was measured")
            return int(process.ask({"do": "overhead"}, "overhead_ns", READY_S, "while the clock was measured"))
        except CandidateFailed as failure:
            raise WorkerLost(f"the clock could not be measured: {failure.detail}") from None
        finally:
            self.pool.leave(process)


_known: dict[tuple[str, str, Path], Gpu] = {}


def gpu(target: Target, cache: Path) -> Gpu:
    """The device of this session, set up once. Another device or cache takes its place."""
    key = (target.key, target.uuid, cache)
    if key not in _known:
        forget()
        _known[key] = Gpu(target, cache)
    return _known[key]


def forget() -> None:
    """End the launchers that wait, and forget the device."""
    while _known:
        _, old = _known.popitem()
        old.close()
        spare.close()
