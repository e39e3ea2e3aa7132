"""What a prompt remembers: past campaigns frozen into the cached part, this one's growing beside the source.

Both are views of ledgers. Beyond a threshold a cheap model compacts the older ones into Resolved / Pending / Avoid;
what it wrote is kept in the ledger with what it stands for, so that the same history always gives the same prompt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from threading import Lock

from warpsmith.knowledge.memory import Attempt
from warpsmith.knowledge.recall import attempts_of
from warpsmith.model.base import digest, short
from warpsmith.model.step import Compacted
from warpsmith.propose.llm.tokens import estimate
from warpsmith.store.history import History

SECTIONS = ("Resolved", "Pending", "Avoid")
RECENT = 4
"""The newest attempts of a run always stand in full."""
MOST = 80
"""Attempts of past campaigns that are looked at, the most telling first."""
LONGEST = 1600
"""Characters of a compacted memory."""
PATIENCE = 2
"""Answers that were no summary, after which the model is not asked for another in this process."""
Compact = Callable[[str, str], str]
"""Asks the cheap model: the summary so far, and the attempts that come to it; what it answers."""


class Memory:
    """The memory of one campaign in one process."""

    def __init__(self, threshold: int) -> None:
        self.threshold = threshold
        self._made: dict[str, str] = {}
        self._vain = 0
        self._lock = Lock()

    def past(
        self, attempts: Sequence[Attempt], h: History, compact: Compact
    ) -> tuple[tuple[str, ...], list[Compacted]]:
        """Lines on past campaigns, the most telling first, and what was compacted for them now."""
        kept = next((c for r in h.rounds for c in r.compacted if c.of == "past"), None)
        if kept is not None:
            return (kept.text,), []
        attempts = sorted(attempts, key=_telling)[:MOST]
        lines = tuple(line(a) for a in attempts)
        if sum(map(estimate, lines)) <= self.threshold:
            return lines, []
        made = self._compacted("past", "", attempts, compact)
        return ((made.text,), [made]) if made else (lines, [])

    def run(self, h: History, compact: Compact) -> tuple[tuple[str, ...], list[Compacted]]:
        """Lines on this campaign: the compacted part, then attempts, oldest first, and what was compacted now."""
        attempts = [a for a in attempts_of(h) if a.origin != "entry"]
        kept = next((c for r in reversed(h.rounds) for c in reversed(r.compacted) if c.of == "run"), None)
        covered = set(kept.covers) if kept else set()
        open_ = [a for a in attempts if a.candidate not in covered]
        made: list[Compacted] = []
        if sum(estimate(line(a)) for a in open_) > self.threshold and len(open_) > RECENT:
            older = open_[:-RECENT]
            new = self._compacted("run", kept.text if kept else "", older, compact)
            if new:
                kept = new.model_copy(update={"covers": (*(kept.covers if kept else ()), *new.covers)})
                made, open_ = [kept], open_[-RECENT:]
        return (*((kept.text,) if kept else ()), *(line(a) for a in open_)), made

    def _compacted(self, of: str, before: str, attempts: Sequence[Attempt], compact: Compact) -> Compacted | None:
        """None where the model's answer is no such summary: then the attempts stand in full, and are cut to fit."""
        key = digest([of, before, [a.candidate for a in attempts]])
        with self._lock:
            if key not in self._made and self._vain < PATIENCE:
                self._made[key] = _summary(compact(before, "\n".join(line(a) for a in attempts)))
                self._vain += not self._made[key]
            text = self._made.get(key, "")
        covers = tuple(dict.fromkeys(a.candidate for a in attempts))
        return Compacted(of="past" if of == "past" else "run", covers=covers, text=text) if text else None


def line(a: Attempt) -> str:
    """One attempt in a line: what became of it, what it was, and why."""
    gain = f" {a.speedup:.3f}x over its rival" if a.speedup else ""
    base = f", {a.over_baseline:.2f}x over the baseline" if a.over_baseline else ""
    memo = " ".join((a.memo or "no memo").split())
    why = " ".join(a.why.removeprefix("rejected: ").removeprefix("kept: ").split())
    return f"- {short(a.candidate)} {a.outcome.value}{gain}{base}: {memo[:220]} ({why[:160]})"


def _telling(a: Attempt) -> tuple[int, float, str, str]:
    """What helped first, the largest gains before the rest; then what failed, in a fixed order."""
    return (0 if a.outcome.helped else 1, -(a.over_baseline or 0.0), a.campaign, a.candidate)


def _summary(text: str) -> str:
    """The three sections of an answer; empty where one is missing."""
    found = {}
    for name in SECTIONS:
        others = "|".join(SECTIONS)
        m = re.search(
            rf"^\W*{name}\W*$\n?(.*?)(?=^\W*(?:{others})\W*$|\Z)", text, re.MULTILINE | re.DOTALL | re.IGNORECASE
        )
        m = m or re.search(
            rf"^\W*{name}\W*:(.*?)(?=^\W*(?:{others})\W*:|\Z)", text, re.MULTILINE | re.DOTALL | re.IGNORECASE
        )
        if m is None:
            return ""
        found[name] = m[1].strip() or "-"
    return "\n".join(f"{name}:\n{said}" for name, said in found.items())[:LONGEST]
