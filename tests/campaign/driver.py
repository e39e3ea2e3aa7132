"""Runs a campaign of the project in the given folder with the scripted judge: driver.py FOLDER."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from tests.projects import calibrate
from warpsmith.execute.local import Session
from warpsmith.model.campaign import Budget
from warpsmith.surface.campaigns import run_campaign
from warpsmith.surface.workspace import Workspace

SCRIPTED = Path(__file__).parent.parent / "scripted_judge.py"


class ScriptedWorkspace(Workspace):
    def session(self, name: str, tell: Callable[[str], None] | None = None) -> Session:
        log = self.home / "logs" / "judge.log"
        return Session((sys.executable, str(SCRIPTED), str(self.home / "finished.log")), log)


def main(folder: Path) -> None:
    calibrate(folder)
    space = ScriptedWorkspace(folder, {"attempts": 100_000, "batch": 3, "seed": 5})
    run_campaign(space, space.task("my/axpy"), "main", Budget(rounds=4, patience=4))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
