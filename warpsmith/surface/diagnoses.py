"""Diagnoses of a profile with the ceilings that were measured of the device."""

from __future__ import annotations

from collections.abc import Mapping

from warpsmith.analyse.diagnose import diagnose
from warpsmith.model.profile import Diagnosis, Profile
from warpsmith.model.target import Calibration, Target


def ceilings(calibration: Calibration) -> dict[str, float]:
    """What was measured of the device, by the names of analyse.ceilings."""
    found = {"fp32": calibration.flops_per_s}
    if calibration.copy_bytes_per_s:
        found["dram"] = max(calibration.copy_bytes_per_s.values())
    return found


def diagnoses(
    profile: Profile, target: Target, measured: Mapping[str, float], trust: Mapping[str, float] | None = None
) -> tuple[Diagnosis, ...]:
    """One per kernel that has metrics, the one that takes most of the time first; ``trust`` as diagnose takes it."""
    kernels = [kernel for kernel in profile.kernels if kernel.metrics]
    kernels.sort(key=lambda k: -k.metrics.get("duration", 0.0) * k.launches)
    return tuple(diagnose(kernel, target, measured, trust) for kernel in kernels)
