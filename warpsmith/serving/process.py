"""The life of one server: started, ready, under watch, drained, ended with all that it started.

A server is our shim over a backend, a command of another framework, or one that runs already elsewhere. Each of ours
has a keeper (``keeper.py``), which ends the whole tree, also where this process is killed. How it is called lies in
``commands``, how it is asked whether it is ready in ``health``. Raises ServerFailed for what a server does, BadInput
and Missing for what cannot be started.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from warpsmith.errors import BadInput, WarpsmithError
from warpsmith.model.harness import Server
from warpsmith.serving import commands, ports
from warpsmith.serving.health import health
from warpsmith.serving.keeper import descendants
from warpsmith.serving.traced import within

KEEPER = Path(__file__).with_name("keeper.py")
TAIL = 4000
"""Characters of the log that a failure shows."""
LOOK_S = 0.05
"""Between two questions whether a server is ready."""
ENDING_S = 2.0
"""A connection breaks before its server is seen to have ended: so long is looked."""
END_S = 10.0
"""Longest wait for the keeper beyond the time to drain."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


class ServerFailed(WarpsmithError):
    """What a server did wrong: it never became ready, or it ended by itself. ``detail`` ends with the log's tail."""

    exit_status = 1

    def __init__(self, kind: Literal["not_ready", "crashed"], detail: str, log: Path | None = None) -> None:
        super().__init__(detail, f"The whole log: {log}" if log else "")
        self.kind = kind
        self.detail = detail
        self.log = log


@dataclass(frozen=True)
class Stopped:
    """How a server ended."""

    how: Literal["drained", "killed", "gone", "not ours"]
    """``drained``: by itself, once told to. ``killed``: its time was up. ``gone``: it had ended before."""
    status: int | None
    """Its exit status, negative for a signal; None for one that is not ours."""
    seconds: float
    """From being told to end to the end of all that it started."""
    port_free: bool


class Running:
    """One server process with all that it started; or one that is not ours, which is never stopped."""

    def __init__(
        self, server: Server, url: str, log: Path, process: subprocess.Popen[bytes] | None, claim: ports.Claim | None
    ) -> None:
        self.server = server
        self.url = url
        """``http://host:port``, without ``/v1``."""
        self.log = log
        """What it writes to both its streams."""
        self._process = process
        self._claim = claim
        self._stopped: Stopped | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        return urlsplit(self.url).port or (443 if self.url.startswith("https") else 80)

    def wait_ready(self) -> None:
        """Wait until it answers that it is ready. Raises ServerFailed."""
        deadline = time.monotonic() + self.server.ready_s
        while True:
            self.check()
            ready, said = health(self.url)
            if ready:
                return
            if time.monotonic() >= deadline:
                raise self._failed("not_ready", f"the server was not ready after {self.server.ready_s:g} s ({said})")
            self._sleep(min(LOOK_S, max(0.0, deadline - time.monotonic())))

    def check(self) -> None:
        """Raise ServerFailed where it ended by itself, or one that is not ours does not answer."""
        if self._process is None:
            _, said = health(self.url)
            if said.startswith("no answer"):
                raise self._failed("crashed", f"the server at {self.url} is gone ({said})")
        elif self._stopped is not None or (status := self._process.poll()) is not None:
            status = self._stopped.status if self._stopped else status
            raise self._failed("crashed", f"the server ended by itself with {_ended(status)}")

    def ending(self, within_s: float = ENDING_S) -> ServerFailed | None:
        """How it ended by itself, if it does within so long."""
        until = time.monotonic() + within_s
        while True:
            try:
                self.check()
            except ServerFailed as failed:
                return failed
            if time.monotonic() >= until:
                return None
            self._sleep(LOOK_S)

    @property
    def alive(self) -> bool:
        """Whether it has not ended; for one that is not ours, whether it answers."""
        try:
            self.check()
        except ServerFailed:
            return False
        return True

    @property
    def processes(self) -> tuple[int, ...]:
        """The server and all that it started, without the keeper; none for one that is not ours."""
        return () if self._process is None else tuple(descendants(self._process.pid))

    @property
    def resident_bytes(self) -> int:
        """Resident memory of the whole tree (shared pages count once per process); 0 for one that is not ours."""
        return sum(_resident(process) for process in self.processes)

    @property
    def tail(self) -> str:
        """The end of its log."""
        return tail(self.log)

    def stop(self, *, at_once: bool = False) -> Stopped:
        """End it with all that it started: told first, unless ``at_once``, then killed. Safe at any time, and twice."""
        if self._process is None:
            return Stopped("not ours", None, 0.0, port_free=False)
        if self._stopped is None:
            began = time.monotonic()
            gone = self._process.poll() is not None
            if not gone:
                self._end(at_once=at_once)
            status = self._process.returncode
            how: Literal["drained", "killed", "gone"] = "killed" if status == -signal.SIGKILL else "drained"
            if self._claim is not None:
                self._claim.release()
            free = _soon_free(self.port)
            self._stopped = Stopped("gone" if gone else how, status, time.monotonic() - began, free)
        return self._stopped

    def _end(self, *, at_once: bool) -> None:
        assert self._process is not None
        tree = descendants(self._process.pid)
        self._tell(signal.SIGQUIT if at_once else signal.SIGTERM)
        try:
            self._process.wait(END_S if at_once else self.server.drain_s + END_S)
        except BaseException as error:
            self._tell(signal.SIGQUIT)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_S)
            for process in (*descendants(self._process.pid), *(tree if self._process.poll() is None else ())):
                with suppress(OSError):
                    os.kill(process, signal.SIGKILL)
            self._process.kill()
            self._process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise

    def _tell(self, number: int) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _sleep(self, seconds: float) -> None:
        """At most so long: the end of the process is seen at once."""
        if self._process is None or self._process.poll() is not None:
            time.sleep(seconds)
            return
        descriptor = os.pidfd_open(self._process.pid)
        try:
            select.select([descriptor], [], [], seconds)
        finally:
            os.close(descriptor)

    def _failed(self, kind: Literal["not_ready", "crashed"], what: str) -> ServerFailed:
        said = self.tail
        return ServerFailed(kind, f"{what}; its log ends:\n{said}" if said else f"{what}; it wrote nothing", self.log)


