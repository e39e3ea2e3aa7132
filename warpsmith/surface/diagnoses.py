"""Diagnoses of a profile with the ceilings that were measured of the device."""

from __future__ import annotations

from collections.abc import Mapping

from warpsmith.analyse.diagnose import diagnose
from warpsmith.model.profile import Diagnosis, Profile
from warpsmith.model.target import Target


def diagnoses(
    profile: Profile, target: Target, measured: Mapping[str, float], trust: Mapping[str, float]
) -> tuple[Diagnosis, ...]:
    """One per kernel that has metrics, the one that takes most of the time first.

    ``measured`` and ``trust`` are diagnose's. Neither has a default: with another trust the same profile may name
    another next edit, and whoever shows one has to show the same as all others.
    """
    kernels = [kernel for kernel in profile.kernels if kernel.metrics]
    kernels.sort(key=lambda k: -k.metrics.get("duration", 0.0) * k.launches)
    return tuple(diagnose(kernel, target, measured, trust) for kernel in kernels)
