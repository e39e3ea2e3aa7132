"""compute-sanitizer for candidates of the device contract: the same launcher under a tool, and what its report means.

Candidates have no host code, so nothing of theirs can reach the tool: what it reports is evidence.
"""

from __future__ import annotations

import copy
import shutil
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from warpsmith.errors import Missing
from warpsmith.judge.device import DeviceBench, DeviceRunner
from warpsmith.judge.failures import CandidateFailed, WorkerLost
from warpsmith.judge.launching import LauncherProcess, Under
from warpsmith.model.base import digest_bytes
from warpsmith.model.candidate import Candidate, Launch, Scratch, SourceFile
from warpsmith.model.evaluation import SanitizerFinding
from warpsmith.model.head import Workload
from warpsmith.model.task import Argument, Dtype, KernelTask, Role
from warpsmith.sandbox.process import adopt, prepare
from warpsmith.sandbox.view import tool as seen_by
from warpsmith.toolchains.cache import Built, build

PROGRAM = "compute-sanitizer"
PLANTED = Path(__file__).with_name("planted.cu")
OPTIONS = {
    "memcheck": ("--padding", "512", "--report-api-errors", "no", "--destroy-on-device-error", "kernel"),
    "racecheck": (),
    "initcheck": ("--check-api-memory-access", "no"),
    "synccheck": ("--destroy-on-device-error", "kernel"),
}
"""Padding, since tensors of 512 bytes lie side by side. Calls of the driver are the launcher's business."""
COMMON = ("--xml", "--show-backtrace", "device", "--print-limit", "100", "--require-cuda-init", "no")
CALL_S = 60.0
"""Longest time of one call under a tool."""
LARGEST_REPORT = 16 << 20
PLANT_TASK = KernelTask(
    name="warpsmith/planted",
    title="planted mistakes",
    hardware="cuda",
    contract="device",
    arguments=(
        Argument(name="y", role=Role.output, dtype=Dtype.u8, shape=("N",)),
        Argument(name="N", role=Role.axis),
    ),
    bytes=0,
    workloads=(Workload(name="planted", axes={"N": 1}),),
)


class SanitizedDeviceRunner(DeviceRunner):
    """A runner whose launcher runs under one tool, over tensors of exactly their size."""

    exact = True

    def __init__(self, bench: DeviceBench, task: KernelTask, candidate: Candidate, built: Built, tool: str) -> None:
        super().__init__(bench, task, candidate, built)
        self.tools = (tool,)
        self.folder = bench.scratch / tool
        self.timeout_s = CALL_S
        self.plant = _plant(tool)

    def report(self) -> dict[str, tuple[SanitizerFinding, ...] | str]:
        """Have the launcher make the planted mistake and end it: what the tool found, or why it cannot say."""
        (tool,) = self.tools
        process, trouble = self._process, ""
        if process is not None and not process.ended:
            trouble = self._make_mistake(process)
            process.stop()
        copied = self.folder.with_suffix(".xml")
        if not adopt(self.folder / "report.xml", copied, LARGEST_REPORT):
            return {tool: f"{PROGRAM} left no report"}
        try:
            found = parse(copied.read_bytes())
        except ElementTree.ParseError as error:
            return {tool: f"the report of {PROGRAM} cannot be read: {error}"}
        own = tuple(f for f in found if f.kernel != self.plant.entry)
        if own or len(own) < len(found):
            return {tool: own}
        return {tool: f"it did not report the mistake that the judge planted{trouble}"}

    def _make_mistake(self, process: LauncherProcess) -> str:
        """Launch the plant in the same process, which may end it; what went wrong."""
        bench = self.bench
        built = build(self.plant, PLANTED.parent, bench.target, "sanitized", bench.cache)
        planted = PlantedRunner(bench, PLANT_TASK, self.plant, built, process)
        try:
            planted.restart()
            planted.call(0, {}, timed=False)
        except (CandidateFailed, WorkerLost) as error:
            return f": {error}"
        finally:
            planted.free()
        return ""

    def _launcher(self) -> LauncherProcess:
        """A launcher of its own, under the tool."""
        (tool,) = self.tools
        program = available()
        self.folder.mkdir(parents=True, exist_ok=True)
        prepare(self.folder, self.bench.confined.how)
        argv = (program, "--tool", tool, *COMMON, *OPTIONS[tool], "--save", str(self.folder / "report.xml"))
        return self.bench.gpu.spawn(Under(argv, self.folder, seen_by(program)))


