"""Capturing launches of a kernel in a real run: which ones, their buffers before and after, and the code image.

Representatives are those that observe chose (buckets.py). What was taken is turned into a task by capturetask.py.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from warpsmith.app.injection import Ask, environment
from warpsmith.app.injection import Capture as Wanted
from warpsmith.app.library import library
from warpsmith.app.log import Log, read_logs
from warpsmith.app.running import App, run
from warpsmith.app.symbols import parts
from warpsmith.errors import BadInput, WarpsmithError
from warpsmith.model.launch import How, Launch, ModuleImage, Snapshot
from warpsmith.model.observed import Configuration, ObservedKernel
from warpsmith.model.observed import Observation as Seen

BUFFER_LIMIT = 256 << 20
"""Bytes of one allocation that are kept; of a larger one, as many behind the pointer."""
TOTAL_LIMIT = 8 << 30


@dataclass(frozen=True)
class Limits:
    """Of a capture run."""

    buffer_bytes: int = BUFFER_LIMIT
    total_bytes: int = TOTAL_LIMIT
    limit_s: float | None = None


@dataclass(frozen=True)
class Taken:
    """One captured launch, with what its run left in ``folder``."""

    configuration: Configuration
    launch: Launch
    before: tuple[Snapshot, ...]
    after: tuple[Snapshot, ...]
    image: ModuleImage
    folder: Path

    def changed(self, snapshot: Snapshot) -> Snapshot | None:
        """What followed on a snapshot of before, where the launch changed it."""
        key = (snapshot.name, snapshot.offset)
        return next((a for a in self.after if (a.name, a.offset) == key and a.changed), None)

    def content(self, snapshot: Snapshot) -> bytes:
        """The bytes of a snapshot."""
        return (self.folder / snapshot.file).read_bytes()


def chosen(seen: Seen, named: str) -> ObservedKernel:
    """The kernel that ``named`` names: its symbol, its name with or without template arguments, or a part of it.

    Raises BadInput where there is none, or several.
    """

    def bare(kernel: ObservedKernel) -> str:
        return parts(kernel.symbol).name.partition("<")[0]

    ways: tuple[Callable[[ObservedKernel], bool], ...] = (
        lambda k: named in (k.symbol, k.name),
        lambda k: parts(k.symbol).name == named,
        lambda k: named in (bare(k), bare(k).rpartition("::")[2]),
        lambda k: named in parts(k.symbol).name,
    )
    for way in ways:
        found = [k for k in seen.kernels if way(k)]
        if len(found) == 1:
            return found[0]
        if found:
            names = "; ".join(k.name for k in found[:8])
            raise BadInput(f"{len(found)} kernels could be {named!r}.", f"Say which, as it stands here: {names}.")
    names = "; ".join(parts(k.symbol).name for k in seen.kernels[:8]) or "none"
    raise BadInput(f"the application launched no kernel {named!r}.", f"Kernels: {names}.")


def capturable(kernel: ObservedKernel, top: int) -> tuple[Configuration, ...]:
    """The configurations to be captured, the most time first. Raises BadInput where none can be."""
    if kernel.cooperative:
        raise BadInput(
            f"{kernel.name} is launched cooperatively, which cannot be replayed yet.", "Capture another kernel."
        )
    if not kernel.parameters_known:
        raise BadInput(f"the driver does not say how the parameters of {kernel.name} lie.", "Use 'intake'.")
    found = tuple(c for c in kernel.configurations if c.first is not None)[:top]
    if found:
        return found
    if not by_graphs_only(kernel):
        raise BadInput(
            f"none of the {kernel.launches} launches of {kernel.name} was recorded whole.",
            "Observe a shorter run (--for), or again: --again.",
        )
    raise BadInput(
        f"{kernel.name} was launched by CUDA graphs only ({kernel.launches} times), which cannot be captured: a graph"
        " runs as a whole, and nobody can look at buffers before and after one of its kernels.",
        "Capture a run without graphs (most frameworks can switch them off), and use the task for the run with them:"
        " 'trial' swaps kernels in graphs too, and 'integrate' changes the source.",
    )


def by_graphs_only(kernel: ObservedKernel) -> tuple[Configuration, ...]:
    """The configurations that nothing but graphs launched: nothing can be captured of them."""
    return tuple(c for c in kernel.configurations if c.first is None and c.by_graphs == c.launches)


def left_out(kernel: ObservedKernel) -> tuple[str, ...]:
    """What a capture of this kernel lacks because graphs launched it: configurations, and launches of those that the
    application launches by itself too.
    """
    said, left = [], by_graphs_only(kernel)
    if left:
        share = sum(c.seconds for c in left) / kernel.seconds if kernel.seconds else 0.0
        how_much = f"grid {', '.join(map(_grid, left))}; {share:.1%} of the kernel's time"
        said.append(f"not captured: {len(left)} configurations ({how_much}), which graphs launch")
    for one in kernel.configurations:
        if one.by_graphs and one not in left:
            said.append(
                f"grid {_grid(one)}: graphs launch {one.by_graphs} of its {one.launches} runs, and none of these is"
                " captured: one that the application launches by itself stands for them"
            )
    return tuple(said)


def _grid(one: Configuration) -> str:
    return "x".join(map(str, one.grid))


@contextmanager
def run_and_take(
    app: App,
    home: Path,
    kernel: ObservedKernel,
    wanted: Sequence[Configuration],
    limits: Limits,
    output: IO[bytes] | int | None,
) -> Iterator[tuple[Taken, ...]]:
    """Run the application once more, and give what was captured; its files live as long as the context.

    Raises BadInput where a launch did not come again, or does not fit into the limits; Missing, BadReport.
    """
    asks = tuple(Wanted(kernel.symbol, c.first or 0, c.grid, c.block) for c in wanted)
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="capturing-", dir=home) as place:
        folder = Path(place)
        ask = Ask(
            folder, times=False, only=(kernel.symbol,), captures=asks, buffer_limit_bytes=limits.buffer_bytes,
            total_limit_bytes=limits.total_bytes,
        )  # fmt: skip
        variables = environment(library(home / "cache"), ask, app.environment)
        ended = run(app, variables, limit_s=limits.limit_s, stdout=output)
        logs = read_logs(folder)
        found = taken(logs, folder, kernel, wanted)
        if not found:
            troubles = "; ".join(t for log in logs for t in log.troubles) or f"it ended with status {ended.status}"
            raise WarpsmithError(
                f"no launch of {kernel.name} was captured: {troubles}.", "Observe again: the run may differ each time."
            )
        yield found


def taken(
    logs: Sequence[Log], folder: Path, kernel: ObservedKernel, wanted: Sequence[Configuration]
) -> tuple[Taken, ...]:
    """The captured launches of a run, in the order of ``wanted``. Raises BadInput for what could not be kept."""
    found = []
    for configuration in wanted:
        key = (configuration.grid, configuration.block)
        for log in logs:
            same = [
                x for x in log.launches
                if x.function.symbol == kernel.symbol and (x.grid, x.block) == key and x.how <= How.cooperative
            ]  # fmt: skip
            index = configuration.first or 0
            if index < len(same) and (one := _taken(log, folder, same[index], configuration)) is not None:
                found.append(one)
                break
    return tuple(found)


def _taken(log: Log, folder: Path, launch: Launch, configuration: Configuration) -> Taken | None:
    mine = [s for s in log.snapshots if s.sequence == launch.sequence]
    image = next((i for i in log.images if i.sequence == launch.sequence), None)
    if not mine or image is None or not image.file:
        return None
    before = tuple(s for s in mine if not s.after)
    lost = [s for s in before if not s.bytes or not s.file]
    if lost:
        raise BadInput(
            f"{len(lost)} buffers of a launch with grid {launch.grid} could not be kept (of {lost[0].size} bytes).",
            "Raise --total-limit, or capture fewer launches with --top-k.",
        )
    return Taken(configuration, launch, before, tuple(s for s in mine if s.after), image, folder)
