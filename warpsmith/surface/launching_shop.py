"""Where the rounds of a run happen: an agent's worktree on one side, the campaign that measures on the other.

The implementer is a coding agent, or the model proposer; the reviewer a coding agent, or a model. Whatever is handed in
goes through the campaign's inbox, so the ledger has one writer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from warpsmith.analyse.standing import standing
from warpsmith.campaign import spent
from warpsmith.model.base import digest_bytes, short
from warpsmith.model.campaign import Budget
from warpsmith.model.candidate import Candidate
from warpsmith.model.harness import CommandTask, ServingTask
from warpsmith.model.task import KernelTask
from warpsmith.propose import Place
from warpsmith.propose.agent import Agent, Seat, account, furnish, job_for
from warpsmith.propose.agent_card import facts, say, told
from warpsmith.propose.agent_folder import write_candidate
from warpsmith.propose.agent_run import Ended, Running
from warpsmith.propose.agent_worktree import Worktree
from warpsmith.propose.harness import must_be_writable
from warpsmith.propose.plateau import directives
from warpsmith.propose.review import Implemented, Round, approach_of
from warpsmith.store.history import History, fold
from warpsmith.store.ledger import read_events
from warpsmith.surface.campaigns import place_for, run_campaign
from warpsmith.surface.reviewing import ask_model, note
from warpsmith.surface.workspace import Known, Workspace

MODEL = "model"
"""The reviewer that is a language model: the one of the role review."""
MODEL_PROPOSER = "llm"
"""The implementer that is no agent: the model proposer, one round of the campaign at a time."""
LONGEST_DIFF = 40_000
"""Characters of a patch that a reviewer reads."""


@dataclass(frozen=True)
class Shop:
    """One run of one task; a :class:`review.Workshop`."""

    space: Workspace
    known: Known
    task: KernelTask | CommandTask | ServingTask
    tag: str
    run: str
    agent: str
    reviewer: str
    tree: Worktree
    start: Candidate
    place: Place
    budget: Budget = field(default_factory=Budget)
    """What may be spent, over all rounds; how many there are says the loop."""

    @property
    def folder(self) -> Path:
        """Where the run's plan, rounds and logs are kept."""
        return self.space.home / "agents" / self.run

    @property
    def kept(self) -> str:
        """The commit to go back to."""
        path = self.folder / "kept"
        return path.read_text().strip() if path.is_file() else self.tree.start

    def history(self) -> History:
        """What the campaign knows now; empty before its start."""
        return fold(read_events(self.space.ledger(self.task.name, self.tag)))

    def spent(self) -> str:
        """Which limit of the budget is reached; empty while none is."""
        return spent(self.budget, self.history()) or ""

    def clean(self) -> str:
        """Files that were changed and not committed."""
        return f"{self.tree.path} holds changes: {', '.join(found[:5])}" if (found := self.tree.dirty()) else ""

    def plan(self, version: int, approach: str) -> str:
        """The plan, written beside the card. It says nothing that changes from round to round."""
        fixed = facts(self.task, self.known.loaded.folder, self.start, None)
        text = say("plan.md.j2", **fixed, version=version, approach=approach.strip())
        self._put("plan.md", text)
        return text

    def intact(self, digest: str) -> bool:
        """Whether the plan in the worktree is still the one that was written there."""
        try:
            return digest_bytes((self.tree.ours / "plan.md").read_bytes()) == digest
        except OSError:
            return False

    def contract(self, number: int, limit: int, last: Round | None) -> str:
        """What the round is to do, also put beside the card."""
        h = self.history()
        text = say(
            "contract.md.j2", name=self.task.name, number=number, limit=limit, last=last, best=self.best(h),
            folder=self.tree.candidate, directives=told(directives(h)), model=self.agent == MODEL_PROPOSER,
            approach=approach_of(self.folder),
        )  # fmt: skip
        self._put("contract.md", text)
        return text

    def implement(self, number: int, contract: str) -> Implemented:
        """Let the implementer work while the campaign measures what it hands in, and say what was measured."""
        before, began = self.history(), self.tree.head()
        if self.agent == MODEL_PROPOSER:
            summary = self.by_model(before, contract)
        else:
            card = (self.tree.ours / "card.md").read_text(encoding="utf-8")
            ended = self.once(f"{card}\n\n{contract}", f"{number:02d}/agent.log")
            summary = f"{ended.reply}\n\n(the agent {ended})\n"
        outside, diff, after = self.tree.outside(began), self.tree.diff(began), self.history()
        return Implemented(
            summary=summary, facts=self._facts(before, after), diff=diff, best=self.best(after),
            moved=bool(diff) or bool(made_since(before, after) - {self.start.id}),
            refused=f"files outside of {self.tree.candidate} were changed: {', '.join(outside[:8])}" if outside else "",
        )  # fmt: skip

    def once(self, prompt: str, log: str) -> Ended:
        """Start the agent within the campaign, and commit what it leaves in its candidate's folder."""
        job = job_for(self.place, self.tree, self.run, prompt, agent=self.agent, log=self.folder / log)
        proposer = Agent(self.place, lambda step, history: Seat(self.tree, job))
        run_campaign(self.space, self.known, self.tag, self._one_more(self.history()), proposer=proposer)
        self.tree.commit("warpsmith: the agent ended")
        assert proposer.ended is not None, "a campaign with a round to go asks for it"
        return proposer.ended

    def review(self, text: dict[str, str]) -> str:
        """The reviewer's words. What a reviewer writes into the tree is taken back."""
        diff = text["diff"][:LONGEST_DIFF]
        return self._ask(say("review.md.j2", **{**text, "diff": diff}))

    def approach(self, plan: str, rounds: tuple[Round, ...], stalls: int) -> str:
        """A new approach, by the reviewer."""
        h = self.history()
        known = facts(self.task, self.known.loaded.folder, self.start, h)
        asked = say(
            "replan.md.j2",
            plan=plan,
            rounds=rounds,
            stalls=stalls,
            tried=known["tried"],
            directives=known["directives"],
        )
        return self._ask(asked)

    def undo(self) -> None:
        """Back to the last round that advanced."""
        self.tree.reset(self.kept)

    def keep(self) -> None:
        """Go back to this round from now on."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "kept").write_text(self.tree.head())

    def leader(self, h: History) -> str:
        """The best of a campaign that has begun."""
        return standing(h).best

    def best(self, h: History) -> str:
        """The best of the campaign, as people see it."""
        if h.campaign is None:
            return "the baseline"
        s = standing(h)
        at = "" if s.best == h.campaign.baseline else f", {math.exp(-s.estimates[s.best]):.3f}x the baseline's speed"
        return f"{short(s.best)}{at}"

    def _one_more(self, h: History) -> Budget:
        """The budget with room for one more ask, and no other end than what may be spent."""
        rounds = len(h.proposed) + 1
        return self.budget.model_copy(update={"rounds": rounds, "patience": rounds})

    def by_model(self, before: History, contract: str) -> str:
        """One round of the model proposer, which is told the contract; a new best becomes the worktree's candidate."""
        paragraphs = tuple(p for p in contract.strip().split("\n\n") if p.strip())
        after = run_campaign(self.space, self.known, self.tag, self._one_more(before), contract=paragraphs)
        best = after.candidates[standing(after).best]
        if best.id in made_since(before, after):
            write_candidate(best, self.tree.work, self.space.blobs)
            self.tree.commit("warpsmith: the best of the model")
        notes = [r.notes for r in after.proposed[len(before.proposed) :]]
        return "\n".join([*notes, f"best: {short(best.id)}: {best.memo}"])

    def _facts(self, before: History, after: History) -> str:
        """What was measured of the candidates that came since."""
        known = facts(self.task, self.known.loaded.folder, self.start, after)
        old = {short(x) for x in before.candidates}
        lines = [f"- {t['id']} {t['outcome']}: {t['memo']}" for t in known["tried"] if t["id"] not in old]
        told_best = f"Best before: {self.best(before)}. Best now: {self.best(after)}."
        return "\n".join([told_best, *(lines or ["Nothing new was handed in."])]) + "\n"

    def _ask(self, text: str) -> str:
        """Ask the reviewer, who may look at the worktree; what it changes there is taken back."""
        if self.reviewer == MODEL:
            about = f"run {self.run}"
            return ask_model(self.space, self.space.ledger(self.task.name, self.tag), text, self.budget, about)
        head = self.tree.head()
        said = {"agent": self.reviewer, "role": "reviewer", "model": "", "effort": ""}
        config = self.tree.ours / "mcp-reviewer.json"
        job = job_for(
            self.place, self.tree, self.run, text, log=self.folder / "reviewer.log", mcp_config=config, **said
        )
        ended = Running(job).wait()
        note(self.space.ledger(self.task.name, self.tag), account(job, ended), f"run {self.run}")
        if self.tree.head() != head or self.tree.dirty():
            self.tree.reset(head)
        return ended.reply

    def _put(self, name: str, text: str) -> None:
        (self.tree.ours / name).write_text(text, encoding="utf-8")


def made_since(before: History, after: History) -> set[str]:
    """Candidates that were proposed or handed in since; those of the task's own folder are none."""
    told = ("round ", "submitted")
    return {x for x in after.candidates if x not in before.candidates and after.origins[x].startswith(told)}


def open_shop(
    space: Workspace, name: str, tag: str, run: str, agent: str, reviewer: str, budget: Budget | None = None
) -> Shop:
    """The shop of one task, with its worktree ready. Raises BadInput, Missing."""
    known = space.task(name)
    task = known.loaded.task
    must_be_writable(task, "launch")
    where = place_for(space, known, space.target(known))
    h = fold(read_events(space.ledger(task.name, tag)))
    start = known.entry if h.campaign is None else h.candidates[standing(h).best]
    tree = furnish(where, start, h, run, tag)
    return Shop(space, known, task, tag, run, agent, reviewer, tree, start, where, budget or Budget())
