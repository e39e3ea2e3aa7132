"""The ``launch`` verb: a worktree, a branch and a card per task, and the agents that work there.

Owns what a person gives on the command line, and tasks side by side; the rounds of one task are the shop's.
"""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from warpsmith.errors import BadInput, WarpsmithError
from warpsmith.mark import refuse_loop

if TYPE_CHECKING:
    from warpsmith.model.asks import Role
    from warpsmith.model.campaign import Budget
    from warpsmith.store.history import History
    from warpsmith.surface import answers_agents
    from warpsmith.surface.launching_shop import Shop

NONE = "none"
ROUNDS = 12
Tell = Callable[[str], None]


def launch(
    *tasks: str,
    agent: str = NONE,
    reviewer: str = NONE,
    max_: int = ROUNDS,
    model: str | None = None,
    effort: str | None = None,
    timeout: float | None = None,
    base: str | None = None,
    worktrees: str | None = None,
    run: str | None = None,
    budget: str = "",
    tag: str = "main",
    tell: Tell | None = None,
) -> answers_agents.LaunchAnswer:
    """Prepare a git worktree, a branch and a card per task for a coding agent, and start it where one is named.

    What agents hand in is measured by the task's campaign. With a reviewer, rounds of work and independent review
    follow a plan: two rounds in a row without progress force a new plan, three end it. Several tasks run side by side.
    Exit status 2 where agents ran and no task has a new best.

    Args:
        tasks: Tasks, by path or group/name.
        agent: none prepares only and says how to start one; claude, codex, a template (.toml), a command, or llm.
        reviewer: Who reviews each round: model (the role review), claude, codex, a command; none starts the agent once.
        max_: Rounds at most.
        model: The agent's model.
        effort: How hard it thinks, in its own words.
        timeout: Seconds that an agent may take; then all that it started is ended. 5400 where nothing is set.
        base: Branch or commit that worktrees begin at; what is checked out where none is given.
        worktrees: Folder of the worktrees.
        run: Name of worktree and branch; after the task and the tag where none is given. The same name goes on with it.
        budget: What each task's campaign may spend, such as money=2,tokens=200000,calls=40,seconds=3600,steps=40: the
            model proposer, the reviewing model and what agents say of themselves together.
        tag: The campaign.
        tell: Called with a line per round.
    """
    from warpsmith.surface.answers_agents import LaunchAnswer

    refuse_loop()
    if not tasks:
        raise BadInput("launch: no task is named.", "Name one or more, as group/name.")
    if agent == NONE and reviewer != NONE:
        raise BadInput("--reviewer: without an agent there is nothing to review.", "Name one with --agent.")
    if max_ < 1:
        raise BadInput(f"--max: {max_} rounds are none.", "Give a number from 1 on.")
    flags: dict[str, object] = {
        "agent_model": model, "agent_effort": effort, "agent_timeout_s": timeout, "agent_base": base,
        "agent_worktrees": worktrees, "agent_run": run, "proposer": "llm" if agent == "llm" else "sweep",
    }  # fmt: skip
    limits = _complain_early(agent, reviewer, flags, budget)
    if agent != NONE and len(tasks) > 1:
        told = {"agent": agent, "reviewer": reviewer, "max": max_, "model": model, "effort": effort, "timeout": timeout}
        told |= {"base": base, "worktrees": worktrees, "run": run, "tag": tag, "budget": budget or None}
        launched = _side_by_side(tasks, told)
    else:
        how = (agent, reviewer, max_, limits, tag, flags, tell or (lambda _: None), len(tasks))
        launched = [_one(task, *how) for task in tasks]
    idle = agent != NONE and not any(one.gained for one in launched)
    return LaunchAnswer(exit_status=2 if idle else 0, launched=tuple(launched))


def _complain_early(agent: str, reviewer: str, flags: dict[str, object], budget: str) -> Budget:
    """The budget. Raises Missing or BadInput before anything is made, where agent or reviewer cannot be had."""
    import os
    from pathlib import Path

    from warpsmith.propose.agent_run import require
    from warpsmith.surface.budgets import budget_of
    from warpsmith.surface.launching_shop import MODEL, MODEL_PROPOSER
    from warpsmith.surface.workspace import Workspace

    settings = Workspace(flags=flags).settings
    limits = budget_of(budget, settings, leave_out=("rounds", "patience"))
    for program, model in ((agent, MODEL_PROPOSER), (reviewer, MODEL)):
        if program not in (NONE, model):
            require(program)
    roles: tuple[Role, ...] = ("propose", "fix", "compact") if agent == MODEL_PROPOSER else ()
    roles += ("review",) if reviewer == MODEL else ()
    if roles:
        from warpsmith.propose.llm.sitting import Keeping, open_asker

        open_asker(settings, limits, Keeping(Path("unused")), os.environ, roles=roles).close()
    return limits


