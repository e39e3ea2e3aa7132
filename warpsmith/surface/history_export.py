"""Exports of a history: ``benchmark.csv`` and ``solutions.jsonl``, views of the ledger that carry its hash.

Candidates of the campaign come first, with ``kind`` campaign; then labelled evaluations, oldest first, with ``kind``
labelled: somebody made them by hand, and they decide nothing.
"""

from __future__ import annotations

import csv as csv_module
import io
import json
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from warpsmith.analyse.compare import compare
from warpsmith.analyse.reasons import strongest
from warpsmith.errors import BadInput
from warpsmith.model.base import digest_bytes
from warpsmith.model.campaign import Benched, Campaign
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Evaluation
from warpsmith.store.blobs import Blobs
from warpsmith.store.files import write_atomic
from warpsmith.store.history import History
from warpsmith.surface.ratio import Ratio, ratio_of
from warpsmith.surface.view import Row, View

COLUMNS = (
    "candidate", "origin", "parent", "status", "verdict", "effort", "rival", "speedup", "low", "high", "pairs",
    "speedup_over_baseline", "leader", "parameters", "memo", "why", "environment", "task", "tag", "trust",
    "objective", "guardrails", "broken", "units", "ledger_sha256", "kind", "notes", "report", "at",
)  # fmt: skip
"""Then two for each metric: ``WORKLOAD/METRIC:candidate`` and ``WORKLOAD/METRIC:rival``, the medians of the samples of
the evaluation that the row shows. ``units`` has their units. ``notes``, ``report`` and ``at`` (UTC) are of labelled
evaluations alone.
"""
KIND, CAMPAIGN, LABELLED = "kind", "campaign", "labelled"


def ledger_digest(path: Path) -> str:
    """SHA-256 of the ledger's complete lines."""
    content = path.read_bytes()
    return digest_bytes(content[: content.rfind(b"\n") + 1])


def folded(read: Callable[[], History], path: Path) -> tuple[History, str]:
    """A history with the hash of the very lines that it is the fold of, also while a campaign writes them."""
    while True:
        digest = ledger_digest(path) if path.exists() else ""
        h = read()
        if path.exists() and ledger_digest(path) == digest:
            return h, digest


def export(
    h: History, seen: View, blobs: Blobs, ledger: str, folder: Path, *, csv: bool, jsonl: bool
) -> tuple[str, ...]:
    """Write what was asked for into ``folder``; returns the paths."""
    if (csv or jsonl) and folder.exists() and not folder.is_dir():
        raise BadInput(f"--output: {folder} is not a folder.", "Name a folder.")
    written = []
    if csv:
        write_atomic(folder / "benchmark.csv", _csv(h, seen, ledger))
        written.append(str(folder / "benchmark.csv"))
    if jsonl:
        write_atomic(folder / "solutions.jsonl", _jsonl(h, seen, blobs, ledger))
        written.append(str(folder / "solutions.jsonl"))
    return tuple(written)


def _csv(h: History, seen: View, ledger: str) -> str:
    c = h.campaign
    assert c is not None
    shown = {row.id: strongest(h, row.id) for row in seen.rows}
    measured = {identity: _metrics(e) for identity, e in shown.items() if e is not None}
    by_hand = [(one, e, _metrics(e)) for one in h.benched for e in one.evaluations]
    columns = dict.fromkeys(column for one in (*measured.values(), *(m for _, _, m in by_hand)) for column in one)
    text = io.StringIO()
    table = csv_module.DictWriter(text, (*COLUMNS, *columns), lineterminator="\n")
    table.writeheader()
    same = {"task": seen.task, "tag": seen.tag, "ledger_sha256": ledger}
    for row in seen.rows:
        told = {**_flat(row), **_decided_by(c, shown[row.id]), **measured.get(row.id, {})}
        table.writerow({**told, **same, KIND: CAMPAIGN})
    for one, e, metrics in by_hand:
        table.writerow({**_by_hand(one, e, c), **_decided_by(c, e), **metrics, **same, KIND: LABELLED})
    return text.getvalue()


