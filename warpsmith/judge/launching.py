"""The judge's end of a launcher's pipes: spawn, ask, and what silence or an end means. No device library.

The launcher is trusted, so an end without a word is a fault; an error of the device during a load or a call is the
candidate's doing, unless the driver names the hardware.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from warpsmith.judge.failures import OUTPUT_LIMIT, CandidateFailed, WorkerLost, death
from warpsmith.judge.nvml import dashed
from warpsmith.model.evaluation import Status
from warpsmith.sandbox import layers
from warpsmith.sandbox.cell import Cell, Mechanism
from warpsmith.sandbox.process import Process, SandboxFailed, start
from warpsmith.toolchains.compiler import toolkits

LIMITS = {"RLIMIT_FSIZE": OUTPUT_LIMIT, "RLIMIT_NOFILE": 512}
"""No RLIMIT_AS: a CUDA context reserves address space for all memory of all devices."""
ANSWER_LIMIT = 1 << 20
REPORT_S = 20.0
"""Longest time for a tool to write its report after the launcher under it has ended."""
LAUNCHER = Path(__file__).with_name("launcher.py")
_IMPORTED = ("__init__.py", "exact.py", "stamps.py")
PARTS = (LAUNCHER.parents[1] / "__init__.py", *(LAUNCHER.with_name(name) for name in _IMPORTED))
"""What the launcher imports of this package."""
_NOT_ITS_DOING = (
    "CUDA_ERROR_ECC_UNCORRECTABLE", "CUDA_ERROR_NVLINK_UNCORRECTABLE", "CUDA_ERROR_DEVICE_UNAVAILABLE",
    "CUDA_ERROR_SYSTEM_NOT_READY", "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "CUDA_ERROR_NO_DEVICE",
)  # fmt: skip
PROFILED = "WARPSMITH_PROFILED"
"""Set by whoever runs the judge under a profiler: launchers inherit the environment, and the evidence says so."""
_FALLBACKS = (
    frozenset[str](),
    frozenset({"syscalls"}),
    frozenset({"syscalls", "processes", "proc", "ipc"}),
    frozenset({"syscalls", "processes", "proc", "ipc", "user", "uid"}),
    frozenset({"syscalls", "processes", "proc", "ipc", "user", "uid", "files", "network", "hostname"}),
)
"""Layers that launchers do without, in the order in which that is tried."""
_PASSED = ("LD_LIBRARY_PATH", "CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES")


@dataclass(frozen=True)
class Under:
    """A tool that a launcher runs under."""

    argv: tuple[str, ...]
    """Its program and options; the launcher's own command line follows."""
    folder: Path
    """Where it leaves its report."""
    folders: tuple[Path, ...]
    """What it needs to see."""
    how: Mechanism | None = None
    """The layers that it works under, where those of other launchers are too many."""
    environment: dict[str, str] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)


