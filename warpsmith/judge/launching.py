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
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from warpsmith.judge.failures import OUTPUT_LIMIT, CandidateFailed, WorkerLost, death
from warpsmith.model.evaluation import Status
from warpsmith.toolchains.compiler import ended

LIMITS = {"RLIMIT_FSIZE": OUTPUT_LIMIT, "RLIMIT_CORE": 0, "RLIMIT_NOFILE": 512}
"""No RLIMIT_AS: a CUDA context reserves address space for all memory of all devices."""
ANSWER_LIMIT = 1 << 20
LAUNCHER = Path(__file__).with_name("launcher.py")
_NOT_ITS_DOING = (
    "CUDA_ERROR_ECC_UNCORRECTABLE", "CUDA_ERROR_NVLINK_UNCORRECTABLE", "CUDA_ERROR_DEVICE_UNAVAILABLE",
    "CUDA_ERROR_SYSTEM_NOT_READY", "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "CUDA_ERROR_NO_DEVICE",
)  # fmt: skip
_PASSED = ("LD_LIBRARY_PATH", "CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES")


class LauncherProcess:
    """One launcher. Spawned at once; it says that it is ready on its own time. It touches no files but the cubin."""

    def __init__(self, config: dict[str, Any], program: Path = LAUNCHER) -> None:
        self.ended = False
        self._rest = b""
        self._printed = os.memfd_create("warpsmith-launcher", os.MFD_CLOEXEC)
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        self._child = subprocess.Popen(
            [sys.executable, "-I", str(program), str(commands), str(answers)],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=self._printed,
            stderr=self._printed,
            env=_environment(config["uuid"]),
            pass_fds=(commands, answers),
            start_new_session=True,
        )
        os.close(commands)
        os.close(answers)
        with contextlib.suppress(BrokenPipeError):  # whoever waits for it learns why it ended
            self._send({**config, "parent": os.getpid(), "limits": LIMITS})

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return not self.ended and self._child.poll() is None

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

    def seconds(self, message: dict[str, Any], timeout_s: float, during: str) -> float:
        """Ask for a time. Raises WorkerLost also where it is no positive number."""
        value = self.ask(message, "seconds", timeout_s, during)
        if isinstance(value, float) and math.isfinite(value) and value > 0:
            return value
        self.stop()
        raise WorkerLost(f"the launcher measured {value!r} s {during}")

    def stop(self) -> None:
        """End it and wait until it is gone. Raises WorkerLost where it does not go."""
        self.kill()
        if self._wait(10.0) is None:
            raise WorkerLost(f"the launcher {self._child.pid} did not end within 10 s of SIGKILL")

    def kill(self) -> None:
        """SIGKILL to it and its group, without waiting: a context takes about 60 ms to go."""
        if self.ended:
            return
        self.ended = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, 9)
        for descriptor in (self._commands, self._answers, self._printed):
            os.close(descriptor)

    def _wait(self, timeout_s: float) -> int | None:
        """Its exit status once it ended; None where it did not."""
        return ended(self._child, timeout_s)

    def _send(self, message: dict[str, Any]) -> None:
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
        status = self._wait(5.0) or 0
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


def _environment(uuid: str) -> dict[str, str]:
    """What a CUDA process needs, and one device to see. Lazy loading would put a load into a timed call."""
    said = {name: os.environ[name] for name in _PASSED if name in os.environ}
    if not said.get("CUDA_VISIBLE_DEVICES", "").startswith("MIG"):
        parts = (uuid[:8], uuid[8:12], uuid[12:16], uuid[16:20], uuid[20:])
        said["CUDA_VISIBLE_DEVICES"] = f"GPU-{'-'.join(parts)}"
    fixed = {"CUDA_MODULE_LOADING": "EAGER", "CUDA_CACHE_DISABLE": "1"}
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", **fixed, **said}