def _metrics(e: Evaluation) -> dict[str, float]:
    """Both sides of every metric: columns and medians."""
    return {
        f"{result.workload}/{metric.name}:{side}": statistics.median(getattr(metric, side))
        for result in e.workloads
        for metric in result.metrics
        for side in ("candidate", "rival")
    }


def _decided_by(c: Campaign, e: Evaluation | None) -> dict[str, str]:
    """The objective and the guardrails, which of these the candidate broke, who vouches, and the units."""
    answer = compare(e, c) if e is not None else None
    metrics = [(r.workload, m) for r in e.workloads for m in r.metrics] if e is not None else []
    return {
        "objective": c.objective.model_dump_json(),
        "guardrails": json.dumps([g.model_dump(mode="json") for g in c.guardrails]),
        "broken": " ".join(answer.broken) if answer else "",
        "trust": e.trust.value if e is not None else "",
        "units": json.dumps({f"{workload}/{m.name}": m.unit for workload, m in metrics}),
    }


def _by_hand(one: Benched, e: Evaluation, c: Campaign) -> dict[str, object]:
    """A labelled evaluation, as far as it has what a candidate of the campaign has: it leads nowhere."""
    answer = compare(e, c)
    candidate = _measured(one, e)
    return {
        "candidate": e.candidate,
        "origin": LABELLED,
        "parent": candidate.parent or "",
        "status": e.status.value,
        "verdict": answer.verdict.value if answer else "",
        "effort": e.effort.value,
        "rival": e.rival,
        **_ratio(ratio_of(answer.overall) if answer else None),
        "leader": False,
        "parameters": json.dumps(candidate.parameters, sort_keys=True),
        "environment": json.dumps(candidate.environment, sort_keys=True),
        "memo": candidate.memo,
        "why": e.detail,
        **_label(one),
    }


def _label(one: Benched) -> dict[str, str]:
    return {"notes": one.notes, "report": one.name, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(one.at))}


def _measured(one: Benched, e: Evaluation) -> Candidate:
    return next(candidate for candidate in one.candidates if candidate.id == e.candidate)


def _ratio(ratio: Ratio | None) -> dict[str, object]:
    """An unknown end of the interval is an empty field."""
    return ratio.model_dump(include={"speedup", "low", "high", "pairs"}) if ratio else {}


def _flat(row: Row) -> dict[str, object]:
    return {
        "candidate": row.id,
        "origin": row.origin,
        "parent": row.parent or "",
        "status": row.status,
        "verdict": row.verdict or "",
        "effort": row.effort or "",
        "rival": row.rival or "",
        **_ratio(row.ratio),
        "speedup_over_baseline": row.speedup if row.speedup is not None else "",
        "leader": row.leader,
        "parameters": json.dumps(row.parameters, sort_keys=True),
        "environment": json.dumps(row.environment, sort_keys=True),
        "memo": row.memo,
        "why": row.why,
    }


def _jsonl(h: History, seen: View, blobs: Blobs, ledger: str) -> str:
    c = h.campaign
    assert c is not None
    same = {
        "task": seen.task,
        "tag": seen.tag,
        "ledger_sha256": ledger,
        "objective": c.objective.model_dump(mode="json"),
        "guardrails": [g.model_dump(mode="json") for g in c.guardrails],
    }

    def told(kind: str, candidate: Candidate, evaluations: Iterable[Evaluation]) -> dict[str, object]:
        return {
            **same,
            KIND: kind,
            "candidate": candidate.model_dump(mode="json"),
            "sources": blobs.texts(candidate),
            "evaluations": [e.model_dump(mode="json") for e in evaluations],
        }

    lines: list[dict[str, object]] = []
    for row in seen.rows:
        own = (e for e in h.evaluations.values() if e.candidate == row.id)
        lines.append({**told(CAMPAIGN, h.candidates[row.id], own), "row": row.model_dump(mode="json")})
    for one in h.benched:
        lines += [{**told(LABELLED, _measured(one, e), (e,)), **_label(one)} for e in one.evaluations]
    return "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
