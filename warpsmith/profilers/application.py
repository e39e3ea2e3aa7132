"""Profiles of any program: headless, bounded in time, its own output on standard error.

Nothing is known of such a program, so nothing is verified, and it runs as the user who asked. ``all`` is one combined
capture: a timeline first, and then the counters of the kernels that led it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from warpsmith.errors import BadInput, BadReport, Missing, ProfilerFailed
from warpsmith.judge.pin import chosen_as
from warpsmith.model.base import digest
from warpsmith.model.profile import KernelProfile, Profile, ProfileEffort
from warpsmith.profilers import callgrind, ncu, nsys
from warpsmith.profilers.cpu import OPTIONS, perf_counters, perf_works
from warpsmith.profilers.reports import read_report
from warpsmith.profilers.tools import Ran, find, run
from warpsmith.serving.traced import marked

AppTool = Literal["ncu", "nsys", "cpu", "all"]
LEADING = 3
"""Kernels of a timeline whose counters a combined capture takes."""
COUNTED = 24
"""Launches that ncu counts, at most."""
GRACE_S = 60.0
"""What a tool may take beyond the program's own time, for starting and for writing its report."""
NO_LIMIT_S = 3600.0
"""Longest time for a program where no duration is given, however much slower counting makes it."""
_STDERR = 2