class LauncherProcess:
    """One launcher. Spawned at once; it says that it is ready on its own time. It is given no file but the cubin."""

    def __init__(
        self,
        config: dict[str, Any],
        program: Path = LAUNCHER,
        how: Mechanism | None = None,
        under: Under | None = None,
    ) -> None:
        self.ended = False
        self.config = config
        self.transcript: list[dict[str, Any]] | None = None
        """Where messages are noted, once somebody asks for that."""
        self._under = under
        self._rest = b""
        self._is_ready = False
        self._printed = os.memfd_create("warpsmith-launcher", os.MFD_CLOEXEC)
        self._binary = os.memfd_create("warpsmith-cubin", os.MFD_CLOEXEC)
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        packages = (Path(p) / part for p in config.get("paths", ()) for part in ("cuda", "nvidia"))
        cell = Cell(
            argv=(
                *(under.argv if under else ()),
                *(sys.executable, "-I", str(program), str(commands), str(answers)),
            ),
            environment={**environment(config["uuid"]), **(under.environment if under else {})},
            cwd="/",
            reads=(program, *PARTS),
            writes=((under.folder, under.folder),) if under else (),
            folders=(*(p for p in packages if p.is_dir()), *toolkits(), *(under.folders if under else ())),
            limits={**LIMITS, **(under.limits if under else {})},
            keep=(commands, answers, self._binary),
            cuda=True,
        )
        how = Mechanism(frozenset()) if PROFILED in os.environ else (under and under.how) or how or layers().how
        self._child: Process = start(cell, how, stdout=self._printed, stderr=self._printed)
        os.close(commands)
        os.close(answers)
        with contextlib.suppress(BrokenPipeError):  # whoever waits for it learns why it ended
            self._send(config)

    def carry(self, binary: Path | None) -> int:
        """Hand a cubin over; the descriptor that the launcher reads it from, -1 for none."""
        if binary is None:
            return -1
        os.ftruncate(self._binary, 0)
        os.lseek(self._binary, 0, os.SEEK_SET)
        with open(self._binary, "wb", closefd=False) as file:
            file.write(binary.read_bytes())
        return self._binary

    def ready(self, timeout_s: float) -> None:
        """Wait until it has its context, once. Raises as :meth:`wait` does."""
        if not self._is_ready:
            self.wait("ready", timeout_s, "at the start of the launcher")
            self._is_ready = True

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        try:
            return not self.ended and self._child.poll() is None
        except SandboxFailed:
            return False

    def ask(self, message: dict[str, Any], wanted: str, timeout_s: float, during: str) -> Any:
        """Send a message; the value under ``wanted`` of its answer. Raises as :meth:`wait` does."""
        try:
            self._send(message)
        except BrokenPipeError:
            raise self._death("between calls") from None
        return self.wait(wanted, timeout_s, during)

    def wait(self, wanted: str, timeout_s: float, during: str) -> Any:
        """The value under ``wanted`` of the next answer.

        Raises CandidateFailed for silence, a refused plan or an error of the device, and WorkerLost for all else. The
        launcher has ended by then, except after a refusal.
        """
        try:
            answer = json.loads(self._line(timeout_s, during))
        except (ValueError, RecursionError):
            answer = None
        match answer:
            case {"refused": str(why)}:
                raise CandidateFailed(Status.crashed, f"launch plan: {why}")
            case {"cheated": str(why)}:
                self.stop()
                raise CandidateFailed(Status.cheated, f"{why} {during}")
            case {"doubtful": str(why)}:
                self.stop()
                raise WorkerLost(f"{why} {during}")
            case {"error": str(name), "stage": str(stage)}:
                said = self._said()
                self.stop()
                if stage not in ("load", "call") or name in _NOT_ITS_DOING:
                    raise WorkerLost(f"the launcher failed at {stage}: {name} {during}")
                raise CandidateFailed(Status.crashed, f"{name} {during}{said}")
            case dict() if wanted in answer:
                return answer[wanted]
        self.stop()
        raise WorkerLost(f"the launcher gave no answer that can be read {during}")

    def measured(self, message: dict[str, Any], timeout_s: float, during: str) -> tuple[float, str]:
        """Ask for a time: seconds, and why they are in doubt (empty where they are not).

        Raises WorkerLost also where it is no positive number.
        """
        match self.ask(message, "measured", timeout_s, during):
            case {"seconds": float(value), "disturbed": str(why)} if math.isfinite(value) and value > 0:
                return value, why
            case other:
                self.stop()
                raise WorkerLost(f"the launcher measured {other!r} {during}")

    def stop(self) -> None:
        """End it and wait until it is gone. Raises WorkerLost where it does not go.

        Under a tool it is asked to end by itself first: the report is written then.
        """
        if self._under is not None and not self.ended:
            os.close(self._commands)
            self._commands = -1
            with contextlib.suppress(SandboxFailed):
                self._child.wait(REPORT_S)
        self.kill()
        if not self._child.end():
            raise WorkerLost(f"the launcher {self._child.pid} did not end within 10 s of SIGKILL")

    def kill(self) -> None:
        """End it and all that is in its sandbox, without waiting: a context takes about 60 ms to go."""
        if self.ended:
            return
        self.ended = True
        self._child.kill()
        for descriptor in (self._commands, self._answers, self._printed, self._binary):
            if descriptor >= 0:
                os.close(descriptor)

    def _send(self, message: dict[str, Any]) -> None:
        if self.transcript is not None:
            self.transcript.append(message)
        os.write(self._commands, (json.dumps(message) + "\n").encode())

    def _line(self, timeout_s: float, during: str) -> bytes:
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self.stop()
                raise CandidateFailed(Status.timed_out, f"no answer within {timeout_s:g} s {during}")
            piece = os.read(self._answers, 1 << 16)
            if not piece or len(self._rest) > ANSWER_LIMIT:
                raise self._death(during)
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _death(self, during: str) -> Exception:
        status = self._child.wait(5.0) or 0
        said = self._said()
        self.stop()
        if status >= 0:
            return WorkerLost(f"the launcher ended with exit status {status} {during}{said}")
        error = death(status, during)
        return CandidateFailed(error.status, error.detail + said) if isinstance(error, CandidateFailed) else error

    def _said(self) -> str:
        """The end of what it printed (a kernel's printf lands there too)."""
        length = min(300, os.fstat(self._printed).st_size)
        text = os.pread(self._printed, 300, os.fstat(self._printed).st_size - length).decode(errors="replace").strip()
        return f"; it printed: {text}" if text else ""


