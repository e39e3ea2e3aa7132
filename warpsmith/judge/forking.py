"""The judge's end of a fork-server: start it, ask it for workers, and know how they ended. No device library.

Importing torch takes seconds, and a candidate needs a process of its own: so a trusted process loads it once, and each
worker is a fork of that. See forkserver.py for the other end.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from warpsmith.judge.failures import WorkerLost
from warpsmith.sandbox.cell import Cell

SERVER = Path(__file__).with_name("forkserver.py")
START_S = 120.0
"""Longest time for the libraries to be loaded."""
ANSWER_S = 30.0
MESSAGE = 1 << 16


class ForkServer:
    """A warm process that workers are forked from. Loads at once, on its own time; the first request waits for it."""

    def __init__(self, program: Path, preload: tuple[str, ...], paths: tuple[str, ...], environment: dict[str, str]):
        self.log = os.memfd_create("warpsmith-forkserver", os.MFD_CLOEXEC)
        self._channel, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lacking: dict[str, str] | None = None
        with other:
            self._popen = subprocess.Popen(
                [sys.executable, "-I", str(SERVER), str(other.fileno()), str(os.getpid())],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
                env=environment,
                pass_fds=(other.fileno(),),
                start_new_session=True,
            )
        self._send({"paths": paths, "preload": preload, "program": str(program)})

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._channel.fileno() >= 0 and self._popen.poll() is None

    @property
    def lacking(self) -> dict[str, str]:
        """Why a module could not be loaded, by name; waits until loading has ended. Raises WorkerLost."""
        if self._lacking is None:
            self._lacking = dict(self._answer(START_S).get("lacking", {}))
        return self._lacking

    def spawn(self, cell: Cell, plan: dict[str, Any], output: int) -> Forked:
        """The outer process of a sandbox, forked from the server: a ``Spawn`` of sandbox/process.py. Raises WorkerLost,
        also where the server ended meanwhile.
        """
        assert self.lacking is not None
        descriptor = os.memfd_create("sandbox-plan", os.MFD_CLOEXEC)
        null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, json.dumps(plan).encode())
            given = (descriptor, plan["report"], plan["control"], output if output >= 0 else null, *cell.keep)
            answer = self._ask({"fork": cell.environment}, given)
        finally:
            os.close(descriptor)
            os.close(null)
        if "pid" not in answer:
            raise WorkerLost(f"no worker could be forked: {answer.get('error', 'no answer')}")
        return Forked(self, int(answer["pid"]))

    def reap(self, pid: int) -> int | None:
        """The exit status of a fork that ended, as subprocess says it; None where the server is gone."""
        try:
            return int(self._ask({"reap": pid})["status"])
        except (WorkerLost, KeyError):
            return None

    def close(self) -> None:
        """End it; what was forked from it ends as well."""
        if self._channel.fileno() >= 0:
            self._channel.close()
            os.close(self.log)
        self._popen.kill()
        self._popen.wait()

    def _ask(self, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> dict[str, Any]:
        self._send(message, descriptors)
        return self._answer(ANSWER_S)

    def _send(self, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            self._channel.sendmsg([json.dumps(message).encode()], rights)
        except OSError as error:
            raise self._lost(str(error)) from None

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        try:
            ready, _, _ = select.select([self._channel], [], [], timeout_s)
            content = self._channel.recv(MESSAGE) if ready else b""
            answer: dict[str, Any] = json.loads(content)
        except (OSError, ValueError) as error:
            raise self._lost("no answer" if isinstance(error, ValueError) else str(error)) from None
        return answer

    def _lost(self, why: str) -> WorkerLost:
        said = ""
        with contextlib.suppress(OSError):
            size = os.fstat(self.log).st_size
            said = os.pread(self.log, 300, max(0, size - 300)).decode(errors="replace").strip()
        self.close()
        return WorkerLost(f"the fork-server was lost ({why}){f'; it printed: {said}' if said else ''}")


class Forked:
    """A process that a fork-server made. Looks like ``subprocess.Popen`` to the sandbox."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self.server = server
        self.pid = pid
        self.returncode: int | None = None
        self._ended = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        if self.returncode is None and select.select([self._ended], [], [], 0.0)[0]:
            status = self.server.reap(self.pid)
            self.returncode = -signal.SIGKILL if status is None else status  # it dies with its server
            os.close(self._ended)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """A signal, unless it ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._ended, number)
