"""Targets: the machine and software that a measurement belongs to. Imports only the base."""

from __future__ import annotations

from warpsmith.model.base import Record, digest


class Target(Record):
    """Device, architecture, driver, toolkit, libraries. Numbers of different targets are never compared."""

    hardware: str
    """``cpu`` or ``cuda``: what a task's ``hardware`` asks for."""
    device: str
    """Marketing name, such as ``NVIDIA H200``."""
    architecture: str
    """``sm_90a``, or the ``-march`` that native resolves to."""
    driver: str = ""
    toolkit: str = ""
    libraries: dict[str, str] = {}
    uuid: str = ""
    """Which one of several equal devices; not part of the key."""
    facts: dict[str, int] = {}
    """``SM_COUNT``, ``L2_BYTES``, ``L3_BYTES``, ``CORES``: what launch plans and cache flushes need."""

    @property
    def key(self) -> str:
        """Identity for comparing numbers: everything but the individual device."""
        return digest(self.model_dump(mode="json", exclude={"uuid"}))


class Calibration(Record):
    """What was measured of a device itself, by ``doctor --calibrate``."""

    target: str
    noise_floor: float
    """Largest difference of identical candidates, as a share, that the interval of an A/A comparison left uncovered."""
    comparisons: int
    """Comparisons of identical candidates that were made."""
    different: int = 0
    """How many of them were called faster or slower."""
    copy_bytes_per_s: dict[str, float]
    """Copy rate (read plus written) by total bytes, as decimal text."""
    flops_per_s: float
    """Measured single-precision multiply-add peak (two operations each) of one core, or of the whole GPU."""
    at: float
    """When, in Unix seconds."""
