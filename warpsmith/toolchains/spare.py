"""A compiler process started ahead of its job: in the same sandbox, warm, and used once.

Of the 0.25 s that NVRTC takes for a small kernel, 0.03 s are the compiling; the rest is the start of the sandbox, the
interpreter and the library. Only a warm judge session asks for spares, and only where it times nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from warpsmith.sandbox import layers
from warpsmith.sandbox.cell import Cell
from warpsmith.sandbox.process import SandboxFailed, adopt, prepare, start
from warpsmith.toolchains.compiler import LIMITS, LOG_LIMIT, TIMEOUT_S, TMP_BYTES, concluded, environment

PREFIX = "warpsmith-spare-"
SOURCES = "sources"
OUTPUT = "output"


@dataclass(frozen=True)
class Kind:
    """What a spare can be used for: equal kinds are interchangeable."""

    argv: tuple[str, ...]
    """The program. It reads the path of a job's file from standard input; its sources lie beside it in ``sources``."""
    reads: tuple[Path, ...]
    folders: tuple[Path, ...]


class Spare:
    """One waiting process, with a folder that it shares with us."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        how = layers().how
        prepare(self.folder, how)
        cell = Cell(
            argv=kind.argv,
            environment=environment("/tmp" if "files" in how.layers else tempfile.gettempdir()),
            cwd="/tmp",
            reads=kind.reads,
            writes=((self.folder, self.folder),),
            folders=kind.folders,
            limits=LIMITS,
            tmp_bytes=TMP_BYTES,
        )
        commands, self._commands = os.pipe()
        try:
            self._process = start(cell, how, stdin=commands, stdout=self._printed, stderr=subprocess.STDOUT)
        finally:
            os.close(commands)

    @property
    def alive(self) -> bool:
        """Whether it still waits."""
        try:
            return self._process.poll() is None
        except SandboxFailed:
            return False

    def compile(self, name: str, sources: Path, job: Mapping[str, object], output: Path) -> str:
        """What it printed over ``job``, whose ``output`` is added here and copied to ``output``. Ends the process.

        Raises as compiler.run does.
        """
        try:
            shutil.copytree(sources, self.folder / SOURCES, copy_function=shutil.copyfile)
            path = self.folder / "job.json"
            path.write_text(json.dumps({**job, "output": str(self.folder / OUTPUT)}))
            for made in (path, *(self.folder / SOURCES).rglob("*"), self.folder / SOURCES):
                made.chmod(0o755 if made.is_dir() else 0o644)
            with contextlib.suppress(BrokenPipeError):  # its end says why
                os.write(self._commands, f"{path}\n".encode())
            status = self._process.wait(TIMEOUT_S)
            if status == 0:
                adopt(self.folder / OUTPUT, output, LIMITS["RLIMIT_FSIZE"])
            log = os.pread(self._printed.fileno(), LOG_LIMIT, 0).decode(errors="replace")
            return concluded(name, status, log, output)
        finally:
            self.close()

    def close(self) -> None:
        """End it, and remove its folder."""
        self._process.end()
        os.close(self._commands)
        self._printed.close()
        shutil.rmtree(self.folder, ignore_errors=True)


_waiting: list[Spare] = []
_wanted: list[Kind] = []


def want(kind: Kind) -> None:
    """Have :func:`ahead` start a spare of that kind from now on, in this process."""
    _sweep()
    if kind not in _wanted:
        _wanted.append(kind)


def ahead() -> None:
    """Start the spares that are wanted and not there."""
    there = [s.kind for s in _waiting]
    _waiting.extend(Spare(kind) for kind in _wanted if kind not in there)


def take(kind: Kind) -> Spare | None:
    """A spare of that kind, which is the caller's from now on; None where there is none."""
    for spare in _waiting:
        if spare.kind == kind:
            _waiting.remove(spare)
            if spare.alive:
                return spare
            spare.close()
            return None
    return None


def _sweep() -> None:
    """Remove the folders of processes that were killed: a session ends that way."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        owner = folder.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
            shutil.rmtree(folder, ignore_errors=True)


def close() -> None:
    """End all spares, and want none."""
    _wanted.clear()
    while _waiting:
        _waiting.pop().close()