def start(
    server: Server,
    workspace: Path,
    environment: Mapping[str, str],
    log: Path,
    port: int = 0,
    model_files: Path | None = None,
) -> Running:
    """Start a server; it need not be ready yet. Raises BadInput for a port that is taken or a program that is not
    there, and Missing where the shim's packages are.

    Args:
        server: What to start.
        workspace: The folder that it runs in, and that its backend is imported from.
        environment: Everything that it sees.
        log: Where both its streams go; written anew.
        port: Where it is to listen; 0: anywhere. Two servers of one machine never get the same.
        model_files: The folder of the model's files, where it has one.
    """
    if server.url:
        return Running(server, server.url.rstrip("/").removesuffix("/v1"), log, None, None)
    if not workspace.is_dir():
        raise BadInput(f"{workspace} is no folder; the server was to run in it.", "Make it, or name another.")
    log.parent.mkdir(parents=True, exist_ok=True)
    shimmed = bool(server.backend)
    claim = ports.bound(port) if shimmed else ports.claimed(port)
    try:
        if shimmed:
            argv = commands.shim(server, workspace, claim.held.fileno(), model_files)
            variables = {**environment, "PYTHONUNBUFFERED": "1", **commands.search_path(environment)}
        else:
            argv = commands.command(server, workspace, claim.port, model_files, environment)
            variables = dict(environment)
        variables, argv = within(variables, argv)
        kept = [sys.executable, "-I", "-S", str(KEEPER), str(os.getpid()), str(server.drain_s), *argv]
        with log.open("wb") as written:
            process = subprocess.Popen(
                kept, cwd=workspace, env=variables, stdin=subprocess.DEVNULL, stdout=written, stderr=written,
                pass_fds=(claim.held.fileno(),) if shimmed else (), start_new_session=True,
            )  # fmt: skip
    except BaseException:
        claim.release()
        raise
    if shimmed:
        claim.release()
    return Running(server, f"http://{ports.HOST}:{claim.port}", log, process, None if shimmed else claim)


def tail(log: Path) -> str:
    """The end of a log; empty where there is none."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
        return file.read().decode(errors="replace").strip()
    return ""


def _resident(process: int) -> int:
    with suppress(OSError, ValueError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE
    return 0


def _soon_free(port: int) -> bool:
    """Whether nobody listens there, at once or within a second."""
    deadline = time.monotonic() + 1.0
    while not (found := ports.free(port)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def _ended(status: int | None) -> str:
    if status is None or status >= 0:
        return f"status {status}"
    with suppress(ValueError):
        return f"signal {signal.Signals(-status).name}"
    return f"signal {-status}"
