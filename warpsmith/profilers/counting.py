"""Nsight Compute on a candidate of the device contract, with what is tried where it cannot do all that was asked.

Every further pass over a kernel needs the memory that it may write to be saved and put back. Where the device's memory
does not suffice for that, every pass is a run of the launcher (application replay); where that fails too, one pass
gives times and launches only.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from warpsmith.errors import BadReport, ProfilerFailed, WarpsmithError
from warpsmith.model.profile import KernelProfile, ProfileEffort
from warpsmith.profilers import ncu
from warpsmith.profilers.launches import Calls
from warpsmith.profilers.reports import read_report
from warpsmith.profilers.tools import TAIL, Tool

_CROWDED = "there is not enough memory to save what the kernel may write"


class Counting:
    """ncu over the calls of one candidate."""

    def __init__(self, tool: Tool, calls: Calls, folder: Path, sources: Mapping[str, str]) -> None:
        self.tool = tool
        self.calls = calls
        self.folder = folder
        self.sources = sources
        self.conditions: list[str] = []
        self.report: Path | None = None

    def count(self, ask: ncu.Ask) -> tuple[KernelProfile, ...]:
        """The kernels of one call. Raises ProfilerFailed, BadReport, Missing and WorkerLost."""
        if not self.calls.crowded:
            try:
                return self._known(ask)
            except ncu.OutOfMemory:
                pass
        try:
            kernels = self._known(replace(ask, rerun=True))
        except (ncu.OutOfMemory, ProfilerFailed, BadReport) as error:
            why = error.message.rstrip(".")
        else:
            self.conditions.append(f"application replay, a process for every pass: {_CROWDED}")
            return kernels
        kernels = self._known(replace(ask, only=ncu.TIMES))
        self.conditions.append(f"one pass, times and launches only: {_CROWDED}, and application replay failed ({why})")
        return kernels

    def _known(self, ask: ncu.Ask) -> tuple[KernelProfile, ...]:
        """One run of ncu, again without the metrics that it does not know."""
        while True:
            try:
                return self._run(ask)
            except ncu.UnknownMetrics as unknown:
                fewer = ncu.without(ask, unknown)
                if fewer is None:
                    raise ProfilerFailed(unknown.message, "Install a newer Nsight Compute.") from None
                ask = fewer
                self.conditions.append(f"this ncu does not know {', '.join(unknown.names)}")

    def _run(self, ask: ncu.Ask) -> tuple[KernelProfile, ...]:
        """One run of ncu."""
        scratch = self.folder / "ncu"
        log, report = scratch / "ncu.log", scratch / "report.ncu-rep"

        def why() -> WarpsmithError | None:
            said = log.read_text(errors="replace") if log.is_file() else ""
            if (named := ncu.complaint(said, ask)) is not None:
                return named
            if not report.is_file():
                tail = f" It printed: {said.strip()[-TAIL:]}" if said.strip() else ""
                return ProfilerFailed(f"ncu left no report.{tail}", "See whether ncu works by hand.")
            return None

        command = ncu.command(self.tool, ask, report.with_suffix(""), log)
        call = self.calls.rerun if ask.rerun else self.calls.under
        call(self.tool, command, scratch, why)
        self.report = Path(shutil.copyfile(report, self.folder / "report.ncu-rep"))
        quick = ask.effort is ProfileEffort.quick or bool(ask.only)
        kernels = read_report(self.report, self.calls.symbols, quick=quick, sources=self.sources)
        if not any(kernel.metrics for kernel in kernels):
            raise BadReport(f"ncu gave no metric of {', '.join(ask.kernels)}.", "Run ncu by hand to see more.")
        return kernels
