"""Launches as the examples print them, and as they were seen, in the same words: what show-observe compares."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from warpsmith.app.buckets import Execution

Seen = tuple[str, tuple[int, ...], tuple[int, ...], tuple[float, ...]]
"""Kernel, grid, block and scalars of a launch."""
Shape = tuple[str, tuple[int, ...], tuple[int, ...]]


def printed(text: str) -> Counter[Seen]:
    """What an application says: ``launch NAME grid X Y Z block X Y Z [runs N] scalars A B``."""
    found: Counter[Seen] = Counter()
    for line in text.splitlines():
        words = line.split()
        if words[:1] != ["launch"]:
            continue
        if (words[2], words[6]) != ("grid", "block"):
            raise ValueError(line)
        runs = int(words[words.index("runs") + 1]) if "runs" in words else 1
        numbers = [float(w) for w in words[words.index("scalars") + 1 :]]
        # what was a float is printed with nine digits
        exact = tuple(struct.unpack("<f", struct.pack("<f", n))[0] for n in numbers)
        found[words[1], tuple(map(int, words[3:6])), tuple(map(int, words[7:10])), exact] += runs
    return found


def bare(symbol: str) -> str:
    """A kernel's name without namespaces and template arguments, as the applications print it."""
    from warpsmith.app.symbols import parts

    return parts(symbol).name.partition("<")[0].rpartition("::")[2]


def scalars(one: Execution) -> tuple[float, ...]:
    """As the applications print them: structs by their members, which are integers."""
    from warpsmith.app.symbols import decode, is_pointer, parts, scalar_type

    if one.launch is None:
        return ()
    values = one.launch.values
    types = parts(one.symbol).types or tuple("" if len(v) == 4 else "*" for v in values)
    found: list[float] = []
    for type_, content in zip(types, values, strict=True):
        if is_pointer(type_):
            continue
        if scalar_type(type_) or not type_:
            found.append(float(decode(scalar_type(type_), content)))
        else:
            found += struct.unpack(f"<{len(content) // 4}i", content)
    return tuple(struct.unpack("<f", struct.pack("<f", n))[0] for n in found)


def seen(ran: Iterable[Execution]) -> Counter[Seen]:
    """What the library saw, in the same words."""
    return Counter((bare(e.symbol), e.grid, e.block, scalars(e)) for e in ran)


def shapes(launches: Counter[Any]) -> Counter[Shape]:
    """The same without scalars."""
    found: Counter[Shape] = Counter()
    for (name, grid, block, *_), count in launches.items():
        found[name, grid, block] += count
    return found


def differ(said: Counter[Any], found: Counter[Any]) -> str:
    """Both sides of what differs, shortened; empty where nothing does."""
    lacking, more = said - found, found - said
    if not lacking and not more:
        return ""
    return f"said and not seen: {list(lacking.items())[:3]}; seen and not said: {list(more.items())[:3]}"
