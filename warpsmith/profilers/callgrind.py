"""Callgrind's output file: instructions and simulated cache misses by line of the source. Pure; starts nothing.

The format is text (Valgrind manual, "Callgrind Format Specification"): names are said once and numbered, positions are
relative, and the line after ``calls=`` is the cost of somebody else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from warpsmith.errors import BadReport
from warpsmith.model.profile import KernelProfile, SourceLine
from warpsmith.profilers.places import placed

HOTTEST_LINES = 12
MOST_BYTES = 64 << 20
KEYS = {
    "cpu_instructions": ("Ir",),
    "cpu_reads": ("Dr",),
    "cpu_writes": ("Dw",),
    "cpu_l1_misses": ("D1mr", "D1mw"),
    "cpu_ll_misses": ("DLmr", "DLmw"),
}
"""Metric to the events that it is the sum of."""
_NAME = re.compile(r"\((\d+)\)(?: (.*))?$")
_AGAIN = "Profile again; counts are made by 'warpsmith profile --tool cpu'."
Place = tuple[str, int]


@dataclass
class Counts:
    """What one run cost, by place; only what the code there did itself."""

    events: tuple[str, ...] = ()
    lines: dict[Place, list[int]] = field(default_factory=dict)
    functions: dict[str, list[int]] = field(default_factory=dict)

    def total(self, *names: str) -> int:
        """The sum of some events over all places."""
        at = [self.events.index(n) for n in names if n in self.events]
        return sum(cost[i] for cost in self.lines.values() for i in at)


def parse(text: str, objects: Iterable[str] = ()) -> Counts:
    """The counts in ``text``, of these binaries only where some are named. Raises BadReport."""
    counts, wanted = Counts(), set(objects)
    names: dict[str, dict[str, str]] = {"ob": {}, "fl": {}, "fn": {}}
    now = {"ob": "", "fl": "", "fn": ""}
    lines_at, line, called = 1, 0, False
    try:
        for row in text.splitlines():
            key, equals, rest = row.partition("=")
            if row.startswith("events:"):
                counts.events = tuple(row.split()[1:])
            elif row.startswith("positions:"):
                lines_at = len(row.split()) - 1
            elif equals and key in ("ob", "fl", "fi", "fe", "fn", "cob", "cfi", "cfl", "cfn"):
                kind = {"fi": "fl", "fe": "fl"}.get(key.removeprefix("c"), key.removeprefix("c"))
                said = _name(names[kind], rest)
                if not key.startswith("c"):
                    now[kind] = said
            elif equals and key == "calls":
                called = True
            elif row and row[0] in "+-*0123456789":
                parts = row.split()
                line = _position(parts[lines_at - 1], line)
                if not called and (not wanted or now["ob"] in wanted):
                    cost = [int(n) for n in parts[lines_at:]]
                    if not counts.events or min(cost, default=0) < 0:
                        raise ValueError(row)
                    for table, at in ((counts.lines, (now["fl"], line)), (counts.functions, now["fn"])):
                        _add(table, at, cost, len(counts.events))  # type: ignore[arg-type]
                called = False
    except (ValueError, IndexError, KeyError) as error:
        raise BadReport(f"callgrind's output cannot be read: {error!r}.", _AGAIN) from None
    if not counts.events:
        raise BadReport("callgrind's output cannot be read: it names no events.", _AGAIN)
    return counts


def _name(known: dict[str, str], said: str) -> str:
    found = _NAME.match(said)
    if found is None:
        return said
    number, name = found.groups()
    if name is not None:
        known[number] = name
    return known[number]


def _position(said: str, before: int) -> int:
    if said == "*":
        return before
    return before + int(said) if said[0] in "+-" else int(said, 0)


def _add(table: dict[object, list[int]], at: object, cost: list[int], events: int) -> None:
    found = table.setdefault(at, [0] * events)
    for i, number in enumerate(cost[:events]):
        found[i] += number


def profile(counts: Counts, entry: str, sources: Mapping[str, str]) -> KernelProfile:
    """What a candidate cost. ``sources`` are the texts of its files by name. Raises BadReport where it cost nothing."""
    instructions = counts.total("Ir")
    if instructions == 0:
        raise BadReport(f"callgrind saw nothing of {entry!r}: it was never called.", _AGAIN)
    at = counts.events.index("Ir")
    known = ((place, cost) for place, cost in counts.lines.items() if place[1] > 0)
    hottest = sorted(known, key=lambda item: (-item[1][at], item[0]))[:HOTTEST_LINES]
    present = {key: of for key, of in KEYS.items() if all(event in counts.events for event in of)}
    return KernelProfile(
        kernel=entry,
        grid=(1, 1, 1),
        block=(1, 1, 1),
        metrics={key: float(counts.total(*of)) for key, of in present.items()},
        missing=tuple(key for key in KEYS if key not in present),
        lines=tuple(_line(place, cost[at] / instructions, sources) for place, cost in hottest if cost[at]),
    )


def _line(place: Place, share: float, sources: Mapping[str, str]) -> SourceLine:
    file, text = placed(*place, sources)
    return SourceLine(file=file, line=place[1], text=text, samples=min(1.0, share))
