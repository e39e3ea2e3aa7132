"""The verb ``observe``: a real application, unmodified, and what it does on its devices."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warpsmith.surface import answers, answers_app


def observe(
    *,
    application: tuple[str, ...] = (),
    for_: float | None = None,
    again: bool = False,
    output: Path | None = None,
    top: int = 5,
    cover: float = 0.9,
    ratio: float = 2.5,
    count: bool = False,
    overhead: bool = False,
    function: str = "",
) -> answers_app.ObserveAnswer:
    """Run an unmodified application: every kernel launch with its true arguments, and the time per kernel.

    Exit status 1 where the application failed, 2 where it launched no kernel. What was seen is kept, one file per
    kernel, and used again while the kernels' signatures hold. The application's own output goes to standard error.

    Args:
        application: The program with its arguments, behind --.
        for_: Seconds after which the application is ended; what it did until then counts.
        again: Run it, whatever is kept.
        output: Folder for the files, instead of one per command under .warpsmith/observed.
        top: Configurations (grid and block) of a kernel that are kept, at most.
        cover: Share of a kernel's device time that they shall make up; no more are kept than that takes.
        ratio: Fast and slow launches of one configuration are told apart where p95 is so many times p25.
        count: Count its launches and nothing else, which costs next to nothing; nothing is kept.
        overhead: Also measure what watching costs: the application plain, counted and recorded, three times each.
        function: A Python function, as module:function, whose calls are noted (shapes, dtypes, strides) instead.
    """
    from warpsmith.app import counts, functions
    from warpsmith.app import observe as observing
    from warpsmith.app.buckets import Choice
    from warpsmith.app.running import app
    from warpsmith.errors import BadInput
    from warpsmith.model.observed import SUFFIX
    from warpsmith.surface.answers_app import ObserveAnswer
    from warpsmith.surface.gpus import settle
    from warpsmith.surface.workspace import Workspace

    if for_ is not None and for_ <= 0:
        raise BadInput(f"--for: {for_:g} is no time.", "Give seconds.")
    if top < 1 or not 0 < cover <= 1 or ratio <= 1:
        raise BadInput("--top is at least 1, --cover between 0 and 1, and --ratio above 1.", "Give such numbers.")
    if count and (overhead or function or output is not None):
        raise BadInput("--count only counts.", "Leave out --overhead, --function and --output.")
    space = Workspace()
    home = space.home
    if output is not None:
        space.outside_releases(output)
    settle(space.settings, needed=False)
    said = app(application)
    if count:
        counted = counts.count(said, home, for_, sys.stderr.fileno())
        return ObserveAnswer(exit_status=_status(counted.status, counted.launched), counts=counted)
    if function:
        found = functions.observe(said, function, for_, sys.stderr.fileno())
        folder = output or observing.folder_of(said, home)
        path = functions.keep(found, folder)
        status = _status(found.run.status, bool(found.calls))
        return ObserveAnswer(exit_status=status, calls=found, folder=str(folder), files=(path.name,))
    wish = observing.Wish(for_, Choice(top, cover, ratio), sys.stderr.fileno())
    seen = observing.observe(said, home, wish, into=output, again=again)
    return ObserveAnswer(
        exit_status=_status(seen.observation.run.status, bool(seen.observation.kernels)),
        observation=seen.observation,
        folder=str(seen.folder),
        files=tuple(sorted(p.name for p in seen.folder.glob(f"*{SUFFIX}"))),
        reused=seen.reused,
        overhead=observing.overhead(said, home, for_) if overhead else (),
    )


def application_checks(cache: Path) -> tuple[answers.Check, ...]:
    """Two lines of ``doctor``: whether launches can be watched here, and whether a kernel can be swapped live."""
    from warpsmith.app.probe import probe
    from warpsmith.surface.answers import Check

    found = probe(cache)
    needs = "Needs a device, a driver of CUDA 12.4 or newer, CUPTI with its headers, and g++."
    instead = "Use 'integrate', which changes the source." if found.watch else needs
    return (
        Check(name="observe", works=found.watch, detail=found.watch_said, remedy="" if found.watch else needs),
        Check(name="trial", works=found.swap, detail=found.swap_said, remedy="" if found.swap else instead),
    )


def _status(ended: int | None, saw: bool) -> int:
    from warpsmith.surface.answers import NO, NOTHING_GAINED, YES

    if ended:
        return NO
    return YES if saw else NOTHING_GAINED
