"""What changed since a release was measured: driver, toolkit, libraries, task, baseline, judge. Pure."""

from __future__ import annotations

from warpsmith.model.release import Manifest
from warpsmith.model.target import Target


def same_hardware(manifest: Manifest, here: Target | None) -> bool:
    """Whether its gain can be measured on this machine at all."""
    there = manifest.target
    return here is not None and (there.hardware, there.device, there.architecture) == (
        here.hardware,
        here.device,
        here.architecture,
    )


def changes(
    manifest: Manifest, here: Target | None, task: str | None, baseline: str | None, judge: str
) -> tuple[str, ...]:
    """Why a release is stale, in sentences; none where it is not.

    ``here`` is this machine's target (None where it has none; software counts only on the same hardware), ``task`` and
    ``baseline`` the identities that the project has now (None where the task is gone).
    """
    found = []
    if here is not None and same_hardware(manifest, here):
        there = manifest.target
        for what, then, now in (
            ("driver", there.driver, here.driver),
            ("toolkit", there.toolkit, here.toolkit),
            *((n, there.libraries.get(n, "none"), here.libraries.get(n, "none")) for n in _names(there, here)),
        ):
            found += [f"{what} changed: {then or 'none'} then, {now or 'none'} now"] if then != now else []
    if task is None:
        found.append("the project has no such task any more")
    elif task != manifest.task:
        found.append("the task changed")
    if baseline is not None and baseline != manifest.baseline_id:
        found.append("the baseline changed")
    if judge != manifest.judge:
        found.append(f"the judge changed: version {manifest.judge} then, {judge} now")
    return tuple(found)


def _names(there: Target, here: Target) -> list[str]:
    return sorted({*there.libraries, *here.libraries})
