"""The JSON document that a command prints: found in its output, looked into, its metrics and expectations read."""

from __future__ import annotations

import json
import math
from typing import Any

from warpsmith.judge.failures import CandidateFailed
from warpsmith.model.evaluation import Status
from warpsmith.model.harness import CommandTask, Scalar

STARTS = 64
"""Lines that begin with a bracket at which a document is looked for, from the last one upwards."""
NOTHING = object()


def document(out: str) -> Any:
    """The object or list that ``out`` is, or ends with. Raises ValueError where there is none."""
    text = out.strip()
    starts = [0] if text[:1] in ("{", "[") else []
    at = len(text)
    while at > 0 and len(starts) < STARTS:
        at = text.rfind("\n", 0, at)
        if at >= 0 and text[at + 1 : at + 2] in ("{", "["):
            starts.append(at + 1)
    for begin in starts:
        try:
            return json.loads(text[begin:])
        except (ValueError, RecursionError):
            continue
    raise ValueError("no JSON document")


def place(said: Any, path: str) -> Any:
    """What stands at ``path`` (keys and indices with dots between; a key may have dots itself); NOTHING for nothing."""
    if isinstance(said, dict):
        if path in said:
            return said[path]
        head, dot, rest = path.partition(".")
        return place(said[head], rest) if dot and head in said else NOTHING
    if isinstance(said, list):
        head, dot, rest = path.partition(".")
        if not head.isascii() or not head.isdigit() or len(head) > 9 or int(head) >= len(said):
            return NOTHING
        return place(said[int(head)], rest) if dot else said[int(head)]
    return NOTHING


def expect(task: CommandTask, said: Any) -> None:
    """Raises CandidateFailed where the document does not hold what makes an answer right."""
    for path, wanted in task.expect.items():
        found = place(said, path)
        if found is NOTHING:
            raise CandidateFailed(Status.wrong_values, f"the document has no {path}, which must be {wanted!r}")
        if not _same(found, wanted):
            raise CandidateFailed(Status.wrong_values, f"{path} is {_short(found)}, which must be {wanted!r}")


def metrics(task: CommandTask, said: Any) -> dict[str, float]:
    """The metrics of the task. Raises CandidateFailed for one that is missing, or is not a finite number above 0."""
    values = {}
    for name, reported in task.metrics.items():
        path = reported.path or name
        where = name if path == name else f"{name} ({path})"
        found = place(said, path)
        if found is NOTHING:
            has = f"; it has {', '.join(map(str, list(said)[:12]))}" if isinstance(said, dict) and said else ""
            raise CandidateFailed(Status.bad_report, f"the document has no metric {where}{has[:300]}")
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise CandidateFailed(Status.bad_report, f"the metric {where} is {_short(found)}, which is no number")
        values[name] = _number(found, where)
    return values


def _number(found: float, where: str) -> float:
    try:
        value = float(found)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value) or value <= 0:
        raise CandidateFailed(Status.bad_report, f"the metric {where} is {value!r}, not a finite number above 0")
    return value


def _same(found: Any, wanted: Scalar) -> bool:
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    return bool(type(found) in (int, float, str) and found == wanted)


def _short(found: Any) -> str:
    text = json.dumps(found, default=str)
    return text if len(text) <= 120 else f"{text[:120]}..."
