"""Whether an export's win arrives: measured at export, in a process of its own, where the device is there.

The framework is a module whose function calls the baseline by a binding of its own, so that what the release won beside
it on the bench is what has to arrive. The package is installed over that function as over any other.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from warpsmith.errors import BuildFailed, WarpsmithError
from warpsmith.execute.line import held
from warpsmith.execute.local import device_line
from warpsmith.judge.machine import detect
from warpsmith.judge.trusted import cubin
from warpsmith.model.base import digest_bytes
from warpsmith.model.release import Manifest, ReleasedWorkload
from warpsmith.ship import callside
from warpsmith.ship.export import building
from warpsmith.ship.export.family import EXPORTABLE, Family, Member
from warpsmith.ship.export.layouts import files
from warpsmith.ship.installed import Through
from warpsmith.ship.shelf import Shelf
from warpsmith.toolchains import cache

Look = Callable[[Family, Path], tuple[Through, ...] | str]
"""Measures the finished package in a folder; or says why nothing was measured."""
SECONDS = 300.0
LEAST_WEIGHT = 0.5
"""Of the largest: what weighs less than that does not decide whether a win arrives."""
_MEASURED = TypeAdapter(tuple[Through, ...])


def looker(shelf: Shelf, build_cache: Path) -> Look:
    """Measures on this machine. What it gives raises BuildFailed where the package computes something else there."""

    def look(family: Family, package: Path) -> tuple[Through, ...] | str:
        cost = json.loads((package / "export.json").read_bytes())["added_cost"]
        if not isinstance(cost, dict):
            return str(cost)
        member = family.members[cost["row"]]
        try:
            with tempfile.TemporaryDirectory() as place:
                return _measured(member, package, _plain(shelf, build_cache, family, member, Path(place)), build_cache)
        except BuildFailed:
            raise
        except WarpsmithError as error:
            return f"not measured: {error.message}"

    return look


def chosen(manifest: Manifest) -> tuple[ReleasedWorkload, ...]:
    """The shortest and the longest of the workloads that weigh most."""
    most = max(w.weight for w in manifest.workloads)
    there = sorted((w for w in manifest.workloads if w.weight >= LEAST_WEIGHT * most), key=lambda w: w.candidate_s)
    return (there[0], there[-1])[: len(there)]


def _plain(shelf: Shelf, build_cache: Path, family: Family, member: Member, place: Path) -> Path:
    """The baseline as a package of its own. Raises WarpsmithError where it cannot be one."""
    made, release = member.manifest, member.row.release
    baseline = made.baseline
    if baseline.toolchain not in EXPORTABLE:
        raise WarpsmithError(f"the baseline of {release} is a {baseline.toolchain} candidate, without a binding here")
    sources = shelf.place(made.name, made.version) / "task" / member.task.baseline
    try:
        built = cache.build(baseline, sources, made.target, "release", build_cache, member.task)
        content = built.binary.read_bytes()
        row = member.row.model_copy(update={"release": f"the baseline of {release}", "artefact": digest_bytes(content)})
        alone = made.model_copy(update={"candidate": baseline})
        plain = Member(row, alone, member.entry, member.task, built.build, content, member.features)
        name = f"{family.name}_baseline"
        only = Family(name, (plain,), ())
        written(files(only, "python", building.shared_object, lambda *_: "not measured"), place / name)
    except BuildFailed as error:
        raise WarpsmithError(f"the baseline of {release} cannot be called here: {error.message}") from None
    return place / name


def written(made: Mapping[str, bytes], folder: Path) -> None:
    """Write files below a folder."""
    for path, content in made.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _measured(member: Member, package: Path, plain: Path, build_cache: Path) -> tuple[Through, ...] | str:
    made = member.manifest
    asked: dict[str, Any] = {
        "release": member.row.release,
        "hardware": member.row.hardware,
        "name": package.name,
        "plain": plain.name,
        "stamps": "",
        "workloads": [
            {"name": w.name, "axes": w.axes, "scalars": w.scalars, "speedup": w.gain.speedup, "seconds": w.candidate_s}
            for w in chosen(made)
        ],
    }
    if member.row.hardware == "cuda":
        asked["stamps"] = cubin("stamps.cu", "stamp", made.target, build_cache).hex()
    here = detect(member.row.hardware)
    environment = building.environment(str(package.parent), str(plain.parent))
    command = [sys.executable, "-m", callside.__name__]
    try:
        with held(device_line(f"{here.hardware}-{here.uuid}")):  # nobody else measures on it meanwhile
            done = subprocess.run(
                command, cwd=plain.parent, env=environment, input=json.dumps(asked), capture_output=True, text=True,
                check=False, timeout=SECONDS,
            )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"not measured: it took longer than {SECONDS:g} s"
    last = done.stderr.strip().rpartition("\n")[2][-400:]
    if done.returncode == callside.WRONG:
        raise BuildFailed(f"the exported package computes something else than the baseline: {last}", done.stderr)
    if done.returncode != 0:
        return f"not measured: {last or f'it ended with status {done.returncode}'}"
    return _MEASURED.validate_json(done.stdout.splitlines()[-1])
