"""Places in source files, as a tool names them: whose file it is, and what stands in the line. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

MOST_TEXT = 200
"""Characters of a line that are shown."""


def placed(file: str, line: int, sources: Mapping[str, str]) -> tuple[str, str]:
    """The name and the text of a line of ``file``, counted from 1.

    A file of the candidate (``sources``: texts by name) has the candidate's name for it; of several that the path could
    mean it is the longest, since tools say the whole path. Any other has its bare name, and no text.
    """
    ours = max((name for name in sources if file == name or file.endswith(f"/{name}")), key=len, default=None)
    if ours is None:
        return PurePath(file).name, ""
    rows = sources[ours].splitlines()
    return ours, rows[line - 1].strip()[:MOST_TEXT] if 0 < line <= len(rows) else ""
