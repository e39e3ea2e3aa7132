"""What a kernel does with its whole-number parameters, and how large they must then have been. Pure.

Where a launch was seen but not its parameters, its geometry and the counters' work per thread still tell: what bounds
the threads that are active is as large as they are many, and what bounds a thread's loop as the steps that it makes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from warpsmith.app.capturetypes import scalar
from warpsmith.model.observed import Configuration

Role = Literal["threads", "stride", "work", "other"]
"""``threads``: it bounds the threads that have something to do. ``stride``: a loop over all of it, by the whole grid.
``work``: the steps of a loop of each thread.
"""
_INDEX = re.compile(r"\b(?:const\s+)?\w[\w:]*\s+(\w+)\s*=\s*([^;{}]*\bthreadIdx\s*\.\s*([xyz])[^;{}]*);")
_FOR = re.compile(r"\bfor\s*\(([^;{}]*);([^;{}]*);([^{};]*?)\)", re.S)


@dataclass(frozen=True)
class Sized:
    """Values that fit one configuration."""

    values: dict[str, int]
    elements: int
    """That a buffer needs, at least, so that every thread finds its own."""


def roles(text: str, names: Sequence[str], types: Sequence[str]) -> dict[str, tuple[Role, str]]:
    """By parameter, what it is for and, for ``threads``, the dimension: ``x``, ``y``, ``z``; ``stride`` has none."""
    dimensions = {m[1]: m[3] for m in _INDEX.finditer(text)}
    whole = [n for n, t in zip(names, types, strict=True) if (dtype := scalar(t)) is not None and not dtype.is_float]
    found: dict[str, tuple[Role, str]] = {}
    outside = _FOR.sub(" ", text)
    for name in whole:
        word = rf"\b{re.escape(name)}\b"
        loop = next((m for m in _FOR.finditer(text) if re.search(word, m[2])), None)
        if loop is not None:
            strides = "gridDim" in loop[3] or ("blockIdx" in loop[1] and "blockDim" in loop[3])
            found[name] = ("stride", "") if strides else ("work", "")
            continue
        bounded = next(
            (
                d
                for i, d in dimensions.items()
                if re.search(rf"\b{re.escape(i)}\b\s*(?:<|>=)\s*[^;&|)]*{word}", outside)
            ),
            None,
        )
        found[name] = ("threads", bounded) if bounded else ("other", "")
    return found


def sized(text: str, names: Sequence[str], types: Sequence[str], one: Configuration, work: int) -> Sized:
    """Values for one configuration whose threads each make ``work`` steps."""
    extents = {d: g * b for d, g, b in zip("xyz", one.grid, one.block, strict=True)}
    threads = prod(extents.values())
    values = {}
    for name, (role, dimension) in roles(text, names, types).items():
        if role == "threads":
            values[name] = extents[dimension]
        elif role == "stride":
            values[name] = threads * work
        elif role == "work":
            values[name] = work
        else:
            values[name] = 1
    return Sized(values, threads * max(1, work))
