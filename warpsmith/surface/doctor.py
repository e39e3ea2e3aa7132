"""The verb ``doctor``: what this machine can do, what its devices measure, and whether the judge can be believed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from warpsmith.model.target import Target
    from warpsmith.surface import answers
    from warpsmith.surface.workspace import Workspace


def doctor(*, calibrate: bool = False, judge: bool = False) -> answers.DoctorAnswer:
    """Say what this machine can do: compilers, devices, profilers, sandbox. A machine without a GPU is no error.

    Exit status 1 where --judge finds that the judge got one of the planted candidates wrong.

    Args:
        calibrate: Measure each device's noise floor (identical candidates against each other) and copy rate, and
            keep them.
        judge: Plant candidates whose verdict is known (wrong, imprecise, slow, identical, faster, cheating, crashing)
            and show what the judge says of each, on every device of this machine.
    """
    from warpsmith.analyse.rates import rate
    from warpsmith.judge.machine import capabilities
    from warpsmith.surface import calibrating
    from warpsmith.surface.answers import NO, YES, Check, DoctorAnswer, calibration_row
    from warpsmith.surface.gpus import pin_checks
    from warpsmith.surface.observing import application_checks
    from warpsmith.surface.plants import judge_plants
    from warpsmith.surface.workspace import Workspace

    space = Workspace()
    checks = (*pin_checks(space.settings), *(Check(**asdict(c)) for c in capabilities()))
    checks += application_checks(space.home / "cache")
    targets = _targets(space) if calibrate or judge else ()
    found: list[dict[str, Any]] = []
    for target in targets if calibrate else ():
        found.append(calibration_row(target, calibrating.calibrate(space, target)))
    plants = tuple(p for target in targets if judge for p in judge_plants(space, target))
    status = YES if all(p.right for p in plants) else NO
    missed = rate(sum(not p.right for p in plants), len(plants)) if plants else None
    return DoctorAnswer(exit_status=status, checks=checks, calibrations=tuple(found), plants=plants, misjudged=missed)


def _targets(space: Workspace) -> tuple[Target, ...]:
    """The devices of this machine."""
    from warpsmith.errors import Missing

    found = []
    for hardware in ("cpu", "cuda"):
        with suppress(Missing):
            found.append(space.target_of(hardware))
    return tuple(found)
