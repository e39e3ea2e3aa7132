"""Reads one Nsight Compute report and prints what is in it as JSON. A program of its own, never imported.

The reader is native code over a file that may be anybody's: should it crash, this process ends and nothing else. It
also says nothing of a file that ends too early or is no report at all, so the blocks of the file are walked first
(their layout is that of ProfilerReport.proto, which comes with Nsight Compute). Standard library and ``ncu_report``
only.

    ncu_reader.py REPORT KERNELS FOLDER... < NAMES    folders that may hold the module, then wherever Python finds it

``KERNELS`` is how many results are read at most; ``NAMES`` are the metrics, one a line. The answer is ``{"kernels":
[...]}`` or ``{"error": why, "lacks": whether the module itself is missing}``.
"""

import json
import math
import resource
import sys
from pathlib import Path
from typing import Any

MAGIC = b"NVR\0"
RESULTS, PAYLOAD = 2, 5
"""Fields of a block's header: how many results it holds, and the bytes that follow the header."""
STALLED = "smsp__pcsamp_warps_issue_stalled_"
HOTTEST_LINES, HOTTEST_SASS = 12, 5
MOST_TEXT = 4000
"""Characters of one message."""
MEMORY = 8 << 30
"""Address space, in bytes: a length that a broken report claims must not take the machine's memory."""
KINDS = {2: "OPT", 3: "WRN", 4: "WRN"}
"""By MsgType; anything else informs."""
SCOPES = {1: "local", 2: "global"}
"""By SpeedupType."""


def promised(content: bytes) -> int:
    """How many results the blocks of a report say that they hold. Raises ValueError for what is no whole report."""
    if not content.startswith(MAGIC):
        raise ValueError("it is not a report of Nsight Compute")
    try:
        at = 8 + int.from_bytes(content[4:8], "little")
        count = 0
        while at < len(content):
            size = int.from_bytes(content[at : at + 4], "little")
            if size == 0:
                raise ValueError
            if size > len(content) - at - 4:
                at = len(content) + 1
                break
            header = fields(content[at + 4 : at + 4 + size])
            count += header.get(RESULTS, 0)
            at += 4 + size + header.get(PAYLOAD, 0)
    except (ValueError, IndexError):
        raise ValueError("it is damaged: its blocks do not follow one another") from None
    if at > len(content):
        raise ValueError("it is cut off, or damaged: its last block is not whole")
    return count


def fields(message: bytes) -> dict[int, int]:
    """The numbers in a protocol buffer, by field. Raises ValueError and IndexError."""
    found = {}
    at = 0
    while at < len(message):
        key, at = varint(message, at)
        field, kind = key >> 3, key & 7
        if kind == 0:
            found[field], at = varint(message, at)
        elif kind == 2:
            size, at = varint(message, at)
            at += size
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError
    if at > len(message):
        raise ValueError
    return found


