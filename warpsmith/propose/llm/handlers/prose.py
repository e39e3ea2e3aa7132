"""Prose around code inside of a file: a fence within the fence, and words behind the last line of code."""

from __future__ import annotations

import re
from collections.abc import Mapping

from warpsmith.model.candidate import Candidate

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[\w+\-]*\s*$", re.MULTILINE)


class Handler:
    """Takes one fenced block out of a file that holds exactly one."""

    name = "prose"

    def hint(self, candidate: Candidate, texts: Mapping[str, str]) -> str:
        """Nothing: the rules of the reply say it."""
        return ""

    def mend(self, path: str, text: str) -> str:
        """What is fenced inside of the file, where two fences and nothing else could be meant."""
        fences = list(_FENCE.finditer(text))
        if len(fences) == 2:
            return text[fences[0].end() : fences[1].start()].strip("\n") + "\n"
        if len(fences) == 1 and not text[: fences[0].start()].strip():
            return text[fences[0].end() :].strip("\n") + "\n"
        return text

    def problems(self, candidate: Candidate, texts: Mapping[str, str]) -> list[str]:
        """None: hygiene finds what is left."""
        return []
