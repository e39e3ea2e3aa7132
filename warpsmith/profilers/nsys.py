"""Nsight Systems: its command line, and the timeline that its SQLite export holds.

The export is a database with a table per kind of activity; one that is missing means that nothing of the kind was seen.
"""

from __future__ import annotations

import sqlite3
import statistics
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from warpsmith.errors import BadReport, ProfilerFailed
from warpsmith.model.profile import Activity, Timeline
from warpsmith.profilers.tools import Ran, Tool, run

EXPORT_S = 60.0
MOST_ACTIVITIES = 40
"""Lines of a timeline that are kept, the longest of each kind first."""
_LIBRARIES = "Install libdw1 and libelf1 (Debian's names) where nsys finds them, such as a folder of LD_LIBRARY_PATH."
_AGAIN = "Profile again; a timeline is made by 'warpsmith profile --tool nsys'."
_DEVICE = {
    "kernel": ("CUPTI_ACTIVITY_KIND_KERNEL", "s.value", "0", "JOIN StringIds s ON s.id = a.shortName"),
    "copy": (
        "CUPTI_ACTIVITY_KIND_MEMCPY", "coalesce(s.label, a.copyKind)", "a.bytes",
        "LEFT JOIN ENUM_CUDA_MEMCPY_OPER s ON s.id = a.copyKind",
    ),
    "fill": ("CUPTI_ACTIVITY_KIND_MEMSET", "'memset'", "a.bytes", ""),
}  # fmt: skip
"""Kind of activity to table, name, bytes and join."""

Span = tuple[str, int, int, int]
"""Name, begin and end in ns, bytes."""


def command(tool: Tool, report: Path, duration_s: float | None = None) -> tuple[str, ...]:
    """What stands before the program: no sampling, since that needs more privileges than a trace.

    ``report`` is without suffix. After ``duration_s`` the program is ended.
    """
    limit = (f"--duration={duration_s:g}", "--kill=sigterm") if duration_s else ()
    quiet = ("--sample=none", "--cpuctxsw=none", "--stats=false", "--show-output=true")
    return (tool.path, "profile", "--trace=cuda,nvtx", *quiet, *limit, "--force-overwrite=true", f"--output={report}")


def export(tool: Tool, report: Path, database: Path) -> None:
    """The SQLite export of a ``.nsys-rep``. Raises ProfilerFailed."""
    ran = run(
        (tool.path, "export", "--type=sqlite", "--force-overwrite=true", f"--output={database}", str(report)),
        timeout_s=EXPORT_S,
    )
    if ran.status != 0 or not database.is_file():
        raise ProfilerFailed(f"nsys export ended with status {ran.status}.{ran.tail}", _LIBRARIES)


def no_report(tool: Tool, report: Path, ran: Ran | None = None) -> ProfilerFailed:
    """Why there is no ``report``: what was collected lies beside it where only the libraries to convert it lack."""
    said = f" It ended with status {ran.status}.{ran.tail}" if ran is not None and ran.status else ""
    if report.with_suffix(".qdstrm").is_file():
        return ProfilerFailed(f"{tool.said} collected a trace and could not make a report of it.{said}", _LIBRARIES)
    return ProfilerFailed(f"{tool.said} left no report.{said}", "See whether nsys works by hand.")


def read_timeline(database: Path) -> Timeline:
    """The timeline in an export. Raises BadReport for a file that is none."""
    try:
        with closing(sqlite3.connect(f"file:{database.absolute()}?mode=ro", uri=True)) as connection:
            connection.text_factory = lambda raw: raw.decode(errors="replace")
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if "StringIds" not in tables:
                raise BadReport(f"{database}: not an export of Nsight Systems: it has no table StringIds.", _AGAIN)
            device = {kind: _spans(connection, tables, *said) for kind, said in _DEVICE.items()}
            calls = _spans(
                connection, tables, "CUPTI_ACTIVITY_KIND_RUNTIME", "s.value", "0", "JOIN StringIds s ON s.id = a.nameId"
            )
    except (sqlite3.Error, ValueError, TypeError, OverflowError) as error:
        raise BadReport(f"{database}: the export cannot be read: {error}.", _AGAIN) from None
    return timeline(device, calls)


def timeline(device: dict[str, list[Span]], calls: list[Span]) -> Timeline:
    """The timeline of what the device did, by kind of activity, and of the calls that asked for it."""
    spans = sorted((begin, end) for found in device.values() for _, begin, end, _ in found)
    activities = [a for kind, found in device.items() for a in _activities(kind, found)]
    activities.sort(key=lambda a: (-a.seconds, a.name))
    called = sorted(_activities("call", calls), key=lambda a: (-a.seconds, a.name))
    kept = (*activities[:MOST_ACTIVITIES], *called[:MOST_ACTIVITIES])
    if not spans:
        return Timeline(seconds=0.0, activities=kept)
    busy, gaps, reached = 0, [], spans[0][0]
    for begin, end in spans:
        if begin > reached:
            gaps.append(begin - reached)
        busy += max(0, end - max(begin, reached))
        reached = max(reached, end)
    whole = reached - spans[0][0]
    return Timeline(
        seconds=whole / 1e9,
        busy=min(1.0, busy / whole) if whole else 0.0,
        gaps=len(gaps),
        longest_gap_s=max(gaps, default=0) / 1e9,
        activities=kept,
    )


def _spans(
    connection: sqlite3.Connection, tables: Iterable[str], table: str, name: str, size: str, join: str
) -> list[Span]:
    if table not in tables:
        return []
    found = connection.execute(f"SELECT {name}, a.start, a.end, {size} FROM {table} a {join} ORDER BY a.start")
    return [(str(n), int(b), max(int(b), int(e)), int(s or 0)) for n, b, e, s in found]


def _activities(kind: str, spans: Sequence[Span]) -> list[Activity]:
    groups: dict[str, list[Span]] = {}
    for span in spans:
        groups.setdefault(span[0], []).append(span)
    made = []
    for name, members in groups.items():
        took = [(end - begin) / 1e9 for _, begin, end, _ in members]
        made.append(
            Activity.model_validate(
                {
                    "kind": kind, "name": name, "count": len(took), "seconds": sum(took),
                    "median_s": statistics.median(took), "longest_s": max(took), "bytes": sum(m[3] for m in members),
                }
            )
        )  # fmt: skip
    return made
