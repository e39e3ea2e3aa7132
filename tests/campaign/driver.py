"""Runs a campaign of the project in the given folder with the scripted judge: driver.py FOLDER."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from warpsmith.execute.local import Session
from warpsmith.model.campaign import Budget
from warpsmith.model.target import Calibration, Target
from warpsmith.surface.workspace import Workspace

SCRIPTED = Path(__file__).parent.parent / "scripted_judge.py"


class ScriptedWorkspace(Workspace):
    def session(self, name: str) -> Session:
        log = self.home / "logs" / "judge.log"
        return Session((sys.executable, str(SCRIPTED), str(self.home / "finished.log")), log)

    def calibrated(self, target: Target) -> Calibration:
        return Calibration(
            target=target.key, noise_floor=0.0, comparisons=1, copy_bytes_per_s={}, flops_per_s=1.0, at=time.time()
        )


def main(folder: Path) -> None:
    space = ScriptedWorkspace(folder, {"attempts": 100_000, "batch": 3, "seed": 5})
    space.optimize(space.task("my/axpy"), "main", Budget(rounds=4, patience=4))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
