"""A candidate as a folder to be edited: ``candidate.toml`` and its sources, as store.folders reads them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from warpsmith.model.base import Record
from warpsmith.model.candidate import OVERLAY, Candidate
from warpsmith.store.blobs import Blobs
from warpsmith.store.folders import CANDIDATE_FILE


def write_candidate(candidate: Candidate, folder: Path, blobs: Blobs) -> None:
    """Write the candidate whole; what was in the folder goes. Its parameters become the defaults of its tunables."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    blobs.unpack(candidate, folder)
    (folder / CANDIDATE_FILE).write_text(manifest(candidate), encoding="utf-8")


def manifest(candidate: Candidate) -> str:
    """The text of ``candidate.toml``."""
    lines = [
        f"toolchain = {_value(candidate.toolchain)}",
        f"sources = {_value([s.path for s in candidate.sources])}",
        f"entry = {_value(candidate.entry)}",
        f"flags = {_value(candidate.flags)}",
        f"constraints = {_value(candidate.space.constraints)}",
    ]
    if candidate.toolchain == OVERLAY:
        lines += [f"environment = {_value(candidate.environment)}"]
    if candidate.space.tunables:
        lines += ["", "[tunables]"]
    for name, tunable in candidate.space.tunables.items():
        default = candidate.parameters.get(name, tunable.default)
        lines.append(f"{name} = {_value({**tunable.model_dump(), 'default': default})}")
    lines += _tables("launch", candidate.launch)
    lines += _tables("scratch", candidate.scratch)
    lines += _tables("tensor_map", candidate.tensor_map)
    return "\n".join(lines) + "\n"


def _tables(name: str, records: Iterable[Record]) -> list[str]:
    lines: list[str] = []
    for record in records:
        said = record.model_dump(mode="json", exclude_defaults=True)
        lines += ["", f"[[{name}]]", *(f"{key} = {_value(value)}" for key, value in said.items())]
    return lines


def _value(value: Any) -> str:
    """A value in TOML; its strings are those of JSON."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    return key if key.replace("_", "").isalnum() and key.isascii() else json.dumps(key)
