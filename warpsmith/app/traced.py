"""Observation where the injection library is refused: geometry and times from nsys, or from ncu. No scalars.

The application runs under the profiler as it is; what is known is less, and the answer says so.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import IO, Any, Literal

from warpsmith.app.buckets import Choice, Execution, kernels
from warpsmith.app.running import App, Ended, binaries, run
from warpsmith.errors import BadReport, Missing, ProfilerFailed
from warpsmith.model.observed import Observation, RunFacts
from warpsmith.profilers import ncu, nsys
from warpsmith.profilers.reports import results
from warpsmith.profilers.tools import find

TABLE = "CUPTI_ACTIVITY_KIND_KERNEL"
GRACE_S = 60.0
"""What a profiler may take beyond the application's time, for its report."""
COUNTED = 200
"""Launches that ncu looks at, at most: it runs them one by one."""
TIME = "gpu__time_duration.sum"


def observe(
    app: App, limit_s: float | None, choice: Choice, output: int | IO[bytes] | None, refused: str
) -> Observation:
    """A run under nsys, or under ncu where that fails. Raises Missing, saying why each of the ways does not work."""
    reasons = [f"injection: {refused}"]
    for source, look in (("nsys", _nsys), ("ncu", _ncu)):
        with tempfile.TemporaryDirectory(prefix="warpsmith-observe-") as folder:
            try:
                began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                ran, ended = look(app, limit_s, output, Path(folder))
            except (Missing, BadReport) as error:
                reasons.append(f"{source}: {error.message}")
                continue
        return _observation(app, began, ended, ran, source, choice, refused)
    raise Missing(f"nothing can watch {app.program.name} here: {'; '.join(reasons)}.", "See 'warpsmith doctor'.")


def read_kernels(database: Path) -> list[Execution]:
    """The kernels of a trace that nsys exported to SQLite. Raises BadReport."""
    try:
        with closing(sqlite3.connect(f"file:{database.absolute()}?mode=ro", uri=True)) as connection:
            connection.text_factory = lambda raw: raw.decode(errors="replace")
            columns = {row[1] for row in connection.execute(f"PRAGMA table_info({TABLE})")}
            if not columns:
                return []
            name = "mangledName" if "mangledName" in columns else "demangledName"
            rows = connection.execute(
                f"SELECT s.value, k.gridX, k.gridY, k.gridZ, k.blockX, k.blockY, k.blockZ, k.staticSharedMemory,"
                f" k.dynamicSharedMemory, k.registersPerThread, k.start, k.end,"
                f" {'k.graphNodeId' if 'graphNodeId' in columns else '0'}"
                f" FROM {TABLE} k JOIN StringIds s ON s.id = k.{name} ORDER BY k.start"
            ).fetchall()
    except sqlite3.Error as error:
        raise BadReport(f"{database}: the export cannot be read: {error}.", "Observe again.") from None
    return [
        Execution(
            symbol=str(row[0]), grid=(row[1], row[2], row[3]), block=(row[4], row[5], row[6]), cluster=(1, 1, 1),
            static_bytes=row[7] or 0, dynamic_bytes=row[8] or 0, registers=row[9] or 0,
            seconds=max(0, row[11] - row[10]) / 1e9, by_graph=bool(row[12]),
        )
        for row in rows
    ]  # fmt: skip


def _nsys(
    app: App, limit_s: float | None, output: int | IO[bytes] | None, folder: Path
) -> tuple[list[Execution], Ended]:
    tool = find("nsys")
    report, database = folder / "report.nsys-rep", folder / "report.sqlite"
    command = (*nsys.command(tool, report.with_suffix(""), limit_s), *app.argv)
    ended = _under(app, command, limit_s, output)
    if not report.is_file():
        raise nsys.no_report(tool, report)
    nsys.export(tool, report, database)
    return read_kernels(database), ended


def _ncu(
    app: App, limit_s: float | None, output: int | IO[bytes] | None, folder: Path
) -> tuple[list[Execution], Ended]:
    tool = find("ncu")
    report, log = folder / "report.ncu-rep", folder / "ncu.log"
    ask = ncu.Ask(kernels=(), base="mangled", count=COUNTED, cold=False, only=ncu.TIMES)
    ended = _under(app, (*ncu.command(tool, ask, report.with_suffix(""), log), *app.argv), limit_s, output)
    if not report.is_file():
        why = ncu.complaint(log.read_text(errors="replace") if log.is_file() else "", ask)
        raise why if isinstance(why, Missing | BadReport) else ProfilerFailed(f"{tool.said} left no report.")
    return [_counted(launch) for launch in results(report, COUNTED)], ended


def _counted(launch: dict[str, Any]) -> Execution:
    """One launch as ncu's report says it, with the time that it took under the profiler."""
    raw: dict[str, float] = launch["raw"]
    grid, block = tuple(launch["grid"]), tuple(launch["block"])
    return Execution(
        symbol=str(launch["symbol"]), grid=grid, block=block, cluster=(1, 1, 1),
        static_bytes=int(raw.get("launch__shared_mem_per_block_static", 0)),
        dynamic_bytes=int(raw.get("launch__shared_mem_per_block_dynamic", 0)),
        registers=int(raw.get("launch__registers_per_thread", 0)), seconds=raw.get(TIME, 0.0) / 1e9,
    )  # fmt: skip


def _under(app: App, command: tuple[str, ...], limit_s: float | None, output: int | IO[bytes] | None) -> Ended:
    wrapped = App(command, app.folder, app.environment)
    return run(wrapped, app.environment, limit_s=None if limit_s is None else limit_s + GRACE_S, stdout=output)


def _observation(
    app: App, began: str, ended: Ended, ran: list[Execution], source: str, choice: Choice, refused: str
) -> Observation:
    way: Literal["nsys", "ncu"] = "nsys" if source == "nsys" else "ncu"
    said = [f"seen by {source}, without scalars and buffers, since the injection library was refused: {refused}"]
    if way == "ncu":
        said.append(f"the first {COUNTED} launches were looked at, at most, one by one")
    if not ran:
        said.append("the application launched no kernel")
    facts = RunFacts(
        command=app.argv, folder=str(app.folder), at=began, source=way, status=ended.status, seconds=ended.seconds,
        binaries=binaries(app, []), launches=len(ran), executions=len(ran), device_s=sum(e.seconds for e in ran),
        top=choice.top, cover=choice.cover, ratio=choice.ratio, conditions=tuple(said),
    )  # fmt: skip
    return Observation(run=facts, kernels=kernels(ran, choice))
