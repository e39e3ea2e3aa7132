"""A coding agent as a proposer: it works in a worktree of its own and hands in through ``submit``.

What it hands in meanwhile the campaign measures at once, since submissions arrive while an ask is under way. When it
ends, what lies in its candidate's folder is proposed too, so an agent that forgot to hand in loses nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from warpsmith.errors import BadInput
from warpsmith.mark import refuse_loop
from warpsmith.model.asks import AskRecord, Usage
from warpsmith.model.base import digest_bytes
from warpsmith.model.candidate import Candidate
from warpsmith.model.step import Proposal, Propose
from warpsmith.model.task import AppTask
from warpsmith.propose import Place
from warpsmith.propose.agent_card import facts, say
from warpsmith.propose.agent_folder import write_candidate
from warpsmith.propose.agent_run import Ended, Job, Running, require, write_mcp_config
from warpsmith.propose.agent_worktree import Worktree, begun, place, prepare
from warpsmith.propose.harness import must_be_writable
from warpsmith.store.folders import CANDIDATE_FILE, load_candidate
from warpsmith.store.history import History

GUIDES = Path(__file__).parent / "agents"
SKILL_FOLDERS = (".claude/skills/warpsmith", ".agents/skills/warpsmith")
"""Where agents look for skills."""


def made(where: Place | None) -> Agent:
    """The proposer of a place. Raises BadInput inside an agent's run, Missing where the agent's program is not here."""
    refuse_loop()
    if where is None:
        raise BadInput("--proposer agent: there is no task here.", "Use --proposer sweep.")
    must_be_writable(where.task, "--proposer agent")
    require(where.settings.agent)
    return Agent(where)


@dataclass(frozen=True)
class Seat:
    """Where an agent works, and what it is started with."""

    tree: Worktree
    job: Job


class Agent:
    """Starts one agent per ask, at a seat of its own unless ``seat`` gives one."""

    name = "agent"

    def __init__(self, where: Place, seat: Callable[[Propose, History], Seat] | None = None) -> None:
        self.where = where
        self.seat = seat or self._own_seat
        self.ended: Ended | None = None
        """How the last agent ended."""
        self._guard = threading.Lock()
        self._running: Running | None = None
        self._closed = False

    def propose(self, step: Propose, history: History) -> Proposal:
        """Let an agent work from ``step.parent``. Raises BadInput or Missing where worktree or agent cannot be had."""
        seat = self.seat(step, history)
        self.ended = ended = self._run(seat.job)
        handed, why = self._left(seat.tree, history.candidates[step.parent])
        fresh = tuple(c for c in handed if c.id not in history.candidates)
        notes = f"{seat.job.agent}: {ended}; worktree {seat.tree.path}{why}"
        return Proposal(candidates=fresh, notes=notes, asks=(account(seat.job, ended),))

    def close(self) -> None:
        """End the agent that is at work, with all that it started."""
        with self._guard:
            self._closed = True
            running = self._running
        if running is not None:
            running.stop()

    def _own_seat(self, step: Propose, history: History) -> Seat:
        where, settings = self.where, self.where.settings
        assert history.campaign is not None
        parent, tag = history.candidates[step.parent], history.campaign.tag
        run = f"{settings.agent_run or default_run(where.task.name, tag)}-{step.round}"
        tree = furnish(where, parent, history, run, tag)
        card = (tree.ours / "card.md").read_text(encoding="utf-8")
        return Seat(tree, job_for(where, tree, run, card))

    def _run(self, job: Job) -> Ended:
        with self._guard:
            if self._closed:
                return Ended("stopped", "", 0.0)
            running = self._running = Running(job)
        try:
            return running.wait()
        finally:
            self._running = None

    def _left(self, tree: Worktree, parent: Candidate) -> tuple[tuple[Candidate, ...], str]:
        """The candidate in the folder, where it is one and not the parent; else why not."""
        try:
            found = load_candidate(tree.work, self.where.blobs, self.where.task)
        except BadInput as error:
            return (), f"; its folder is no candidate: {error.message}"
        listed = {CANDIDATE_FILE, *(s.path for s in found.sources)}
        there = {p.relative_to(tree.work).as_posix() for p in tree.work.rglob("*") if p.is_file()}
        why = f"; not listed in {CANDIDATE_FILE}: {', '.join(left)}" if (left := sorted(there - listed)) else ""
        memo = found.memo or f"[agent] {tree.branch}"
        return (found.model_copy(update={"memo": memo, "parent": parent.id}),) if found.id != parent.id else (), why


def default_run(task: str, tag: str) -> str:
    """A run's name where none is set."""
    return f"{task.replace('/', '-')}-{tag}".replace(".", "-")


def furnish(where: Place, start: Candidate, history: History | None, run: str, tag: str) -> Worktree:
    """A worktree with the candidate to begin with, the card, the guides and the file that attaches our MCP server.

    The one of before where the run has one already. Raises BadInput, Missing.
    """
    settings = where.settings
    trees, captured = where.home / settings.agent_worktrees, isinstance(where.task, AppTask)
    tree = prepare(where.root, where.folder, trees, run, settings.agent_base, captured=captured)
    if tree.start == tree.base:
        write_candidate(start, tree.work, where.blobs)
        tree = begun(tree)
    told = facts(where.task, where.folder, start, history)
    card = say("card.md.j2", **told, run=run, folder=tree.candidate, tag=tag)
    (tree.ours / "card.md").write_text(card, encoding="utf-8")
    (tree.ours / "AGENTS.md").write_text((GUIDES / "AGENTS.md").read_text(encoding="utf-8"), encoding="utf-8")
    place(tree, GUIDES / "skill", *SKILL_FOLDERS)
    write_mcp_config(job_for(where, tree, run, card))
    return tree


def job_for(where: Place, tree: Worktree, run: str, prompt: str, **said: Any) -> Job:
    """The start of an agent in its worktree; ``said`` overrides fields of the job."""
    settings = where.settings
    chosen: dict[str, Any] = {
        "agent": settings.agent, "role": "implementer", "run": run, "prompt": prompt, "folder": tree.folder,
        "mcp_config": tree.ours / "mcp.json", "project": where.root, "log": where.home / "agents" / run / "agent.log",
        "model": settings.agent_model, "effort": settings.agent_effort, "timeout_s": settings.agent_timeout_s,
        "models": tuple(v for k, v in vars(settings).items() if k.startswith("models_")),
    }  # fmt: skip
    return Job(**{**chosen, **said})


def account(job: Job, ended: Ended) -> AskRecord:
    """What an agent says that it spent, as the ledger keeps it. What it does not say is not known: no cost."""
    kinds = ("input", "cache_write", "cache_read", "output")
    usage = Usage(**{k: v for k in kinds if isinstance(v := ended.told.get(k), int) and v >= 0})
    money = ended.told.get("money")
    cost = Decimal(str(money)) if isinstance(money, int | float) and money >= 0 else None
    return AskRecord(
        role="review" if job.role == "reviewer" else "agent",
        model=f"{job.agent} {job.model}".strip(), prompt=digest_bytes(job.prompt.encode()),
        usage=usage, cost=cost, seconds=ended.seconds, error="" if ended.how == "finished" else str(ended),
    )  # fmt: skip
