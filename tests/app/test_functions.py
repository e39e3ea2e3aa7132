"""Observation of a Python function, in real programs that end in every way."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from warpsmith.app.functions import observe, read_notes
from warpsmith.app.running import app
from warpsmith.errors import BadInput
from warpsmith.model.observed import FunctionObservation
from warpsmith.surface import cli

LIBRARY = """
import numpy as np

def mul(a, b, *, scale=1.0):
    if scale < 0:
        raise ValueError("negative")
    if scale == 0:
        import os
        os._exit(3)
    return a @ b * scale

class Layer:
    def forward(self, x, options=()):
        return [x, x.T]

    @staticmethod
    def twice(x):
        return 2 * x
"""
MAIN = """
import sys
import numpy as np
from library import Layer, mul

for n in (4, 4, 4, 16):
    mul(np.ones((n, 8), np.float32), np.ones((8, 2), np.float32), scale=2.0)
try:
    mul(np.ones((9, 8)), np.ones((8, 2)), scale=-1.0)
except ValueError:
    pass
Layer().forward(np.ones((2, 3)).T, options=(1, "two"))
Layer.twice(3)
if "leave" in sys.argv:
    mul(np.ones((7, 8)), np.ones((8, 2)), scale=0)
print("said", *sys.argv[1:])
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "library.py").write_text(LIBRARY)
    (tmp_path / "main.py").write_text(MAIN)
    return tmp_path


def seen(folder: Path, function: str, *words: str) -> tuple[FunctionObservation, str]:
    with open(folder / "out", "w+") as out:
        found = observe(app((sys.executable, "main.py", *words), folder), function, None, out.fileno())
        out.seek(0)
        return found, out.read()


def test_shapes_dtypes_and_strides(program: Path) -> None:
    found, out = seen(program, "library:mul")
    assert out == "said\n"
    assert {c.calls for c in found.calls} == {1, 3}
    many = next(c for c in found.calls if c.calls == 3)
    assert many.arguments["a"].startswith("float32 [4, 8] strides (32, 4)")
    assert many.arguments["scale"] == "2.0"
    assert many.results.startswith("float32 [4, 2] strides (8, 4)")
    assert sum(c.share for c in found.calls) == pytest.approx(1.0)


def test_calls_that_did_not_return_are_no_workload(program: Path) -> None:
    found, _ = seen(program, "library:mul", "leave")
    assert found.run.status == 3
    assert found.run.conditions == (
        "2 calls did not return, and are no workload", "the application ended with status 3",
    )  # fmt: skip
    assert all("[7, 8]" not in c.arguments["a"] and "[9, 8]" not in c.arguments["a"] for c in found.calls)


def test_methods_and_nested_values(program: Path) -> None:
    (call,) = seen(program, "library:Layer.forward")[0].calls
    assert call.arguments["options"] == "tuple(1, 'two')"
    assert call.arguments["x"].startswith("float64 [3, 2] strides (8, 24)")
    assert call.results.startswith("list(float64 [3, 2]")
    (twice,) = seen(program, "library:Layer.twice")[0].calls
    assert (twice.arguments, twice.results) == ({"x": "3"}, "6")


@pytest.mark.parametrize(
    ("function", "says"),
    [("library:nothing", "has no attribute 'nothing'"), ("elsewhere:mul", "elsewhere was never imported")],
)
def test_what_is_not_there_is_said(program: Path, function: str, says: str) -> None:
    found, out = seen(program, function)
    assert out == "said\n"
    assert found.calls == ()
    assert says in " ".join(found.run.conditions)


def test_a_program_that_is_no_python_is_said(tmp_path: Path) -> None:
    found = observe(app(("/bin/true",), tmp_path), "library:mul", None, -3)
    assert "no Python process took the watch" in found.run.conditions[0]


def test_the_environments_own_sitecustomize_still_runs(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = program / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import sys\nsys.argv_from_site = 'mine'\n")
    (program / "main.py").write_text("import sys, library\nlibrary.Layer.twice(1)\nprint(sys.argv_from_site)\n")
    monkeypatch.setenv("PYTHONPATH", str(own))
    found, out = seen(program, "library:Layer.twice")
    assert out == "mine\n"
    assert len(found.calls) == 1


def test_no_function_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="names no function"):
        observe(app(("/bin/true",), tmp_path), "library.mul", None, -3)


def test_a_line_that_breaks_off_is_left_out(tmp_path: Path) -> None:
    lines = [{"k": 0, "kind": "arguments", "text": '{"x": "1"}'}, {"b": 0}]
    (tmp_path / "1-1.calls").write_text("\n".join(map(json.dumps, lines)) + '\n{"e": 0, "n')
    (calls,) = read_notes(tmp_path).calls
    assert (calls.arguments, calls.began, calls.seconds) == ({"x": "1"}, 1, [])


def test_the_verb_keeps_a_file(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(program)
    words = ["observe", "--function", "library:mul", "--output", "seen", "--", sys.executable, "main.py"]
    assert cli.run(words) == 0
    kept = FunctionObservation.model_validate_json((program / "seen" / "library.mul.observed.json").read_text())
    assert kept.function == "library:mul"
