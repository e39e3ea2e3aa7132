"""The vendor's own advice: without repetition, ranked by what it promises, and held against our findings."""

from __future__ import annotations

import re
from collections.abc import Iterable

from warpsmith.analyse.rules import Rule
from warpsmith.model.profile import Advice

_NUMBERS = re.compile(r"\d[\d.,]*")


def distinct(advice: Iterable[Advice]) -> tuple[Advice, ...]:
    """Each piece once (the one that promises most), by promise; what only informs comes last.

    Two messages that differ in their numbers only (the same rule for two lines) are one piece; empty ones are left out.
    """
    best: dict[tuple[str, str], Advice] = {}
    for one in advice:
        key = (one.rule, _NUMBERS.sub("#", one.message).strip())
        if one.message.strip() and (key not in best or _promise(one) > _promise(best[key])):
            best[key] = one
    return tuple(sorted(best.values(), key=lambda a: (a.kind == "INF", -_promise(a), a.rule, a.message)))


def _promise(advice: Advice) -> float:
    return advice.speedup or 0.0


def agreeing(rule: Rule, advice: Iterable[Advice]) -> tuple[Advice, ...]:
    """What the vendor says that is this rule's finding in other words. A remark that only informs does not count."""
    return tuple(one for one in advice if one.kind != "INF" and any(_says(one, wanted) for wanted in rule.agrees))


def _says(advice: Advice, wanted: str) -> bool:
    identity, _, words = wanted.partition(": ")
    return advice.rule == identity and words in advice.message