def varint(message: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    value = 0
    for shift in range(0, 64, 7):
        value |= (message[at] & 0x7F) << shift
        at += 1
        if not message[at - 1] & 0x80:
            return value, at
    raise ValueError


def number(metric: Any) -> float | None:
    """The value of a metric where it has one that is a number."""
    if metric is None or not metric.has_value() or metric.kind() == metric.ValueKind_STRING:
        return None
    value = float(metric.as_double())
    return value if math.isfinite(value) else None


def kernel(action: Any, names: list[str]) -> dict[str, Any]:
    """One profiled launch."""
    raw = {name: value for name in names if (value := number(action.metric_by_name(name))) is not None}

    def three(what: str) -> list[int]:
        found = [number(action.metric_by_name(f"launch__{what}_dim_{axis}")) for axis in "xyz"]
        return [int(value) if value is not None else 0 for value in found]

    return {
        "name": action.name(),
        "symbol": action.name(action.NameBase_MANGLED),
        "grid": three("grid"),
        "block": three("block"),
        "raw": raw,
        "advice": [said for result in action.rule_results() if (said := advice(result)) is not None],
        "lines": lines(action),
    }


def advice(result: Any) -> dict[str, Any] | None:
    """One result of a rule of the vendor's; None for one that says nothing."""
    if not result.has_rule_message():
        return None
    message = result.rule_message()
    speedup, scope = None, ""
    if result.has_speedup_estimation():
        estimate = result.speedup_estimation()
        speedup, scope = float(estimate["speedup"]), SCOPES.get(estimate["type"], "")
    focus = {str(m["name"]): float(m["value"]) for m in result.focus_metrics()}
    return {
        "rule": result.rule_identifier(),
        "kind": KINDS.get(message["type"], "INF"),
        "title": message["title"] or "",
        "message": (message["message"] or "")[:MOST_TEXT],
        "speedup": speedup if speedup is not None and math.isfinite(speedup) else None,
        "scope": scope,
        "metrics": {name: value for name, value in focus.items() if math.isfinite(value)},
    }


def lines(action: Any) -> list[dict[str, Any]]:
    """The lines that most stall samples fell on, the hottest first; empty without samples."""
    where: dict[tuple[str, int], dict[str, Any]] = {}
    total = 0.0
    for name in action.metric_names():
        reason = name.removeprefix(STALLED)
        if reason == name or reason.endswith("_not_issued") or reason == "selected":
            continue
        metric = action.metric_by_name(name)
        if not metric.has_correlation_ids():
            continue
        places = metric.correlation_ids()
        for i in range(metric.num_instances()):
            samples = float(metric.as_double(i))
            if not samples > 0:
                continue
            total += samples
            address = places.as_uint64(i)
            source = action.source_info(address)
            if source is None:
                continue
            line = where.setdefault((source.file_name(), source.line()), {"samples": 0.0, "stalls": {}, "sass": {}})
            line["samples"] += samples
            line["stalls"][reason] = line["stalls"].get(reason, 0.0) + samples
            line["sass"][address] = line["sass"].get(address, 0.0) + samples
    hottest = sorted(where.items(), key=lambda item: (-item[1]["samples"], item[0]))[:HOTTEST_LINES]
    texts = dict(action.source_files()) if hottest else {}
    return [
        {
            "file": file,
            "line": number_,
            "text": text_of(texts.get(file, ""), number_),
            "share": found["samples"] / total,
            "stall": max(found["stalls"], key=lambda reason: (found["stalls"][reason], reason)),
            "sass": sass(action, found["sass"]),
        }
        for (file, number_), found in hottest
    ]


def sass(action: Any, samples: dict[int, float]) -> list[str]:
    """The hottest instructions of a line."""
    hottest = sorted(samples, key=lambda address: (-samples[address], address))[:HOTTEST_SASS]
    return [" ".join((action.sass_by_pc(address) or "").split()) for address in hottest]


def text_of(file: str, line: int) -> str:
    """One line of a file's text."""
    rows = file.splitlines()
    return rows[line - 1].strip()[:200] if 0 < line <= len(rows) else ""


def main() -> dict[str, Any]:
    """Read the report that the arguments name."""
    path, most, *folders = sys.argv[1:]
    try:
        count = promised(Path(path).read_bytes())
    except ValueError as error:
        return {"error": str(error), "lacks": False}
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.path[:0] = folders
    try:
        import ncu_report
    except (ImportError, FileNotFoundError) as error:
        return {"error": str(error), "lacks": True}
    names = sys.stdin.read().split("\n")
    try:
        report = ncu_report.load_report(path)
        if report is None:
            return {"error": "the reader could not open it", "lacks": False}
        ranges = [report.range_by_idx(i) for i in range(report.num_ranges())]
        actions = [r.action_by_idx(i) for r in ranges for i in range(r.num_actions())]
        if len(actions) < count or not all(action.name() for action in actions):
            return {"error": f"it is damaged: it holds {count} results, and they cannot all be read", "lacks": False}
        return {"kernels": [kernel(action, names) for action in actions[: int(most)]]}
    except Exception as error:  # the edge of this process: whatever the native reader raises, the report is at fault
        return {"error": f"{type(error).__name__}: {error}", "lacks": False}


if __name__ == "__main__":
    sys.path[:] = [p for p in sys.path if p != str(Path(__file__).parent)]
    sys.stdout.write(json.dumps(main()) + "\n")
