"""The command line of a server: our shim over a backend, or the command of another framework with its places filled."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from warpsmith.errors import BadInput, Missing
from warpsmith.model.harness import Server

START = Path(__file__).parent.parent / "judge" / "start.py"
"""Starts a module of this very package, wherever that lies."""


def shim(server: Server, workspace: Path, descriptor: int, model_files: Path | None) -> tuple[str, ...]:
    """How our shim is started over a backend. Raises Missing."""
    for package in ("fastapi", "uvicorn", "httptools"):
        if find_spec(package) is None:
            raise Missing(f"serving needs the package {package}.", "Run: pip install 'warpsmith[serve]'.")
    more = () if model_files is None else ("--snapshot", str(model_files))
    said = ("--backend", server.backend, "--options", json.dumps(server.options), "--model", server.model)
    where = ("--workspace", str(workspace), "--fd", str(descriptor), *more)
    return (sys.executable, "-P", str(START), "warpsmith.serving", *said, *where)


def search_path(environment: Mapping[str, str]) -> dict[str, str]:
    """Where this process finds its packages, where that is said by a variable and the server's says nothing else."""
    said = environment.get("PYTHONPATH") or os.environ.get("PYTHONPATH", "")
    folders = [str(Path(folder).absolute()) for folder in said.split(os.pathsep) if folder]
    return {"PYTHONPATH": os.pathsep.join(folders)} if folders else {}


def command(
    server: Server, workspace: Path, port: int, model_files: Path | None, environment: Mapping[str, str]
) -> tuple[str, ...]:
    """How another framework's server is started. Raises BadInput where its program is not there."""
    places = {"{port}": str(port), "{model}": server.model, "{snapshot}": str(model_files or "")}
    argv = []
    for part in server.command:
        for place, value in places.items():
            part = part.replace(place, value)
        argv.append(part)
    program = str(workspace / argv[0]) if os.sep in argv[0] else argv[0]
    if shutil.which(program, path=environment.get("PATH")) is None:
        raise BadInput(f"{argv[0]} is no program that can be run here.", "Give its path, or put it on PATH.")
    return tuple(argv)
