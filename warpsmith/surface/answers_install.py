"""What the verbs of installing answer."""

from __future__ import annotations

from typing import Literal

from warpsmith.model.base import Record
from warpsmith.ship.refusals import Refusal
from warpsmith.surface.answers import Answer


class TargetRow(Record):
    """One function of a framework, as far as its source tells."""

    target: str
    dispatch: str
    release: str = ""
    ratio: float = 0.0
    state: Literal["ready", "missing", "changed", "unfit"]
    """ready to be swapped when its module is imported; the rest is as :mod:`warpsmith.ship.runtime.install` says."""
    detail: str = ""


class InstalledPatch(Record):
    """One package in one framework of one environment."""

    package: str
    folder: str
    framework: str
    python: str
    file: str
    state: Literal["applied", "outdated", "edited", "gone", "dry"]
    """outdated: made for another version of the framework; edited: the file was changed since, and the lines are there;
    gone: the lines are not there any more, as after an upgrade; dry: nothing was written.
    """
    detail: str = ""
    made_for: str
    """Version of the framework that it was made for."""
    version: str
    """That is there now."""
    targets: tuple[TargetRow, ...] = ()


class InstallAnswer(Answer):
    """A package made to be used by a framework, or what stands against it."""

    patch: InstalledPatch
    changed: bool
    """Whether the file was written."""
    diff: str
    """What was, or would be, changed in the framework's file."""
    path: Literal["arrives", "unclear", "refused", "not measured"]
    """Whether the win arrives where it is called: see :mod:`warpsmith.ship.installed`."""
    refusals: tuple[Refusal, ...] = ()
    written: str = ""
    """Where the diff is kept."""


class StatusAnswer(Answer):
    """What is installed where."""

    patches: tuple[InstalledPatch, ...]
    note: str = "Hits and fallbacks are counted in each process: PACKAGE._runtime.install.status() says them there."


class RemovedPatch(Record):
    """One file that was put back."""

    package: str
    framework: str
    file: str
    exact: bool
    """It is the very file that was there before."""
    detail: str = ""


class UninstallAnswer(Answer):
    """What was taken out."""

    removed: tuple[RemovedPatch, ...]