def _one(
    task: str, agent: str, reviewer: str, limit: int, budget: Budget, tag: str, flags: dict[str, object], tell: Tell,
    of: int,
) -> answers_agents.Launched:  # fmt: skip
    """Prepare one task, and let its agent work."""
    from warpsmith.propose.agent import default_run
    from warpsmith.surface.launching_shop import open_shop
    from warpsmith.surface.workspace import Workspace

    space = Workspace(flags=flags)
    named = default_run(space.task(task).loaded.head.name, tag)
    run = space.settings.agent_run or named
    shop = open_shop(space, task, tag, run if of == 1 or run == named else f"{run}-{named}", agent, reviewer, budget)
    if agent == NONE:
        return _said(shop)
    before = set(shop.history().candidates)
    ended, rounds = _work(shop, reviewer, limit, tell)
    after = shop.history()
    gained = after.campaign is not None and shop.leader(after) not in {*before, shop.start.id, after.campaign.baseline}
    told = {"ended": ended, "rounds": rounds, "best": shop.best(after), "gained": gained}
    return _said(shop, **told, kept=str(shop.folder), spent=_spent(after))


def _work(shop: Shop, reviewer: str, limit: int, tell: Tell) -> tuple[str, tuple[Any, ...]]:
    from warpsmith.propose.agent_card import approach
    from warpsmith.propose.review import Round
    from warpsmith.propose.review import run as rounds_of
    from warpsmith.surface.launching_shop import MODEL_PROPOSER

    if why := shop.spent():
        return f"not begun: {why}", ()
    if reviewer == NONE and shop.agent == MODEL_PROPOSER:
        shop.by_model(shop.history(), "")
        return "the model proposer ended its round", ()
    if reviewer == NONE:
        ended = shop.once((shop.tree.ours / "card.md").read_text(encoding="utf-8"), "agent.log")
        if outside := shop.tree.outside(shop.tree.start):
            tell(f"{shop.task.name}: files outside of {shop.tree.candidate} were changed: {', '.join(outside[:8])}")
        return f"the agent {ended}", ()

    def note(decided: Round) -> None:
        tell(f"{shop.task.name}: round {decided.number}: {decided.verdict}: {decided.reason}")

    outcome = rounds_of(shop, shop.folder, approach(shop.task), limit, note)
    return f"ended after {len(outcome.rounds)} rounds: {outcome.why}", outcome.rounds


def _spent(h: History) -> str:
    """What asking cost, in a sentence."""
    from warpsmith.analyse.costs import costs
    from warpsmith.analyse.standing import standing
    from warpsmith.surface.asked import sentence

    return sentence(costs(h, standing(h))) if h.campaign is not None else ""


def _said(shop: Shop, **more: Any) -> answers_agents.Launched:
    from warpsmith.surface.answers_agents import Launched

    tree = shop.tree
    return Launched(
        task=shop.task.name, run=shop.run, tag=shop.tag, worktree=str(tree.path), branch=tree.branch, base=tree.base,
        card=str(tree.ours / "card.md"), commands=_commands(shop), notes=_notes(shop), **more,
    )  # fmt: skip


def _commands(shop: Shop) -> dict[str, str]:
    """How a person starts each agent in the worktree."""
    from pathlib import Path

    from warpsmith.propose.agent import job_for
    from warpsmith.propose.agent_run import TEMPLATES, filled, template

    job = job_for(shop.place, shop.tree, shop.run, "")
    marks = " ".join(f"{k}={shlex.quote(v)}" for k, v in job.mark.items())
    begin = f"cd {shlex.quote(str(shop.tree.folder))} && {marks} "
    found = {path.stem: template(path.stem).interactive for path in sorted(TEMPLATES.glob("*.toml"))}
    return {name: begin + shlex.join(filled(words, job, Path())) for name, words in found.items()}


def _notes(shop: Shop) -> tuple[str, ...]:
    """What differs between the task that is measured and the one that the agent reads."""
    from warpsmith.propose.agent_worktree import git

    changed = git(shop.space.root, "diff", "--name-only", shop.tree.base, "--", str(shop.known.loaded.folder)).split()
    if not changed:
        return ()
    return (f"the task differs from the base in {', '.join(changed[:5])}; the project's is measured, not the base's",)


def _side_by_side(tasks: tuple[str, ...], told: dict[str, Any]) -> list[answers_agents.Launched]:
    """One process per task. Ctrl-C ends them all; what one could not do is raised once all have ended."""
    from warpsmith.surface.answers_agents import Launched

    begun = [_begin(task, told) for task in tasks]
    try:
        answers = [json.loads(process.communicate()[0] or "{}") for process in begun]
    except KeyboardInterrupt:
        for process in begun:
            process.send_signal(signal.SIGINT)
        for process in begun:
            process.wait()
        raise
    failed = [(t, a) for t, a in zip(tasks, answers, strict=True) if "launched" not in a]
    if failed:
        told_of = "; ".join(f"{task}: {a.get('error', 'it ended without an answer')}" for task, a in failed)
        error = WarpsmithError(told_of, failed[0][1].get("remedy", ""))
        error.exit_status = failed[0][1].get("exit_status", WarpsmithError.exit_status)
        raise error
    return [Launched.model_validate(one) for answer in answers for one in answer["launched"]]


def _begin(task: str, told: dict[str, Any]) -> subprocess.Popen[str]:
    from warpsmith.propose.agent import default_run

    own = {**told, "run": f"{told['run']}-{default_run(task.strip('/'), told['tag'])}" if told["run"] else None}
    flags = [word for key, value in own.items() if value is not None for word in (f"--{key}", str(value))]
    argv = [sys.executable, "-P", "-m", "warpsmith.surface.cli", "launch", task, *flags, "--json"]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, start_new_session=True)
