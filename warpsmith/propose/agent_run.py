"""Running a coding agent: its command from a template, its environment, its time-out, and the end of all it started.

Templates are data (``agents/*.toml``). Whatever does not name one is a command of its own; the prompt comes on standard
input, and its words may hold ``{mcp_config}``, ``{folder}``, ``{run}`` and the others of :func:`filled`.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from typing import Any, Literal

from pydantic import Field, ValidationError

from warpsmith.errors import BadInput, Missing
from warpsmith.mark import MARK, PROJECT, AgentRole, mark, refuse_loop
from warpsmith.model.base import Record
from warpsmith.propose.llm.names import rub_out, without_keys

TEMPLATES = Path(__file__).parent / "agents"
GRACE_S = 5.0
"""Between asking the group of a late agent to end and killing it."""
LONGEST_REPLY = 20_000
"""Characters of what an agent said at its end that are kept in a round; its log has the rest."""


class Template(Record):
    """How one agent is called."""

    title: str = ""
    command: tuple[str, ...] = Field(min_length=1)
    model: tuple[str, ...] = ()
    effort: tuple[str, ...] = ()
    implementer: tuple[str, ...] = ()
    reviewer: tuple[str, ...] = ()
    interactive: tuple[str, ...] = ()
    """For a person at a terminal; empty: the same as ``command``."""
    keys: tuple[str, ...] = ()
    """Variables with keys that the agent itself needs."""
    environment: dict[str, str] = {}
    reply: Literal["stdout", "file", "json"] = "stdout"
    """Where its last words are."""
    said: dict[str, str] = Field(default={}, alias="json")
    """Paths in its JSON: ``text``, ``money`` and the kinds of tokens."""


@dataclass(frozen=True)
class Job:
    """One start of one agent."""

    agent: str
    role: AgentRole
    run: str
    prompt: str
    folder: Path
    """Where it starts: the project inside its worktree."""
    mcp_config: Path
    project: Path
    """Whose tasks and ledgers its MCP server works on."""
    log: Path
    """What it wrote, without keys."""
    model: str = ""
    effort: str = ""
    timeout_s: float = 5400.0
    models: tuple[str, ...] = ()
    """Models of the settings: the variables that hold their keys are kept from the agent."""
    start: str = field(default_factory=lambda: secrets.token_hex(6))
    """Tells this start from every other, so that ending it never ends another one's processes."""

    @property
    def mark(self) -> dict[str, str]:
        """What the environment of all that it starts carries."""
        return {**mark(self.role, self.run, self.start), PROJECT: str(self.project)}


@dataclass(frozen=True)
class Ended:
    """How an agent ended."""

    how: Literal["finished", "failed", "timed_out", "stopped"]
    reply: str
    seconds: float
    status: int | None = None
    told: Mapping[str, Any] = field(default_factory=dict)
    """What its JSON says of money and tokens."""

    def __str__(self) -> str:
        with_status = f" with status {self.status}" if self.how == "failed" else ""
        return f"{self.how.replace('_', ' ')}{with_status} after {self.seconds:.0f} s"


def template(agent: str) -> Template:
    """The template that ``agent`` names: one of ours, a ``.toml`` file, or else a command. Raises BadInput."""
    path = TEMPLATES / f"{agent}.toml" if agent.isidentifier() else Path(agent)
    if path.suffix == ".toml" and path.is_file():
        try:
            return Template.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValidationError) as error:
            raise BadInput(f"{path}: no template of an agent: {error}.", "See docs/agents.md.") from None
    try:
        words = shlex.split(agent)
    except ValueError as error:
        raise BadInput(f"--agent: {agent!r} is no command: {error}.", "Quote it as for a shell.") from None
    known = ", ".join(sorted(p.stem for p in TEMPLATES.glob("*.toml")))
    if not words:
        raise BadInput("--agent: nothing is named.", f"Known: {known}; or a command.")
    return Template(title=Path(words[0]).name, command=tuple(words))


def require(agent: str) -> Template:
    """The same, where its program is here. Raises Missing."""
    found = template(agent)
    program = found.command[0]
    if shutil.which(program) is None:
        raise Missing(
            f"the agent's program {program!r} is not here.",
            "Install it, name another with --agent, or use '--proposer sweep', which needs none.",
        )
    return found


def filled(words: Iterable[str], job: Job, reply_file: Path) -> list[str]:
    """``words`` with the values of a job; those that name an empty value are left out. Raises BadInput."""
    server = mcp_server(job)
    values = {
        "mcp_config": str(job.mcp_config),
        "mcp_command": json.dumps(server["command"]),
        "mcp_args": json.dumps(server["args"]),
        "mcp_env": "{" + ", ".join(f"{k}={json.dumps(v)}" for k, v in server["env"].items()) + "}",
        "folder": str(job.folder), "project": str(job.project), "run": job.run, "role": job.role, "model": job.model,
        "effort": job.effort, "reply_file": str(reply_file), "prompt": job.prompt, "opening": OPENING,
    }  # fmt: skip
    made = []
    for word in words:
        try:
            named = [name for _, name, _, _ in Formatter().parse(word) if name is not None]
        except ValueError as error:
            raise BadInput(f"--agent: {word!r}: {error}.", "Write {{ and }} for braces.") from None
        if unknown := [n for n in named if n not in values]:
            raise BadInput(f"--agent: {word!r} names {unknown}.", f"Known: {', '.join(values)}.")
        if all(values[n] for n in named):
            made.append(word.format(**values))
    return made


