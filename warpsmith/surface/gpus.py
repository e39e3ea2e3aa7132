"""The GPU pin on this machine: what every verb that uses a GPU settles first, and how a pin is kept."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from warpsmith.errors import BadInput, Missing
from warpsmith.judge.nvml import Gpu, gpus
from warpsmith.judge.pin import CHOSEN, VISIBLE, Chosen, Look, choose
from warpsmith.settings import FILE, PREFIX, Settings
from warpsmith.store.files import write_atomic
from warpsmith.surface.answers import Check

VARIABLE = f"{PREFIX}GPU"


def pinned_by() -> str:
    """Who says the setting ``gpu``, where somebody does."""
    return VARIABLE if VARIABLE in os.environ else FILE


def settle(settings: Settings, *, needed: bool = True, look: Look = gpus) -> None:
    """Let this process, and all that it starts, see the one GPU that is pinned, or else a free one. That is said on
    standard error where it is worth it, and in the conditions of the evidence always. Once settled it stays.

    Raises Missing for a pin that this machine lacks; without ``needed`` a machine without any driver lacks nothing.
    """
    said, seen = os.environ.get(CHOSEN, ""), os.environ.get(VISIBLE, "")
    if seen and said.startswith(f"GPU {seen} ") and seen.startswith(settings.gpu):
        return
    chosen = _chosen(settings, needed, look)
    if chosen is None:
        return
    os.environ.update(chosen.environment)
    if chosen.worth_saying:
        print(f"warpsmith: {chosen.said}", file=sys.stderr)  # noqa: T201


def _chosen(settings: Settings, needed: bool, look: Look) -> Chosen | None:
    by = pinned_by()
    try:
        seen = look()
    except OSError as error:
        if settings.gpu and needed:
            raise _no_driver(f"{by} names {settings.gpu}, and this machine has no GPU", error) from None
        return None
    return choose(seen, settings.gpu, by, os.environ)


def pin_checks(settings: Settings, look: Look = gpus) -> tuple[Check, ...]:
    """A line of ``doctor``: which GPU is used and why; none where there is no GPU and none is pinned."""
    try:
        settle(settings, look=look)
    except (BadInput, Missing) as error:
        return (Check(name="gpu pin", works=False, detail=error.message, remedy=error.remedy),)
    said = os.environ.get(CHOSEN, "")
    return (Check(name="gpu pin", works=True, detail=said),) if said else ()


def write_pin(path: Path, uuid: str) -> None:
    """Set ``gpu`` in a settings file, or take it out where ``uuid`` is empty. Raises BadInput for a broken file."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        before = path.read_bytes().decode() if path.is_file() else ""
        said = tomlkit.parse(before)
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not TOML: {error}.", "Mend the syntax at that place.") from None
    if uuid:
        said["gpu"] = uuid
    else:
        said.pop("gpu", None)
    after = tomlkit.dumps(said)
    if after != before:
        write_atomic(path, after)


def found() -> tuple[Gpu, ...]:
    """Every GPU of this machine. Raises Missing where there is no driver."""
    try:
        return gpus()
    except OSError as error:
        raise _no_driver("no GPU can be listed", error) from None


def _no_driver(what: str, error: OSError) -> Missing:
    return Missing(f"{what}: {error}.", "Install NVIDIA's driver, or run it where there is one.")
