"""The gate on the installed path: what a release wins on the bench it must win where it is called.

Whoever measures hands in what was found, as records; :func:`against` says what speaks against the export. How to time
is the caller's: a clock times one side, and :func:`measure` asks two of them in pairs, in an order that is drawn anew.
What was found is kept beside the package, and ``export`` and ``install`` read it.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from warpsmith.analyse.compare import Effect, effect
from warpsmith.errors import BadInput
from warpsmith.model.base import Record, digest
from warpsmith.ship.refusals import Refusal
from warpsmith.store.files import write_atomic

MOST_LOST = 0.03
"""Share of the bench's speed-up that may be lost on the way."""
PAIRS = 20
How = Literal["cold", "stream", "wall"]
Clock = Callable[[], float]
"""Times one side once: seconds per call, from the call to its final outputs."""


class Through(Record):
    """One workload, called through the framework's own name with the package installed, beside the original."""

    release: str
    target: str
    """The framework's function, as module:function."""
    workload: str
    how: How
    """cold: device time between events, caches evicted before each call, as on the bench; stream: a long row of calls
    and one wait at its end, which shows the host's part; wall: a processor's calls by the clock on the wall.
    """
    beside: Literal["original", "direct"] = "original"
    """What it is timed in turns with: the original, or the kernel's own binding."""
    wanted: Annotated[float, Field(gt=0)]
    """The speed-up that has to arrive."""
    wanted_of: Literal["bench", "direct"]
    """Whose that is: the release's on its bench, or that of the kernel's own binding; 1 beside that binding itself."""
    pairs: Annotated[tuple[tuple[float, float], ...], Field(min_length=3)]
    """Seconds per call: of what it is beside, and of the installed path."""
    calls: Annotated[int, Field(ge=1)]
    """Calls of the installed path that were timed."""
    hits: int
    """How many of them reached the kernel."""

    @property
    def found(self) -> Effect:
        """The logarithm of installed over original, with its interval."""
        return effect([math.log(after / before) for before, after in self.pairs])


class InstalledPath(Record):
    """What was found of one exported package, and of which state of it."""

    format: Literal[1] = 1
    export: str
    """Identity of the export (:func:`identity`): what was measured is nothing about another."""
    device: str
    at: str
    measured: tuple[Through, ...]


def measure(
    original: Clock, installed: Clock, pairs: int = PAIRS, seed: int | None = None
) -> tuple[tuple[float, float], ...]:
    """Time both in pairs; who is first in each is drawn. Seconds per call: the original's, and the installed path's."""
    draw = random.Random(seed)
    found = []
    for _ in range(pairs):
        if draw.random() < 0.5:
            before = original()
            found.append((before, installed()))
        else:
            after = installed()
            found.append((original(), after))
    return tuple(found)


def against(measured: Sequence[Through], most_lost: float = MOST_LOST) -> list[Refusal]:
    """Every reason against an export; none where each win arrives, shown to within ``most_lost``."""
    if not measured:
        remedy = "Measure it: see benchmarks/installed_path.py."
        return [Refusal(reason="installed_path", message="nothing was measured where it is called.", remedy=remedy)]
    return [refusal for one in measured for refusal in _against(one, most_lost)]


def _against(one: Through, most_lost: float) -> list[Refusal]:
    where = f"{one.target}, {one.workload} ({one.how})"
    if one.hits < one.calls:
        message = f"{where}: {one.hits} of {one.calls} calls reached the kernel of {one.release}."
        remedy = "See Dispatch.covers(...) for why, and mend the adapter or the guard table."
        return [Refusal(reason="installed_path", message=message, remedy=remedy)]
    found = one.found
    low, high = found.interval
    least = one.wanted * (1 - most_lost)
    if low >= least or (one.how == "wall" and high >= least):  # others share a processor: what is unclear is said
        return []
    said = f"{found.speedup:.3f}x [{low:.3f}, {high:.3f}] where it is called, {one.wanted:.3f}x {_OF[one.wanted_of]}"
    if one.beside == "direct":
        said = f"{found.speedup:.3f}x [{low:.3f}, {high:.3f}] as fast as the kernel's own binding"
    lost = "lost on the way" if high < least else f"not shown to be within {most_lost:.0%}"
    remedy = {
        True: "Make the call cheaper: a simpler adapter, no hook, outputs given instead of allocated.",
        False: "Measure again with more pairs, or on a quieter machine.",
    }[high < least]
    return [Refusal(reason="installed_path", message=f"{where}: {lost}: {said}.", remedy=remedy)]


_OF = {"bench": "on the bench", "direct": "by its own binding"}


def place(package: Path) -> Path:
    """Where it is kept: beside the package, which stays as it was exported."""
    return package.parent / f"{package.name}.installed_path.json"


def gate(
    measured: Sequence[Through] | str, package: Path, export: str
) -> tuple[list[dict[str, Any]] | str, list[Refusal]]:
    """What an export is stamped with, and what speaks against putting it in its place.

    ``measured`` is what was found of it, or why nothing was: then what is kept beside ``package`` counts, if that is of
    an export with this identity. Raises BadInput where that cannot be read.
    """
    if isinstance(measured, str):
        known, refused = kept(package, export)
        return (stamped(known.measured) if known else measured), refused
    return stamped(measured), against(measured)


def stamped(measured: Sequence[Through]) -> list[dict[str, Any]]:
    """What was found, as ``export.json`` says it."""
    rows = []
    for one in measured:
        found = one.found
        low, high = found.interval
        arrives = low >= one.wanted * (1 - MOST_LOST)
        named = {"release", "target", "workload", "how", "beside", "wanted", "wanted_of"}
        said = one.model_dump(mode="json", include=named)
        rows.append({**said, "speedup": found.speedup, "low": low, "high": high, "shown": arrives})
    return rows


def keep(package: Path, device: str, at: str, measured: Sequence[Through]) -> list[Refusal]:
    """Keep what was found of the exported package, and say what speaks against it. Raises BadInput."""
    said = InstalledPath(export=_export(package), device=device, at=at, measured=tuple(measured))
    write_atomic(place(package), said.model_dump_json(indent=1) + "\n")
    return against(measured)


def kept(package: Path, export: str = "") -> tuple[InstalledPath | None, list[Refusal]]:
    """What was found of this very export, and what speaks against it; None and nothing where nobody measured it.

    ``export`` is the identity of one that does not lie there yet.
    """
    try:
        said = InstalledPath.model_validate_json(place(package).read_bytes())
    except FileNotFoundError:
        return None, []
    except (OSError, ValidationError):
        raise BadInput(
            f"{place(package)} cannot be read.", "Remove it, and measure the installed path again."
        ) from None
    return (said, against(said.measured)) if said.export == (export or _export(package)) else (None, [])


def identity(document: Mapping[str, Any]) -> str:
    """Of an export, by its ``export.json`` without what was timed: the same releases exported again are the same."""
    return digest({name: value for name, value in document.items() if name not in ("added_cost", "installed_path")})


def _export(package: Path) -> str:
    path = package / "export.json"
    try:
        return identity(json.loads(path.read_bytes()))
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}.", "Export it anew.") from None
    except ValueError:
        raise BadInput(f"{path} cannot be read.", "Export it anew.") from None