class Application:
    """One program with its arguments, profiled where and as it is."""

    def __init__(self, argv: Sequence[str], duration_s: float | None, keep: Callable[[Path], str]) -> None:
        """``keep`` stores a report and gives its digest. Raises BadInput for a program that cannot be run."""
        if not argv:
            raise BadInput("no program is named.", "Say it behind --: 'profile -- APP ARGS...'.")
        program = shutil.which(argv[0])
        if program is None:
            raise BadInput(f"{argv[0]} is no program that can be run here.", "Give its path, or put it on PATH.")
        if duration_s is not None and duration_s <= 0:
            raise BadInput(f"--duration: {duration_s:g} is no time.", "Give seconds.")
        self.argv = (program, *argv[1:])
        self.duration_s = duration_s
        self.keep = keep

    def profile(self, tool: AppTool, effort: ProfileEffort) -> Profile:
        """What the tool saw. Raises Missing, ProfilerFailed and BadReport."""
        with tempfile.TemporaryDirectory(prefix="warpsmith-profile-") as folder:
            take = {"ncu": self._counted, "nsys": self._traced, "cpu": self._simulated, "all": self._combined}[tool]
            return take(Path(folder), effort)

    def _traced(self, folder: Path, effort: ProfileEffort) -> Profile:
        tool = find("nsys")
        report, database = folder / "report.nsys-rep", folder / "report.sqlite"
        ran = self._run((*nsys.command(tool, report.with_suffix(""), self.duration_s), *self.argv))
        if not report.is_file():
            raise nsys.no_report(tool, report, ran)
        nsys.export(tool, report, database)
        timeline = nsys.read_timeline(database)
        return self._made(tool.said, effort, ran).model_copy(
            update={"timeline": timeline, "reports": (self.keep(report),)}
        )

    def _counted(self, folder: Path, effort: ProfileEffort, kernels: tuple[str, ...] = ()) -> Profile:
        tool = find("ncu")
        report, log = folder / "report.ncu-rep", folder / "ncu.log"
        ask = ncu.Ask(kernels=kernels, base="function", count=COUNTED, effort=effort, cold=False)
        conditions = [f"the first {COUNTED} launches were counted, at most"]
        while True:
            ran = self._run((*ncu.command(tool, ask, report.with_suffix(""), log), *self._bounded()))
            named = ncu.complaint(log.read_text(errors="replace") if log.is_file() else "", ask)
            fewer = ncu.without(ask, named) if isinstance(named, ncu.UnknownMetrics) else None
            if fewer is None:
                break
            ask = fewer
        if isinstance(named, ncu.OutOfMemory):
            raise ProfilerFailed(named.message, "Name the kernel's smallest problem, or take a timeline: --tool nsys.")
        if named is not None:
            raise named
        if not report.is_file():
            raise ProfilerFailed(f"{tool.said} left no report.{ran.tail}", "See whether ncu works by hand.")
        found = read_report(report, quick=effort is ProfileEffort.quick)
        if ask.without:
            conditions.append(f"this ncu does not know {', '.join(ask.without)}")
        return self._made(tool.said, effort, ran, conditions).model_copy(
            update={"kernels": found, "reports": (self.keep(report),)}
        )

    def _combined(self, folder: Path, effort: ProfileEffort) -> Profile:
        """The timeline, and the counters of the kernels that led it."""
        find("ncu")  # before any time is spent
        traced = self._traced(folder, effort)
        assert traced.timeline is not None
        leading = tuple(a.name for a in traced.timeline.activities if a.kind == "kernel")[:LEADING]
        if not leading:
            raise BadReport("the program launched no kernel while it was traced.", "Give it more time (--duration).")
        counted = self._counted(folder, effort, leading)
        return counted.model_copy(
            update={
                "tool": f"{traced.tool} + {counted.tool}",
                "timeline": traced.timeline,
                "reports": (*traced.reports, *counted.reports),
                "seconds": traced.seconds + counted.seconds,
                "conditions": (*counted.conditions, f"counted: {', '.join(leading)}, which led the timeline"),
            }
        )

    def _simulated(self, folder: Path, effort: ProfileEffort) -> Profile:
        """Counters of the processor where perf may read them; instructions by line, simulated, where it may not."""
        try:
            tool = find("perf")
            perf_works(tool)
        except Missing as refused:
            why = refused.message
        else:
            limit = (self.duration_s or NO_LIMIT_S) + GRACE_S
            counted = perf_counters(tool, self._bounded(), limit, _STDERR)
            kernel = KernelProfile(kernel=Path(self.argv[0]).name, grid=(1, 1, 1), block=(1, 1, 1), metrics=counted)
            return self._made(tool.said, effort, None, ["user code only"]).model_copy(update={"kernels": (kernel,)})
        tool = find("valgrind")
        command = (tool.path, *OPTIONS, "--trace-children=yes", f"--callgrind-out-file={folder / 'callgrind.%p'}")
        ran = self._run((*self._timeout(), *command, *self.argv))
        outputs = [path for path in folder.glob("callgrind.*") if path.stat().st_size]
        if not outputs:
            raise ProfilerFailed(f"{tool.said} left no output.{ran.tail}", "See whether valgrind works by hand.")
        seen = {path: callgrind.parse(path.read_text(errors="replace")) for path in outputs}
        output = max(outputs, key=lambda path: seen[path].total("Ir"))
        kernel = callgrind.profile(seen[output], Path(self.argv[0]).name, {})
        said = [f"counted by simulation; of {len(outputs)} processes the one that did most", f"perf: {why}"]
        return self._made(tool.said, effort, ran, said).model_copy(
            update={"kernels": (kernel,), "reports": (self.keep(output),)}
        )

    def _timeout(self) -> tuple[str, ...]:
        """Ends the program politely when its time is up, so that the tool still writes its report."""
        if self.duration_s is None:
            return ()
        return ("timeout", "--signal=TERM", f"--kill-after={GRACE_S / 4:g}", f"{self.duration_s:g}")

    def _bounded(self) -> tuple[str, ...]:
        return (*self._timeout(), *self.argv)

    def _run(self, argv: tuple[str, ...]) -> Ran:
        limit = (self.duration_s or NO_LIMIT_S) + GRACE_S
        ran = run(argv, timeout_s=limit, environment=marked(os.environ), cwd=os.getcwd(), output=_STDERR)
        if ran.status is None:
            raise ProfilerFailed(f"{Path(argv[0]).name} was still running after {limit:.0f} s, and was ended.", "")
        return ran

    def _made(self, tool: str, effort: ProfileEffort, ran: Ran | None, conditions: Sequence[str] = ()) -> Profile:
        ended = [] if ran is None or ran.status == 0 else [f"the program, or the tool, ended with status {ran.status}"]
        cut = [f"ended after {self.duration_s:g} s"] if self.duration_s is not None else []
        return Profile(
            candidate=digest(["application", *self.argv]),
            tool=tool,
            effort=effort,
            workload=" ".join(self.argv)[:200],
            seconds=ran.seconds if ran else 0.0,
            conditions=(*chosen_as(), *conditions, *cut, *ended),
        )
