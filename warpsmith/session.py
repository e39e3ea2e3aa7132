"""The session that an executor starts: one warm process in which candidates are measured and explained.

Owns nothing but which of the two a step asks for. The judge knows of no profiler, and a profile needs what the judge
has warm: imports, the device's context, launchers.
"""

from __future__ import annotations

import json
from pathlib import Path

from warpsmith.judge.__main__ import carry_out as measure
from warpsmith.judge.__main__ import main, told
from warpsmith.judge.failures import Kills
from warpsmith.model.step import Result


def answer(folder: Path, kills: Kills) -> Result:
    """The result of the step in ``folder``. A request that cannot be read is the judge's to complain about."""
    if _asks_for_a_profile(folder / "request.json"):
        from warpsmith.profilers.steps import carry_out as explain

        return explain(folder)
    return measure(folder, kills, told)


def _asks_for_a_profile(request: Path) -> bool:
    try:
        return bool(json.loads(request.read_bytes())["step"]["kind"] == "explain")
    except (OSError, ValueError, KeyError, TypeError):
        return False


if __name__ == "__main__":
    main(answer)
