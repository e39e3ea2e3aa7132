"""How numbers are written for people: few digits, the unit that fits, never an exponent where a prefix will do."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from warpsmith.surface.ratio import Ratio


def significant(value: float, digits: int = 3) -> str:
    """A plain decimal with so many significant digits; scientific only where it would be unreadable."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if not -5 < exponent < 7:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{max(0, digits - 1 - exponent)}f}"


def times(value: float) -> str:
    """A speed-up: three decimals below ten, four significant digits above."""
    return f"{value:.3f}" if value < 10 else significant(value, 4)


def percent(share: float, digits: int = 2) -> str:
    """A share in per cent, with so many significant digits but never fewer than the units."""
    value = 100 * share
    return f"{value:.0f} %" if 10**digits <= abs(value) < 1e6 else f"{significant(value, digits)} %"


def error(value: float) -> str:
    """A relative error."""
    return f"{value:.1e}" if value else "0"


_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def duration(seconds: float, beside: float | None = None) -> str:
    """The time of a call with four significant digits, in the unit that suits it and the one shown beside it."""
    smallest = min(seconds, beside) if beside else seconds
    factor, unit = next((u for u in _UNITS if smallest >= u[0]), _UNITS[-1])
    return f"{significant(seconds / factor, 4)} {unit}"


def seconds_text(seconds: float) -> str:
    """A duration for a terminal: in us, ms or s."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.1f} us"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.1f} s"


def elapsed(seconds: float) -> str:
    """A longer time as people say it."""
    if seconds < 120:
        return f"{significant(seconds, 3)} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def giga(per_second: float) -> str:
    """A rate in units of 10^9 per second."""
    return significant(per_second / 1e9, 4) if per_second < 1e12 else f"{per_second / 1e9:.0f}"


_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def si(value: float) -> str:
    """A number with its SI prefix, for axes and roofs."""
    factor, prefix = next((p for p in _PREFIXES if value >= p[0] * 0.9999), (1.0, ""))
    return f"{value / factor:.3g} {prefix}".rstrip()


def size(count: int) -> str:
    """Bytes in binary units."""
    for factor, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= factor:
            return f"{significant(count / factor)} {unit}"
    return f"{count} B"


def parameters(values: dict[str, int]) -> str:
    """Parameters in one line."""
    return " ".join(f"{name}={value}" for name, value in values.items())


def power_text(ratio: Ratio | None) -> str:
    """``1.2 %``: the smallest gain that would have been found 9 times in 10."""
    return f"{ratio.detectable:.2%}" if ratio is not None and ratio.detectable is not None else "-"


def ratio_text(ratio: Ratio | None) -> str:
    """``1.84x [1.81, 1.87]``; the interval is left out where it is not known."""
    if ratio is None:
        return "-"
    if ratio.low is None or ratio.high is None:
        return f"{ratio.speedup:.3f}x"
    return f"{ratio.speedup:.3f}x [{ratio.low:.3f}, {ratio.high:.3f}]"


class Set(Protocol):
    """Whatever has parameters and an environment."""

    @property
    def parameters(self) -> dict[str, int]:
        """By name."""

    @property
    def environment(self) -> dict[str, str]:
        """By name."""


def settings(of: Set) -> str:
    """Parameters and environment in one line."""
    return " ".join(f"{name}={value}" for name, value in {**of.parameters, **of.environment}.items())


def one_line(text: str, most: int = 0) -> str:
    """White space collapsed; cut to ``most`` characters where that is given."""
    line = " ".join(text.split())
    return f"{line[: most - 1].rstrip()}…" if 0 < most < len(line) else line


def cell(text: str, most: int = 160) -> str:
    """Text for one cell of a Markdown table: one line, nothing in it active, cut to ``most`` characters."""
    return re.sub(r"([\\`*_{}\[\]<>|#~&!])", r"\\\1", one_line(text, most))


def coordinate(value: float) -> str:
    """A coordinate to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")
