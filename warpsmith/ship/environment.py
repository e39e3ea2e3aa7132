"""What an environment holds: a framework's file and version, a package's dispatches. Its own interpreter is asked."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from warpsmith.errors import BadInput
from warpsmith.model.base import Record

LIMIT_S = 60.0


class Dispatched(Record):
    """One dispatch of a package, as it would be in that environment."""

    release: str
    ratio: float


class Environment(Record):
    """What was found."""

    file: str
    """The framework's own file; empty where it is not there."""
    version: str
    """Of its distribution; empty where nobody can tell."""
    distribution: str
    found: bool
    """Whether the environment finds the package by itself."""
    dispatches: dict[str, Dispatched]
    problem: str = ""
    """Why the package cannot be imported there."""
    signatures: dict[str, str]
    """Of those targets whose source was found."""


def look(
    python: str, framework: str, package: str = "", folder: Path = Path(), targets: Sequence[str] = ()
) -> Environment:
    """Ask the interpreter ``python``; the framework is not imported. Raises BadInput where it does not answer."""
    script = Path(__file__).with_name("probe.py").read_text()
    asked = json.dumps([framework, package, str(folder.resolve()), list(targets)])
    try:
        with tempfile.TemporaryDirectory() as nowhere:  # the folder that it is started in is on its path
            done = subprocess.run(
                (python, "-", asked),
                cwd=nowhere,
                input=script,
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
                check=True,
            )
        return Environment.model_validate_json(done.stdout.rpartition("\n")[2])
    except subprocess.CalledProcessError as error:
        why = error.stderr.strip().rpartition("\n")[2] or f"status {error.returncode}"
    except (OSError, subprocess.TimeoutExpired, ValidationError) as error:
        why = str(error)
    raise BadInput(f"{python} cannot say what it holds: {why}.", "Name the interpreter of the environment by --python.")
