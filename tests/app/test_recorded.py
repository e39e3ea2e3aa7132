"""Logs that an H200 gave, beside what the applications printed there: what scripts/show-observe compares."""

from __future__ import annotations

import gzip
import importlib
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from warpsmith.app.buckets import Execution, executions
from warpsmith.app.log import read_logs

HERE = Path(__file__).parent / "recorded"
SCRIPTS = Path(__file__).parents[2] / "scripts"


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return importlib.import_module(name)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return script("launchlines", monkeypatch)


def recorded(name: str, folder: Path) -> list[Execution]:
    (folder / f"{name}.launches").write_bytes(gzip.decompress((HERE / f"{name}.launches.gz").read_bytes()))
    (log,) = read_logs(folder)
    return executions(log)


@pytest.mark.parametrize(("name", "count"), [("transpose", 18), ("graph", 17)])
def test_every_execution_is_what_the_application_printed(
    lines: ModuleType, tmp_path: Path, name: str, count: int
) -> None:
    found = lines.seen(recorded(name, tmp_path))
    said = lines.printed((HERE / f"{name}.txt").read_text())
    assert sum(said.values()) == count
    assert lines.differ(said, found) == ""


def test_a_difference_is_told(lines: ModuleType, tmp_path: Path) -> None:
    found = lines.seen(recorded("transpose", tmp_path))
    text = (HERE / "transpose.txt").read_text()
    for wrong in (
        text.replace("scalars 120\n", "scalars 121\n"), text.replace("grid 256 256", "grid 256 255"),
        text.partition("\n")[2], text + text.partition("\n")[0],
    ):  # fmt: skip
        assert lines.differ(lines.printed(wrong), found)
    assert lines.shapes(Counter({("k", (1, 1, 1), (2, 1, 1), (3.0,)): 2, ("k", (1, 1, 1), (2, 1, 1), (4.0,)): 1})) == {
        ("k", (1, 1, 1), (2, 1, 1)): 3
    }


def test_elements_of_an_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    elements = script("witness", monkeypatch).elements
    assert elements({"Input Dims": [[2048, 1024], [2048, 1], []]}) == 2048 * 1024
    assert elements({"Input Dims": [[3, 1], [4]]}) == 12
    assert elements({"Input Dims": [[], []]}) is None
    assert elements({}) is None
