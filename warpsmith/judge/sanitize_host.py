"""AddressSanitizer and UndefinedBehaviorSanitizer for C candidates: the worker, and what its report means.

The worker is a native program (sanitized.c) that the candidate's own compiler makes, so that the sanitizers' runtime is
there from the start whatever compiler it is. It is no defence against malice: a candidate shares a process with its
sanitizers, and could silence them. It finds the mistakes of honest authors.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from warpsmith.errors import Missing
from warpsmith.judge.arena import Arena
from warpsmith.judge.failures import OUTPUT_LIMIT
from warpsmith.judge.host import HostBench
from warpsmith.judge.hostcalls import HostRunner
from warpsmith.judge.native import serve_loop
from warpsmith.judge.plan import scalar_bytes
from warpsmith.judge.sanitize import HOST_TOOLS
from warpsmith.model.base import digest
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import SanitizerFinding
from warpsmith.model.task import Dtype, KernelTask, Role
from warpsmith.sandbox.cell import Cell
from warpsmith.toolchains import toolchain
from warpsmith.toolchains.c import SANITIZERS, compiler
from warpsmith.toolchains.cache import Built
from warpsmith.toolchains.compiler import run, said_by

PROGRAM = Path(__file__).with_name("sanitized.c")
PLANT = 255
"""The command on which the program makes its planted mistakes."""
PLANTED = {"address": "planted_over_read", "undefined": "planted_overflow"}
"""By tool the function of the program that makes a mistake of its kind."""
PLANT_S = 20.0
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:color=never:symbolize=1",
    "UBSAN_OPTIONS": "halt_on_error=0:print_stacktrace=1:color=never:symbolize=1",
}
"""No search for leaks: it needs ptrace, which the sandbox refuses."""
_ADDRESS = re.compile(r"^==\d+==ERROR: AddressSanitizer: (.+)$")
_UNDEFINED = re.compile(r"^(?:\S*/)?([^/\s:]+:\d+)(?::\d+)?: runtime error: (.+)$")
_FRAME = re.compile(
    r"^\s+#\d+ 0x[0-9a-f]+ (?:in (\S+) )?(?:\(?(?:\S*/)?([^/\s)]+?(?::\d+|\+0x[0-9a-f]+))(?::\d+)?\)?)?"
)
_RUNTIME = re.compile(r"__interceptor_|__asan|__ubsan|__sanitizer|operator ")
_ACCESS = re.compile(r"^(READ|WRITE) of size (\d+)|caused by a (READ|WRITE) memory access")
_WHERE = re.compile(r"( on)?( unknown)?( address)? 0x[0-9a-f]+.*$")
_NUMBER = re.compile(r" 0x[0-9a-f]+\b")


class SanitizedHostRunner(HostRunner):
    """A runner whose worker is the sanitized program. Raises BuildFailed where the compiler cannot make that."""

    def __init__(
        self,
        bench: HostBench,
        task: KernelTask,
        candidate: Candidate,
        built: Built,
        folder: Path,
        tools: tuple[str, ...] = HOST_TOOLS,
    ) -> None:
        self.tools = tools
        arenas = [Arena(task, w, bench.numeric) for w in task.workloads]
        super().__init__(bench, task, arenas, candidate, built, folder)
        self.program = program(bench.cache)
        self.loop = serve_loop(task, self.scratch, bench.target, bench.cache)

    def report(self) -> dict[str, tuple[SanitizerFinding, ...] | str]:
        """Have the worker make its planted mistakes and end it: by tool what it found, or why it cannot say."""
        if self.worker is not None:
            self.worker.finish(bytes([PLANT]), PLANT_S)
        try:
            with (self.scratch / "printed").open("rb") as printed:
                found = parse(printed.read(OUTPUT_LIMIT).decode(errors="replace"))
        except FileNotFoundError:
            return dict.fromkeys(self.tools, "it was not started")
        return {tool: _without_plant(tool, found[tool]) for tool in self.tools}

    def close(self) -> None:
        """End the worker and give back its memory."""
        super().close()
        for arena in self.arenas:
            arena.close()

    def _cell(self, config: Path, keep: tuple[int, ...]) -> Cell:
        """The program instead of Python, without a limit of address space: shadow memory takes terabytes of it."""
        lines = self._lines(*keep[:2])
        config = config.with_suffix(".txt")
        config.write_text("\n".join(lines) + "\n")
        cell = super()._cell(config, keep)
        folders, environment = _runtime()
        return replace(
            cell,
            argv=(str(self.program), str(config)),
            environment={**cell.environment, **OPTIONS, **environment},
            reads=(self.program, config, self.built.binary, self.loop.binary),
            folders=folders,
            limits={name: value for name, value in cell.limits.items() if name != "RLIMIT_AS"},
        )

    def _lines(self, commands: int, answers: int) -> list[str]:
        """The configuration, as sanitized.c reads it."""
        task = self.task
        said = [str(self.built.binary), self.candidate.entry, str(self.loop.binary)]
        said += [f"{commands} {answers} {task.alignment}", f"{len(task.workloads)} {len(task.arguments)}"]
        for workload, arena in zip(task.workloads, self.arenas, strict=True):
            said.append(f"{arena.descriptor} {arena.size}")
            for argument in task.arguments:
                if argument.is_tensor:
                    region = arena.regions[argument.name]
                    kind = "i" if argument.role is Role.input else "o"
                    said.append(f"{kind} {region.offset} {region.bytes} 0")
                    continue
                axis = argument.role is Role.axis
                value = workload.axes[argument.name] if axis else task.scalar(argument, workload)
                assert value is not None  # the task's own validation
                content = scalar_bytes(Dtype.i64 if axis else argument.element, value)
                said.append(f"v 0 {len(content)} {int.from_bytes(content, 'little'):x}")
        return said


def program(cache: Path) -> Path:
    """The sanitized program, made once per compiler. Raises BuildFailed (no sanitizers here) or Missing."""
    name = digest([PROGRAM.read_text(), toolchain("c").version(), SANITIZERS])[:32]
    made = cache / "programs" / name
    if not made.is_file():
        made.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=made.parent) as scratch:
            output = Path(scratch) / "sanitized"
            flags = ("-O1", "-g", "-fno-omit-frame-pointer", "-std=gnu17", *SANITIZERS)
            run((compiler(), *flags, "-o", str(output), str(PROGRAM), "-ldl"), PROGRAM.parent, output)
            output.chmod(0o755)
            os.replace(output, made)
    return made


def available() -> str:
    """Where the runtime of AddressSanitizer lies. Raises Missing where the compiler comes without it."""
    printed = said_by((compiler(), "-print-file-name=libasan.so")).strip()
    if not os.path.isabs(printed):
        printed = said_by((compiler(), "-print-file-name=libclang_rt.asan-x86_64.a")).strip()
    if not os.path.exists(printed):
        raise Missing(
            f"{compiler()} comes without AddressSanitizer.",
            "Install the sanitizer libraries of the compiler (libasan).",
        )
    return os.path.realpath(printed)


def parse(text: str) -> dict[str, list[SanitizerFinding]]:
    """The findings in what a worker printed, by tool, alike ones counted together."""
    found: dict[str, Counter[tuple[str, str, str]]] = {tool: Counter() for tool in HOST_TOOLS}
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if said := _ADDRESS.match(line):
            kind, function, place = _address(said[1], lines[number + 1 :])
            found["address"][kind, function, place] += 1
        elif said := _UNDEFINED.match(line):
            function, _ = _first_frame(lines[number + 1 : number + 8])
            found["undefined"][_NUMBER.sub("", said[2]), function, said[1]] += 1
    return {
        tool: [SanitizerFinding(kind=k, kernel=f, location=p, count=n) for (k, f, p), n in counted.items()]
        for tool, counted in found.items()
    }


def _address(said: str, following: list[str]) -> tuple[str, str, str]:
    """Kind, function and place of one error of AddressSanitizer."""
    kind = _WHERE.sub("", said).rstrip(":")
    for line in following:
        if _FRAME.match(line):
            break
        if access := _ACCESS.search(line):
            size = f" of {access[2]} bytes" if access[2] else ""
            kind += f": {(access[1] or access[3]).lower()}{size}"
            break
    return kind, *_first_frame(following)


def _first_frame(lines: list[str]) -> tuple[str, str]:
    """Function and place of the innermost frame that is not the sanitizer's own; empty where there is none."""
    begun = False
    for line in lines:
        frame = _FRAME.match(line)
        if frame is None and begun:
            break
        begun = begun or frame is not None
        if frame and not _RUNTIME.match(frame[1]):
            place = re.match(r"[^:]+:\d+", frame[2])
            return frame[1], place[0] if place else ""
    return "", ""


def _without_plant(tool: str, found: list[SanitizerFinding]) -> tuple[SanitizerFinding, ...] | str:
    own = tuple(f for f in found if f.kernel != PLANTED[tool])
    if own or len(own) < len(found):
        return own
    return "it did not report the mistake that the judge planted"


def _runtime() -> tuple[tuple[Path, ...], dict[str, str]]:
    """Folders that the runtime needs beside the system's own, and the variable that says so to the loader."""
    with contextlib.suppress(Missing):
        folder = Path(available()).parent
        if not folder.is_relative_to("/usr"):
            return (folder,), {"LD_LIBRARY_PATH": str(folder)}
    return (), {}
