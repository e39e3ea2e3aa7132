"""Where the time of a profile goes, as shares by name: kernels of a program, or what one kernel waits for. Pure."""

from __future__ import annotations

from warpsmith.model.metrics import METRICS
from warpsmith.model.profile import Profile


def hotspots(profile: Profile) -> dict[str, float]:
    """Shares of the device time by kernel, copy and fill; of a single kernel, its stalls. The largest first; nothing
    where the profile has no times.
    """
    found: dict[str, float] = {}
    if profile.timeline is not None:
        for one in profile.timeline.activities:
            if one.kind != "call":
                found[one.name] = found.get(one.name, 0.0) + one.seconds
    elif len(profile.kernels) > 1:
        for kernel in profile.kernels:
            seconds = kernel.metrics.get("duration", 0.0) * kernel.launches
            found[kernel.kernel] = found.get(kernel.kernel, 0.0) + seconds
    elif profile.kernels:
        stalls = {k: v for k, v in profile.kernels[0].metrics.items() if k.startswith("stall_") and k in METRICS}
        return _sorted({METRICS[key].label: share for key, share in stalls.items() if share > 0})
    total = sum(found.values())
    return _sorted({name: seconds / total for name, seconds in found.items()}) if total > 0 else {}


def _sorted(shares: dict[str, float]) -> dict[str, float]:
    return dict(sorted(shares.items(), key=lambda one: -one[1]))
