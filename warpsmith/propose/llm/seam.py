"""Joining the parts of an answer that was cut: pure, and exact where the model obeyed.

A model that is asked to go on may all the same repeat the end of what it wrote, or open the code fence anew.
"""

from __future__ import annotations

import re

OVERLAP = 16
"""Shortest repetition that is taken for one: shorter ones occur in honest code."""
LONGEST = 4000
"""Longest repetition that is looked for."""
_FENCE = re.compile(r"^(```+|~~~+)[^\n`]*$", re.MULTILINE)
_OPENING = re.compile(r"\s*(```+|~~~+)[^\n`]+\n")
"""With a word behind it: without one it may be the fence that closes."""


def join(before: str, after: str) -> str:
    """``before`` and ``after`` as one text, without what ``after`` repeats."""
    opening = _OPENING.match(after)
    inside = len(_FENCE.findall(before)) % 2 == 1
    if inside and opening is not None:
        after = after[opening.end() :]
    return before + after[_repeated(before, after) :]


def _repeated(before: str, after: str) -> int:
    """How many characters at the beginning of ``after`` are the end of ``before``, said once more.

    Code repeats itself honestly: what has a period, or was said before, or goes on to be said again, stays.
    """
    longest = min(len(before), len(after), LONGEST)
    fits = [n for n in range(OVERLAP, longest + 1) if before.endswith(after[:n])]
    if not fits or (len(fits) > 1 and 2 * fits[-2] > fits[-1]):
        return 0
    again = after[: fits[-1]]
    honest = before.find(again) < len(before) - len(again) or after.startswith(again[:OVERLAP], len(again))
    return 0 if honest else len(again)
