"""Exports of a history: ``benchmark.csv`` and ``solutions.jsonl``, views of the ledger that carry its hash."""

from __future__ import annotations

import csv as csv_module
import io
import json
from pathlib import Path

from warpsmith.errors import BadInput
from warpsmith.model.base import digest_bytes
from warpsmith.store.blobs import Blobs
from warpsmith.store.files import write_atomic
from warpsmith.store.history import History
from warpsmith.surface.view import Row, View

COLUMNS = (
    "candidate", "origin", "parent", "status", "verdict", "effort", "rival", "speedup", "low", "high", "pairs",
    "speedup_over_baseline", "leader", "parameters", "memo", "why", "ledger_sha256",
)  # fmt: skip


def ledger_digest(path: Path) -> str:
    """SHA-256 of the ledger's complete lines."""
    content = path.read_bytes()
    return digest_bytes(content[: content.rfind(b"\n") + 1])


def export(
    h: History, seen: View, blobs: Blobs, ledger: str, folder: Path, *, csv: bool, jsonl: bool
) -> tuple[str, ...]:
    """Write what was asked for into ``folder``; returns the paths."""
    if (csv or jsonl) and folder.exists() and not folder.is_dir():
        raise BadInput(f"--output: {folder} is not a folder.", "Name a folder.")
    written = []
    if csv:
        write_atomic(folder / "benchmark.csv", _csv(seen, ledger))
        written.append(str(folder / "benchmark.csv"))
    if jsonl:
        write_atomic(folder / "solutions.jsonl", _jsonl(h, seen, blobs, ledger))
        written.append(str(folder / "solutions.jsonl"))
    return tuple(written)


def _csv(seen: View, ledger: str) -> str:
    text = io.StringIO()
    table = csv_module.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    for row in seen.rows:
        table.writerow({**_flat(row), "ledger_sha256": ledger})
    return text.getvalue()


def _flat(row: Row) -> dict[str, object]:
    ratio = row.ratio
    return {
        "candidate": row.id,
        "origin": row.origin,
        "parent": row.parent or "",
        "status": row.status,
        "verdict": row.verdict or "",
        "effort": row.effort or "",
        "rival": row.rival or "",
        "speedup": ratio.speedup if ratio else "",
        "low": ratio.low if ratio else "",
        "high": ratio.high if ratio else "",
        "pairs": ratio.pairs if ratio else "",
        "speedup_over_baseline": row.speedup if row.speedup is not None else "",
        "leader": row.leader,
        "parameters": json.dumps(row.parameters, sort_keys=True),
        "memo": row.memo,
        "why": row.why,
    }


def _jsonl(h: History, seen: View, blobs: Blobs, ledger: str) -> str:
    lines = []
    for row in seen.rows:
        candidate = h.candidates[row.id]
        lines.append(
            {
                "task": seen.task,
                "ledger_sha256": ledger,
                "row": row.model_dump(mode="json"),
                "candidate": candidate.model_dump(mode="json"),
                "sources": {s.path: blobs.get(s.content).decode(errors="replace") for s in candidate.sources},
                "evaluations": [e.model_dump(mode="json") for (c, _, _), e in h.evaluations.items() if c == row.id],
            }
        )
    return "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
