"""What an export says of itself: ``export.json``, and the stamp in the first lines of everything that is generated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from warpsmith import __version__
from warpsmith.model.base import digest, digest_bytes
from warpsmith.model.release import Gain
from warpsmith.model.task import Role
from warpsmith.ship.export.binding import parameters, shapes_tell
from warpsmith.ship.export.family import Family, Member

DOCUMENT = "export.json"
NOT_MEASURED = "not measured"


def stamp(family: Family) -> tuple[str, ...]:
    """Lines that say where it comes from: task, release, commit, date, ratio, architecture."""
    lines = [f"{family.name}: exported by warpsmith {__version__}. Generated; export again instead of editing."]
    for member in family.members:
        row, made = member.row, member.manifest
        commit = made.commit or "no commit"
        lines.append(f"{row.release} ({made.at}, {commit}), {row.architecture}, {row.proof}: {said(row.gain)}")
        lines.append(f"  manifest {member.entry.manifest}, task {made.task}")
    return tuple(lines)


def said(gain: Gain | None) -> str:
    """``1.84x [1.81, 1.87] over the baseline``."""
    if gain is None:
        return "no ratio"
    ends = "" if gain.low is None or gain.high is None else f" [{gain.low:.3f}, {gain.high:.3f}]"
    return f"{gain.speedup:.3f}x{ends} over the baseline"


def document(family: Family, kind: str) -> dict[str, Any]:
    """``export.json`` without files and costs."""
    rows = [_row(m) for m in family.members]
    releases = [_release(next(m for m in family.members if m.manifest is r)) for r in family.releases]
    return {
        "format": 1,
        "name": family.name,
        "kind": kind,
        "warpsmith": __version__,
        "unique": digest([rows, [r["manifest"] for r in releases]])[:12],
        "summary": "\n".join(stamp(family)),
        "releases": releases,
        "rows": rows,
        "architectures": list(dict.fromkeys(m.row.architecture for m in family.members)),
        **interface(family),
    }


def interface(family: Family) -> dict[str, Any]:
    """The operation's parameters, and how its outputs are made."""
    elements = {a.name: str(a.element) for a in family.task.arguments}
    outputs = [a for a in family.tensors if a.role is Role.output]
    inputs = [a for a in family.tensors if a.role is Role.input]
    how = {}
    for out in outputs:
        typed = [i.name for i in inputs if all(m.row.dtypes[i.name] == m.row.dtypes[out.name] for m in family.members)]
        alike = [i.name for i in inputs if i.name in typed and i.shape == out.shape]
        how[out.name] = {
            "like": alike[0] if alike else "",
            "device_of": inputs[0].name if inputs else "",
            "dtype_of": typed[0] if typed else "",
            "dtype": family.members[0].row.dtypes[out.name],
        }
    return {
        "parameters": [
            {"name": p.name, "kind": p.kind, "default": p.default, "dtype": elements.get(p.name, "i64")}
            for p in parameters(family)
        ],
        "outputs": how,
        "axes": list(family.axes),
        "axes_from": {axis: list(where) for axis, where in shapes_tell(family).items()},
        "shapes": {a.name: list(a.shape or ()) for a in family.tensors},
        "alignment": max(m.row.alignment for m in family.members),
    }


def finished(made: Mapping[str, Any], files: Mapping[str, bytes], cost: object) -> bytes:
    """The document with the hash of every other file, as it is written."""
    hashes = {path: digest_bytes(content) for path, content in sorted(files.items())}
    whole = {**made, "added_cost": cost, "installed_path": NOT_MEASURED, "files": hashes}
    return json.dumps(whole, indent=1).encode() + b"\n"


def arrived(written: bytes, path: object) -> bytes:
    """A finished document that says what was found where it is called, or why nothing was."""
    return json.dumps({**json.loads(written), "installed_path": path}, indent=1).encode() + b"\n"


def _row(member: Member) -> dict[str, Any]:
    return member.row.model_dump(mode="json")


def _release(member: Member) -> dict[str, Any]:
    made = member.manifest
    return {
        "spec": made.spec,
        "manifest": member.entry.manifest,
        "task": made.task,
        "commit": made.commit,
        "at": made.at,
        "gain": made.gain.model_dump(mode="json"),
        "architecture": made.target.architecture,
        "device": made.target.device,
        "workloads": {w.name: w.gain.model_dump(mode="json") for w in made.workloads},
        "axes": [w.axes for w in made.workloads],
        "trade_offs": list(made.trade_offs),
        "signer": made.signer,
    }