OPENING = "Read .warpsmith/agent/card.md and do what it says."
"""What a person's agent is told first."""


def command(found: Template, job: Job, reply_file: Path) -> list[str]:
    """The whole command of a job."""
    optional = [*(found.model if job.model else ()), *(found.effort if job.effort else ())]
    by_role = found.reviewer if job.role == "reviewer" else found.implementer
    return filled([*found.command, *optional, *by_role], job, reply_file)


def mcp_server(job: Job) -> dict[str, Any]:
    """How our MCP server is started for an agent: on the project, with the agent's mark."""
    settings = {k: v for k, v in os.environ.items() if k.startswith("WARPSMITH_") or k == "PYTHONPATH"}
    kept = without_keys(settings, job.models)  # some agents pass nothing on by themselves
    return {"command": sys.executable, "args": ["-P", "-m", "warpsmith.surface.cli", "mcp"], "env": kept | job.mark}


def write_mcp_config(job: Job) -> None:
    """Write ``{"mcpServers": ...}``, as most agents read it."""
    said = {"mcpServers": {"warpsmith": {"type": "stdio", **mcp_server(job)}}}
    job.mcp_config.parent.mkdir(parents=True, exist_ok=True)
    job.mcp_config.write_text(json.dumps(said, indent=1) + "\n")


def environment(found: Template, job: Job) -> dict[str, str]:
    """What the agent sees: no key but its own, and the mark of its role."""
    seen = without_keys(os.environ, job.models)
    seen |= {k: os.environ[k] for k in found.keys if k in os.environ}
    return {**seen, **found.environment, **job.mark}


class Running:
    """An agent's process group."""

    def __init__(self, job: Job) -> None:
        refuse_loop()
        self.job = job
        self.template = require(job.agent)
        write_mcp_config(job)
        job.log.parent.mkdir(parents=True, exist_ok=True)
        self._reply = job.log.with_suffix(".reply")
        self._raw = job.log.with_suffix(".raw")
        self._raw.touch(mode=0o600)
        self._began = time.monotonic()
        self._stopped = False
        with self._raw.open("wb") as out, job.log.with_suffix(".errors").open("wb") as errors:
            self._process = subprocess.Popen(
                command(self.template, job, self._reply), cwd=job.folder, env=environment(self.template, job),
                stdin=subprocess.PIPE, stdout=out, stderr=errors, start_new_session=True,
            )  # fmt: skip

    def wait(self) -> Ended:
        """Until the agent ends, or its time is over: then all that it started is ended."""
        assert self._process.stdin is not None
        late = False
        try:
            with suppress(BrokenPipeError):
                self._process.stdin.write(self.job.prompt.encode())
                self._process.stdin.close()
            self._process.wait(self.job.timeout_s)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            self.end()
        status = self._process.returncode
        how: Literal["finished", "failed", "timed_out", "stopped"] = "finished" if status == 0 else "failed"
        how = "timed_out" if late else "stopped" if self._stopped else how
        reply, told = self._said()
        return Ended(how, reply, time.monotonic() - self._began, status, told)

    def stop(self) -> None:
        """End the agent from another thread; :meth:`wait` says that it was stopped."""
        self._stopped = True
        self.end()

    def end(self) -> None:
        """End the agent's group, and whatever left it: everything that carries the mark of this run."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if not _alive(self._process, self.job):
                break
            _signal(self._process.pid, self.job, sign)
            until = time.monotonic() + GRACE_S
            while _alive(self._process, self.job) and time.monotonic() < until:
                time.sleep(0.05)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)

    def _said(self) -> tuple[str, dict[str, Any]]:
        """The agent's last words and what it says it cost; its log is written without keys."""
        hidden = set(os.environ) - set(without_keys(os.environ, self.job.models)) | set(self.template.keys)
        keys = [os.environ[k] for k in hidden if k in os.environ]
        errors = self.job.log.with_suffix(".errors")
        out = rub_out(self._raw.read_text(errors="replace"), keys)
        said = rub_out(errors.read_text(errors="replace"), keys)
        self.job.log.write_text(f"{out}\n--- standard error ---\n{said}")
        told: dict[str, Any] = {}
        reply = out
        if self.template.reply == "file" and self._reply.is_file():
            reply = rub_out(self._reply.read_text(errors="replace"), keys)
        elif self.template.reply == "json":
            told = _read(out, self.template.said)
            reply = str(told.pop("text", "") or out)
        for file in (self._raw, self._reply, errors):
            file.unlink(missing_ok=True)
        return reply.strip()[-LONGEST_REPLY:], told


def _read(out: str, paths: Mapping[str, str]) -> dict[str, Any]:
    """What an agent's JSON says at some paths; nothing where it is none."""
    try:
        said = json.loads(out.strip().splitlines()[-1] if out.strip() else "")
    except ValueError:
        return {}
    found: dict[str, Any] = {}
    for name, path in paths.items():
        value: Any = said
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            found[name] = value
    return found


def _alive(process: subprocess.Popen[bytes], job: Job) -> bool:
    """Whether anything of the agent is left: itself, its group, or what carries its mark."""
    if process.poll() is None or _marked(job):
        return True
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _signal(group: int, job: Job, sign: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, sign)
    for process in _marked(job):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process, sign)


def _marked(job: Job) -> list[int]:
    """Processes that carry this run's mark, whatever group they moved to."""
    wanted = f"{MARK}={job.mark[MARK]}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found
