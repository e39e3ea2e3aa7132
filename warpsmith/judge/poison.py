"""What outputs hold before a call: a secret, drawn anew for every tensor of every call, that no right answer equals.

A fixed pattern is an answer that a candidate may count on: where it happens to be right, nothing need be written.
"""

from __future__ import annotations

import random

from warpsmith.model.task import Dtype

_NAN = {Dtype.f64: 0x7FF8 << 48, Dtype.f32: 0x7FC0 << 16, Dtype.f16: 0x7E00, Dtype.bf16: 0x7FC0}
"""Exponent of ones and the quiet bit: whatever the bits below are, it is NaN."""
_secret = random.SystemRandom()


def poison(dtype: Dtype) -> int:
    """The bits of one element, as an unsigned integer of the element's width: NaN with a random sign and payload for
    floats, any value for integers.
    """
    width = 8 * dtype.itemsize
    drawn = _secret.getrandbits(width)
    nan = _NAN.get(dtype)
    if nan is None:
        return drawn
    payload = (nan & -nan) - 1
    return nan | drawn & (payload | 1 << (width - 1))


def signed(bits: int, itemsize: int) -> int:
    """The same bits as a signed integer of ``itemsize`` bytes, for libraries that know no unsigned words."""
    return bits - (1 << 8 * itemsize) if bits >> (8 * itemsize - 1) else bits
