"""What the geometry of a kernel follows from: extents as expressions over scalars and tunables, found by trying. Pure.

An expression holds for every captured launch, or it is not used; then the axes GRID_X to BLOCK_Z carry the original's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

from warpsmith.model.captured import GEOMETRY
from warpsmith.model.launch import Three

Words = Mapping[str, int]
"""Whole numbers of one launch, by the name that a launch plan calls them."""
Extents = tuple[str | int, str | int, str | int]


def blocks(seen: Sequence[Three], tunables: Mapping[str, int]) -> Extents:
    """The block: a tunable where every launch has its value there, the number where all have the same."""
    found: list[str | int] = []
    used: set[int] = set()
    for axis in range(3):
        values = {block[axis] for block in seen}
        value = next(iter(values))
        same = [n for n, v in tunables.items() if values == {v} and v > 1]
        # of two tunables of one value each extent takes the next
        choice = next((n for i, n in enumerate(same) if i not in used), same[0] if same else None)
        if choice is not None and len(same) > 1:
            used.add(same.index(choice))
        found.append(choice or (value if len(values) == 1 else GEOMETRY[3 + axis]))
    return found[0], found[1], found[2]


def grids(seen: Sequence[tuple[Three, Three, Words]], block: Extents, tunables: Mapping[str, int]) -> Extents:
    """The grid: a scalar divided by an extent of the block, or by a tunable, rounded up; else a number or an axis.

    With launches of one shape only, nothing tells a rule from chance, unless the quotient is exact to a block.
    """
    found: list[str | int] = []
    for axis in range(3):
        values = [grid[axis] for grid, _, _ in seen]
        rule = _rule(axis, values, seen, block, tunables) if set(values) != {1} else None
        found.append(rule or (values[0] if set(values) == {1} else GEOMETRY[axis]))
    return found[0], found[1], found[2]


def _rule(
    axis: int,
    values: Sequence[int],
    seen: Sequence[tuple[Three, Three, Words]],
    block: Extents,
    tunables: Mapping[str, int],
) -> str | None:
    words = [name for name in seen[0][2] if all(name in w for _, _, w in seen)]
    divisors: list[tuple[str, list[int]]] = []
    for extent in (block[axis], *(b for i, b in enumerate(block) if i != axis)):
        known = [b[block.index(extent)] for _, b, _ in seen]
        if max(known) > 1:
            divisors.append((str(extent), known))
    divisors += [(name, [value] * len(seen)) for name, value in tunables.items()]
    divisors.append(("1", [1] * len(seen)))
    for (text, by), word in product(divisors, words):
        numbers = [w[word] for _, _, w in seen]
        if min(numbers) > 0 and all(-(-n // d) == v for n, d, v in zip(numbers, by, values, strict=True)):
            return word if text == "1" else f"({word} + {text} - 1) // {text}"
    return None


def choices(value: int) -> tuple[int, ...]:
    """What a tunable of that value is tried at: powers of two around it."""
    if value < 2:
        return (value,)
    found = {v for v in (value // 4, value // 2, value, value * 2, value * 4) if 1 <= v <= 1024}
    return tuple(sorted(found))
