"""How near a kernel is to each ceiling of the device: levels of the memory, pipes, and issue slots.

A profiler gives shares of a rated peak, which no real program reaches; ``reach`` says how much of it one does. Where
the device was measured (``doctor --calibrate``: a copy's bytes per second, fp32 operations per second), the measured
rate is the ceiling, and nearly all of it can be reached (MEASURED_REACH).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Side = Literal["memory", "compute"]


@dataclass(frozen=True)
class Ceiling:
    """One unit that can be full."""

    name: str
    label: str
    side: Side
    share: str
    """Metric: share of the rated peak."""
    reach: float
    """Share of the rated peak that good programs reach."""
    source: str
    """Where ``reach`` is from."""
    rate: str = ""
    """Metric to hold against a measured ceiling of this name."""
    fewer: str = "instructions"
    """Metric that must fall for the time to fall, once the unit is full."""
    turning: float = 0.0
    """How much lower ``reach`` is for each share of the bytes that is written: DRAM loses time turning round."""
    start: float = 0.0
    """Seconds of a kernel in which the unit is not full yet, or no more: what copies of 64 and 256 MiB and 4 GiB (3.37,
    4.03 and 4.28 TB/s on an H200) take beside their rate.
    """


_CORPUS = "the tuned kernels of tests/bottlenecks on an H200"
CEILINGS = (
    Ceiling(
        "dram",
        "DRAM",
        "memory",
        "dram",
        0.954,
        f"{_CORPUS}, starting left out: 95 % where all is read, 87 % where a third is written, 83 % where half is",
        "dram_rate",
        "dram_bytes",
        0.244,
        4e-6,
    ),
    Ceiling("l2", "the L2", "memory", "l2", 0.90, _CORPUS, fewer="l2_bytes"),
    Ceiling("l1", "the L1", "memory", "l1", 0.95, _CORPUS, fewer="shared_wavefronts"),
    Ceiling("shared", "shared memory", "memory", "shared", 0.95, _CORPUS, fewer="shared_wavefronts"),
    Ceiling("fp32", "the fp32 pipe", "compute", "pipe_fma", 0.95, _CORPUS, "fp32_rate"),
    Ceiling("fp64", "the fp64 pipe", "compute", "pipe_fp64", 0.95, _CORPUS, "fp64_rate"),
    Ceiling("fp16", "the fp16 pipe", "compute", "pipe_fp16", 0.95, _CORPUS, "fp16_rate"),
    Ceiling("int", "the integer pipe", "compute", "pipe_alu", 0.95, _CORPUS),
    Ceiling("special", "the special-function pipe", "compute", "pipe_xu", 0.95, _CORPUS),
    Ceiling("tensor", "the tensor pipe", "compute", "pipe_tensor", 0.90, _CORPUS),
    Ceiling("issue", "the issue rate", "compute", "issue_active", 0.95, _CORPUS),
)
MEASURED_REACH = 0.96
"""Share of a measured ceiling that shows under the profiler: a copy of 1 GiB that the judge sees at 4.2 TB/s shows
4.04."""
OPERANDS = ("f16", "bf16", "tf32", "f64", "int8", "fp8")
"""Types of operands of which the tensor pipe has a rate each."""


@dataclass(frozen=True)
class Load:
    """How full a unit is."""

    ceiling: Ceiling
    name: str
    share: float
    """Of the measured ceiling, or of the rated peak: 0..1."""
    load: float
    """Of what can be reached: 1 means that only less work makes it faster."""
    measured: bool


def loads(metrics: Mapping[str, float], measured: Mapping[str, float]) -> tuple[Load, ...]:
    """Every unit that the metrics speak of. ``measured``: bytes or operations per second by the names of CEILINGS, and
    ``tensor_bf16`` and its like for the tensor pipe.
    """
    found = []
    for ceiling in CEILINGS:
        if ceiling.name == "tensor" and (typed := _tensor(ceiling, metrics, measured)):
            found += typed
        elif (one := _load(ceiling, ceiling.name, ceiling.rate, metrics, measured)) is not None:
            found.append(one)
    return tuple(found)


def _load(
    ceiling: Ceiling,
    name: str,
    rate: str,
    metrics: Mapping[str, float],
    measured: Mapping[str, float],
    part: float = 1.0,
) -> Load | None:
    top, reached = measured.get(name, 0.0), metrics.get(rate)
    if top > 0 and reached is not None:
        share = _within(reached / top)
        return Load(ceiling, name, share, _within(share / (MEASURED_REACH * _working(ceiling, metrics))), True)
    rated = metrics.get(ceiling.share)
    if rated is None:
        return None
    busy = metrics.get("sm_busy", 1.0) if ceiling.name == "issue" else 1.0
    share = _within(rated * busy * part)
    return Load(ceiling, name, share, _within(share / (_reach(ceiling, metrics) * _working(ceiling, metrics))), False)


def _reach(ceiling: Ceiling, metrics: Mapping[str, float]) -> float:
    moved, written = metrics.get("dram_bytes", 0.0), metrics.get("dram_write_bytes", 0.0)
    return ceiling.reach - ceiling.turning * (_within(written / moved) if moved > 0 else 0.5)


def _working(ceiling: Ceiling, metrics: Mapping[str, float]) -> float:
    """The share of the time that is left once starting is done: at least a half."""
    duration = metrics.get("duration", 0.0)
    return max(0.5, 1.0 - ceiling.start / duration) if duration > 0 else 1.0


def _tensor(ceiling: Ceiling, metrics: Mapping[str, float], measured: Mapping[str, float]) -> list[Load]:
    """The tensor pipe by the type of its operands, where the profile has that."""
    rates = {t: r for t in OPERANDS if (r := metrics.get(f"tensor_{t}_rate", 0.0)) > 0}
    total = sum(rates.values())
    typed = [
        _load(ceiling, f"tensor_{t}", f"tensor_{t}_rate", metrics, measured, r / total if total else 0.0)
        for t, r in rates.items()
    ]
    return [one for one in typed if one is not None]


def _within(value: float) -> float:
    return min(1.0, max(0.0, value)) if value == value else 0.0


def fullest(found: tuple[Load, ...], relieved: Mapping[str, float] | None = None) -> float:
    """The load of the fullest unit once a share of the load of some (by ceiling) is taken away: the least time that is
    left, as a share of the present one.
    """
    spared = relieved or {}
    return max((one.load * (1.0 - spared.get(one.ceiling.name, 0.0)) for one in found), default=0.0)
