"""The roofline: how near each workload is to what the device can do.

Attainable rate = min(peak arithmetic, intensity x bandwidth) (Williams, Waterman, Patterson 2009). The bandwidth is the
copy rate measured beside the very same calls; without a measured arithmetic peak only the memory roof is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable

from warpsmith.model.base import Record


class RoofPoint(Record):
    """One workload under the roof."""

    workload: str
    intensity: float
    """Floating-point operations per byte of compulsory traffic."""
    flops_per_s: float
    attainable_flops_per_s: float
    share: float
    """Reached over attainable; above 1 where caches or better access beat the plain copy."""


class Roof(Record):
    """The roof of one device with the points under it."""

    bytes_per_s: float
    """Highest copy rate measured beside the workloads."""
    flops_per_s: float | None
    """Measured arithmetic peak of the device, where it was calibrated."""
    points: tuple[RoofPoint, ...]


Measured = tuple[str, float | None, int | None, float, float | None]
"""Workload, floating-point operations, bytes, seconds, copy rate in bytes per second."""


def roof(workloads: Iterable[Measured], peak: float | None) -> Roof | None:
    """The roof over some workloads; None where none has work, traffic and a copy rate."""
    points, rates = [], []
    for name, flops, traffic, seconds, copy in workloads:
        if not flops or not traffic or not copy:
            continue
        intensity = flops / traffic
        reached = flops / seconds
        attainable = min(intensity * copy, peak) if peak else intensity * copy
        points.append(
            RoofPoint(
                workload=name,
                intensity=intensity,
                flops_per_s=reached,
                attainable_flops_per_s=attainable,
                share=reached / attainable,
            )
        )
        rates.append(copy)
    return Roof(bytes_per_s=max(rates), flops_per_s=peak, points=tuple(points)) if points else None