@dataclass(frozen=True)
class Confined:
    """What launchers run under on a device, and how the evidence says it."""

    how: Mechanism
    said: str


_confined: dict[tuple[str, str], Confined] = {}


def confined(config: dict[str, Any], handle: str, timeout_s: float) -> Confined:
    """The most layers under which a launcher makes its context here and maps a buffer of the judge's.

    ``handle`` is that of any such buffer. Tried once per device; raises WorkerLost where not even limits do.
    """
    return strongest("launcher", config["uuid"], lambda how: _refuses(config, how, handle, timeout_s))


def strongest(
    what: str, uuid: str, refuses: Callable[[Mechanism], str | None], best: Mechanism | None = None
) -> Confined:
    """The most layers, from ``best`` (default: all that hold here) down, under which ``refuses`` has nothing to say.

    Tried once per device and kind of process; raises WorkerLost where not even limits will do.
    """
    if (what, uuid) not in _confined:
        best = best or layers().how
        reasons: list[str] = []
        for without in _FALLBACKS:
            how = Mechanism(best.layers - without, best.bubblewrap)
            if (reason := refuses(how)) is None:
                held = ", ".join(name for name in layers().holding if name in how.layers)
                lost = f"; LACKING: {', '.join(sorted(without & best.layers))} ({reasons[-1]})" if reasons else ""
                more = f"; {lacking}" if (lacking := layers().said.partition("; ")[2]) else ""
                _confined[what, uuid] = Confined(how, f"{held or 'none'}{lost}{more}")
                break
            reasons.append(reason)
        else:
            raise WorkerLost(f"no {what} can be started: {reasons[-1]}")
    return _confined[what, uuid]


def _refuses(config: dict[str, Any], how: Mechanism, handle: str, timeout_s: float) -> str | None:
    """Why a launcher does not work under these layers; None where it does."""
    during = "while the sandbox was tried"
    process = LauncherProcess(config, how=how)
    load = {"do": "load", "binary": -1, "kernels": [], "flush_bytes": 0, "overhead_ns": 0}
    prepare = {"do": "prepare", "workload": 0, "buffers": {"probe": (handle, 0)}, "scratch": {}, "launches": []}
    try:
        process.ready(timeout_s)
        process.ask(load, "loaded", timeout_s, during)
        process.ask(prepare, "prepared", timeout_s, during)
    except (CandidateFailed, WorkerLost, SandboxFailed) as error:
        return str(error)
    finally:
        process.stop()
    return None


def environment(uuid: str) -> dict[str, str]:
    """What a launcher needs, and one device to see. Lazy loading would put a load into a timed call. It has one stream,
    and a context with one queue is made in 0.05 s instead of 0.14 and ended in 0.02 instead of 0.055.
    """
    said = dict(os.environ) if PROFILED in os.environ else {}  # a profiler reaches its target through the environment
    fixed = {"CUDA_MODULE_LOADING": "EAGER", "CUDA_CACHE_DISABLE": "1", "CUDA_DEVICE_MAX_CONNECTIONS": "1"}
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", **fixed, **said, **device_environment(uuid)}


def device_environment(uuid: str) -> dict[str, str]:
    """How a process finds the driver, and the one device that it is to see."""
    said = {name: os.environ[name] for name in _PASSED if name in os.environ}
    if not said.get("CUDA_VISIBLE_DEVICES", "").startswith("MIG"):
        said["CUDA_VISIBLE_DEVICES"] = f"GPU-{dashed(uuid)}"
    return said