class PlantedRunner(DeviceRunner):
    """The planted mistake in a launcher that is there already."""

    exact = True

    def __init__(
        self, bench: DeviceBench, task: KernelTask, candidate: Candidate, built: Built, process: LauncherProcess
    ) -> None:
        super().__init__(bench, task, candidate, built)
        self.given = process

    def free(self) -> None:
        """Give back the memory, and leave the launcher to whom it belongs."""
        self._let_go()
        self.close()

    def _launcher(self) -> LauncherProcess:
        return self.given


def available() -> str:
    """The path of compute-sanitizer. Raises Missing."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise Missing(f"{PROGRAM} was not found.", "Install the CUDA toolkit, and put its programs on PATH.")
    return program


def sanitized(
    bench: DeviceBench, candidate: Candidate, built: Built, workloads: tuple[Workload, ...], tools: tuple[str, ...]
) -> Iterator[SanitizedDeviceRunner]:
    """A runner for each tool. Raises Missing where there is no compute-sanitizer."""
    available()
    bench = copy.copy(bench)
    bench.flush_bytes = 0  # nothing is timed, and a sweep of the cache takes long under a tool
    task = bench.task.model_copy(update={"workloads": workloads})
    for tool in tools:
        yield SanitizedDeviceRunner(bench, task, candidate, built, tool)


def parse(report: bytes) -> list[SanitizerFinding]:
    """The findings of a report in XML, alike ones counted together. Raises ElementTree.ParseError."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for record in ElementTree.fromstring(report).iter("record"):
        found = _finding(record)
        if found is not None:
            counted[found[:3]] += found[3]
    return [SanitizerFinding(kind=k, kernel=f, location=p, count=n) for (k, f, p), n in counted.items()]


def _finding(record: Any) -> tuple[str, str, str, int] | None:
    """Kind, kernel, place and count of one record; None for what the driver's calls returned."""
    kind, what = record.findtext("kind", ""), record.find("what")
    if what is None or kind in ("Api", "InitcheckApiError"):
        return None
    text = what.findtext("text") or what.findtext("exception") or kind
    if (detail := what.findtext("type")) is not None:
        text = f"{text}: {detail}"
    where = record.find("where")
    count = 1
    if (source := what.find("source")) is not None and (target := what.find("destination")) is not None:
        where = target.find("where")
        ends = (f"{end.findtext('direction', '').lower()} at {_place(end.find('where'))}" for end in (source, target))
        text = f"{text}: {' and '.join(ends)}"
        count = int(target.findtext("count", "1"))
    return text, where.findtext("func", "") if where is not None else "", _place(where), count


def _place(where: Any) -> str:
    """``file:line``, empty where the tool does not say."""
    path = where.findtext("path") if where is not None else None
    return f"{PurePath(path).name}:{where.findtext('line', '0')}" if path else ""


def _plant(tool: str) -> Candidate:
    """The planted mistake for a tool, as a candidate."""
    kernel = f"planted_{tool}"
    return Candidate(
        toolchain="cuda",
        entry=kernel,
        sources=(SourceFile(path=PLANTED.name, content=digest_bytes(PLANTED.read_bytes())),),
        launch=(Launch(kernel=kernel, grid=(1, 1, 1), block=(64, 1, 1), arguments=("scratch",)),),
        scratch=(Scratch(name="scratch", bytes=256),),
    )
