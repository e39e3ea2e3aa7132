"""Compiling an export: its C++ through g++ and tvm-ffi's headers, and variants for architectures that are not here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from warpsmith.errors import BuildFailed, Missing
from warpsmith.model.evaluation import Build
from warpsmith.model.release import Manifest
from warpsmith.model.task import KernelTask
from warpsmith.ship.export.family import Compile
from warpsmith.ship.shelf import Shelf
from warpsmith.toolchains import cache, compiler, tvmffi

FLAGS = ("-shared", "-fPIC", "-std=c++17", "-O2", "-fvisibility=hidden", "-ffile-prefix-map=.=.", "-Wl,--build-id=none")
COST_SECONDS = 120.0
"""Longest that measuring a call's added cost may take."""
MOST_ADDED_NS = 500.0
"""What dispatch may add to a call that launches on a GPU: the goal of the project, on an H200's host."""
COST_TRIES = 3
"""Whoever else is at work can only add to it, so that the first try that is within the limit decides."""
_PASSED = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")


def shared_object(files: Mapping[str, bytes], main: str) -> bytes:
    """Compile ``main`` among ``files``. Host code only: g++, without a toolkit. Raises BuildFailed, Missing."""
    root = tvmffi.package_folder()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "sources"
        folder.mkdir()
        for path, content in files.items():
            (folder / path).write_bytes(content)
        output = Path(place) / "made.so"
        command = ("g++", *FLAGS, f"-I{root}/include", "-I.", "-o", str(output), main, f"-L{root}/lib", "-ltvm_ffi")
        compiler.run((*command, "-ldl", "-lpthread"), folder, output, folders=(root,))
        return output.read_bytes()


def compile_for(shelf: Shelf, build_cache: Path) -> Compile:
    """Builds a release's candidate, from the sources in its folder, for another architecture; runs nothing."""

    def make(manifest: Manifest, task: KernelTask, architecture: str) -> tuple[bytes, Build]:
        target = manifest.target.model_copy(update={"architecture": architecture})
        sources = shelf.place(manifest.name, manifest.version) / "candidate"
        made = cache.build(manifest.candidate, sources, target, "release", build_cache, task)
        return made.binary.read_bytes(), made.build

    return make


def added_cost(files: Mapping[str, bytes], name: str) -> object:
    """What guard and Python add to a call, in ns, measured in processes of their own; a word where this machine cannot.

    Raises BuildFailed where the package does not work.
    """
    found: object = None
    for _ in range(COST_TRIES):
        found = _added_cost(files, name)
        if not too_dear(found):
            break
    return found


def too_dear(cost: object) -> bool:
    """Whether it was shown that dispatch adds more than it may."""
    return isinstance(cost, dict) and cost["hardware"] != "cpu" and cost["low_ns"] > MOST_ADDED_NS


def _added_cost(files: Mapping[str, bytes], name: str) -> object:
    with tempfile.TemporaryDirectory() as place:
        for path, content in files.items():
            target = Path(place) / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        command = [sys.executable, "-m", f"{name}._runtime.cost", name]
        try:
            done = subprocess.run(
                command, cwd=place, env=environment(place), capture_output=True, text=True, check=False,
                timeout=COST_SECONDS, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"not measured: it took longer than {COST_SECONDS:g} s"
        if done.returncode != 0:
            raise BuildFailed(f"the exported package does not work: {done.stderr.strip()[-400:]}", done.stderr)
        found: object = json.loads(done.stdout.splitlines()[-1])
        return found


def environment(*folders: str) -> dict[str, str]:
    """For a process that calls an exported package; ``folders`` are searched first. A kernel shall read no keys."""
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
    return {**passed, "PYTHONPATH": os.pathsep.join([*folders, *filter(None, sys.path)])}


__all__ = ["Missing", "added_cost", "compile_for", "environment", "shared_object", "too_dear"]
