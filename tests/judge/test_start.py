"""How a judge session starts, from this package and nothing that lies in the working directory; how it answers."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from warpsmith.execute.local import read_result
from warpsmith.model.step import DONE, Fault
from warpsmith.surface.workspace import JUDGE

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", ["", os.pathsep, ".", f".{os.pathsep}{ROOT}", str(ROOT)])
def test_nothing_is_imported_from_the_working_directory(path: str, tmp_path: Path) -> None:
    for name in ("numpy", "torch", "pydantic", "json", "warpsmith"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('this is not the right one')\n")
    done = subprocess.run(
        JUDGE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        input="",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_working_directory_would_have_been_imported_from(tmp_path: Path) -> None:
    """Or else the test above shows nothing."""
    (tmp_path / "numpy.py").write_text("raise SystemExit('this is not the right one')\n")
    argv = (JUDGE[0], "-m", "warpsmith.judge")
    done = subprocess.run(argv, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, input="", text=True,
                          capture_output=True, check=False)  # fmt: skip
    assert "this is not the right one" in done.stderr


def test_each_step_is_answered_with_the_line_that_an_executor_waits_for(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    asked = "".join(f"{folder}\n" for folder in folders)
    done = subprocess.run(JUDGE, cwd=tmp_path, input=asked, capture_output=True, text=True, check=False)
    assert (done.stdout.splitlines(), done.stderr) == ([DONE, DONE], "")
    found = [read_result(folder) for folder in folders]
    assert all(one is not None and isinstance(one.outcome, Fault) for one in found), "there was no request in them"
