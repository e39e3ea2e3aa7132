"""Who goes first in the pairs of a measurement."""

from __future__ import annotations

import random


def turns(pairs: int, rng: random.Random) -> list[bool]:
    """For each pair whether the rival goes first: each side equally often, in an order that nobody can know.

    Whoever starts or is called first loses up to 1 % (docs/lab-notes.md).
    """
    said = [bool(i % 2) for i in range(pairs)]
    if len(said) % 2:
        said[0] = rng.random() < 0.5
    rng.shuffle(said)
    return said
