"""Answers from a transcript: the same campaign once more without network, key or money.

An ask with the recorded content gets the recorded answer, wherever it comes. One that differs gets, where that is
allowed, the next recorded answer to the same role, and its record says where the prompts part: measured times differ
from run to run, so a prompt that holds them does too.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from threading import Lock

from warpsmith.errors import BadInput
from warpsmith.model.asks import AskRecord
from warpsmith.propose.llm.asking import Ask, Differs
from warpsmith.propose.llm.transcript import Entry, read

SHOWN = 40
"""Lines of a difference that are shown."""


class Replay:
    """The entries of a transcript, each given out once. Threads may share one."""

    def __init__(self, folder: Path, *, strict: bool = False) -> None:
        """``strict``: an ask that was not recorded word for word is an error (regression tests of prompts).

        Raises BadInput where ``folder`` holds no transcript.
        """
        self.folder = folder
        self.strict = strict
        self.differences: list[str] = []
        """Where asks differed from the recorded ones, as people read it."""
        self._left = read(folder)
        self._lock = Lock()
        if not self._left:
            raise BadInput(f"{folder}: there is no transcript.", "Record one with 'optimize TASK --transcript'.")

    def answer(self, ask: Ask) -> tuple[str, AskRecord]:
        """The recorded answer, with its record under the name of what is asked now.

        Raises Differs where nothing recorded fits, and the recorded AskError where there was no answer then either.
        """
        entry, note = self.take(ask)
        said = {"prompt": ask.digest, "blocks": ask.records(), "replayed": True, "note": note}
        record = entry.record.model_copy(update=said)
        if entry.text is None:
            error = entry.error()
            error.asks = (record,)
            raise error
        return entry.text, record

    def take(self, ask: Ask) -> tuple[Entry, str]:
        """The entry that answers ``ask``, and where the two differ (empty where they are equal).

        Raises Differs where nothing recorded fits.
        """
        with self._lock:
            same = next((e for e in self._left if e.ask.digest == ask.digest), None)
            if same is not None:
                self._left.remove(same)
                return same, ""
            following = next((e for e in self._left if e.ask.role == ask.role), None)
            if following is None:
                raise Differs(
                    f"{self.folder}: no recorded answer to a further {ask.role} ask is left.",
                    "Replay with the budget of the recording, or record it anew.",
                )
            told = difference(following, ask)
            self.differences.append(told)
            if self.strict:
                raise Differs(f"{self.folder}: {told}", "Record it anew where the change is meant.")
            self._left.remove(following)
            return following, told


def difference(recorded: Entry, ask: Ask) -> str:
    """The first block in which the two differ, with the lines that do."""
    where = f"the ask differs from {recorded.name}"
    then, now = recorded.ask.blocks, ask.blocks
    for old, new in zip(then, now, strict=False):
        if old.name != new.name:
            return f"{where}: it has the block '{new.name}' where '{old.name}' was recorded."
        if old.text != new.text:
            lines = difflib.unified_diff(
                old.text.splitlines(), new.text.splitlines(), "recorded", "asked", "", "", 1, ""
            )
            shown = list(lines)
            more = f"\n({len(shown) - SHOWN} more lines)" if len(shown) > SHOWN else ""
            return f"{where} in the block '{new.name}':\n" + "\n".join(shown[:SHOWN]) + more
    if len(then) != len(now):
        longer, word = (now, "more") if len(now) > len(then) else (then, "fewer")
        odd = longer[min(len(then), len(now))].name
        return f"{where}: it has {word} blocks; the first is '{odd}'."
    return f"{where} in how its blocks are marked or grouped."
