"""The profilers' reports of a release: which two are asked for, and the check that each has to pass, ours or not.

On a GPU they are Nsight Compute's (what the kernel does) and Nsight Systems' (when). A processor has neither: callgrind
of the candidate stands in for the first, and callgrind of the baseline on the same workload, which shows what changed,
for the second; the manifest says so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from warpsmith.errors import BadReport
from warpsmith.model.candidate import Candidate
from warpsmith.model.release import ProfilerReport
from warpsmith.profilers import callgrind, nsys
from warpsmith.profilers.reports import read_report
from warpsmith.profilers.tools import find

Role = Literal["counters", "timeline"]
Subject = Literal["candidate", "baseline"]
_MOST = 64 << 20
_STANDS_IN = {"counters": "Nsight Compute", "timeline": "Nsight Systems"}


@dataclass(frozen=True)
class Wanted:
    """A report that a release needs."""

    role: Role
    tool: Literal["ncu", "nsys", "cpu"]
    subject: Subject = "candidate"


@dataclass(frozen=True)
class Examined:
    """A report that passed: what the manifest says of it, and its bytes."""

    report: ProfilerReport
    content: bytes


def wanted(hardware: str) -> tuple[Wanted, ...]:
    """The two reports that a task on this hardware needs."""
    if hardware == "cpu":
        return Wanted("counters", "cpu"), Wanted("timeline", "cpu", "baseline")
    return Wanted("counters", "ncu"), Wanted("timeline", "nsys")


def kind_of(path: Path) -> Literal["ncu", "nsys", "cpu"]:
    """Which profiler made a file. Raises BadReport."""
    try:
        with path.open("rb") as file:
            head = file.read(256)
    except OSError as error:
        raise BadReport(f"{path}: {error.strerror}.", "Name a file that can be read.") from None
    if path.suffix == ".ncu-rep":
        return "ncu"
    if path.suffix == ".nsys-rep":
        return "nsys"
    if head.startswith((b"# callgrind format", b"version:")) or b"\nevents:" in head:
        return "cpu"
    raise BadReport(
        f"{path}: no report of a profiler that is known.", "Give .ncu-rep, .nsys-rep, or callgrind's output."
    )


def assign(files: Sequence[Path], asked: Sequence[Wanted]) -> dict[Role, Path]:
    """Which file serves which role, in the order in which they are given. Raises BadReport for one that serves none."""
    found: dict[Role, Path] = {}
    for path in files:
        kind = kind_of(path)
        free = [w.role for w in asked if w.tool == kind and w.role not in found]
        if not free:
            needs = ", ".join(w.tool for w in asked)
            raise BadReport(f"{path}: a report of {kind}, and none is open ({needs} are asked for).", "Leave it out.")
        found[free[0]] = path
    return found


def examine(path: Path, asked: Wanted, candidate: Candidate, made: Literal["here", "elsewhere"]) -> Examined:
    """Read a report as the profiles of this project are read. ``candidate`` is its subject.

    Raises BadReport for one that is broken, empty, or of something else, and Missing where its reader is not here.
    """
    if path.is_file() and path.stat().st_size > _MOST and asked.tool != "nsys":
        raise BadReport(f"{path} has more than {_MOST >> 20} MiB.", "Profile fewer launches.")
    tool, kernels, conditions = _READERS[asked.tool](path, candidate)
    suffix = {"ncu": ".ncu-rep", "nsys": ".nsys-rep", "cpu": ".callgrind"}[asked.tool]
    report = ProfilerReport(
        role=asked.role,
        path=f"profiles/{asked.role}{suffix}",
        tool=tool,
        stands_in_for=_STANDS_IN[asked.role] if asked.tool == "cpu" else "",
        made=made,
        subject=asked.subject,
        kernels=kernels,
        conditions=conditions,
    )
    return Examined(report, path.read_bytes())


Said = tuple[str, tuple[str, ...], tuple[str, ...]]
"""Tool, kernels, conditions."""


def _ncu(path: Path, candidate: Candidate) -> Said:
    names = sorted({launch.kernel for launch in candidate.launch})
    found = read_report(path, names if candidate.toolchain in ("cuda", "ptx") else ())
    if lacking := set(names) - {k.kernel for k in found} if candidate.toolchain in ("cuda", "ptx") else set():
        raise BadReport(f"{path}: the report lacks the kernel {', '.join(sorted(lacking))}.", "Profile every kernel.")
    if empty := [k.kernel for k in found if not k.metrics]:
        raise BadReport(f"{path}: the report has no metrics of {empty[0]}.", "Profile it again.")
    return "ncu", tuple(k.kernel for k in found), ()


def _nsys(path: Path, candidate: Candidate) -> Said:
    if not path.is_file() or not path.stat().st_size:
        raise BadReport(f"{path}: the report is empty or not there.", "Profile it again.")
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "report.sqlite"
        tool = find("nsys")
        nsys.export(tool, path, database)
        timeline = nsys.read_timeline(database)
    kernels = tuple(a.name for a in timeline.activities if a.kind == "kernel")
    names = {launch.kernel for launch in candidate.launch}
    if not kernels or (candidate.toolchain in ("cuda", "ptx") and not any(n in k for n in names for k in kernels)):
        raise BadReport(f"{path}: no kernel of the candidate is on the timeline.", "Trace the candidate.")
    return tool.said, kernels, ()


def _callgrind(path: Path, candidate: Candidate) -> Said:
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        raise BadReport(f"{path}: {error.strerror}.", "Profile it again.") from None
    counts = callgrind.parse(text)
    names = {s.path for s in candidate.sources}
    at = counts.events.index("Ir") if "Ir" in counts.events else 0
    own = sum(
        cost[at] for (file, _), cost in counts.lines.items() if any(file == n or file.endswith(f"/{n}") for n in names)
    )
    if not own or candidate.entry not in counts.functions:
        raise BadReport(
            f"{path}: nothing of the candidate was counted (its entry {candidate.entry!r}, its files"
            f" {', '.join(sorted(names))}).",
            "Profile the candidate with 'warpsmith profile --tool cpu'.",
        )
    return "callgrind", (candidate.entry,), ("counted by simulation, built without AVX-512",)


_READERS = {"ncu": _ncu, "nsys": _nsys, "cpu": _callgrind}
