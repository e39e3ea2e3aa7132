"""The proposer ``llm``: a model writes candidates, or mends those that failed. History in, candidates out.

What a reply lacks is told back in the same conversation, and asked for again; what a measurement finds comes with the
history, as an ask whose parent is the candidate that failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock

from warpsmith.analyse.lines import tries
from warpsmith.analyse.standing import Standing, standing
from warpsmith.errors import BadInput
from warpsmith.knowledge.recall import attempts_of
from warpsmith.knowledge.skill import Skill, load_for
from warpsmith.model.base import short
from warpsmith.model.campaign import Campaign
from warpsmith.model.candidate import Candidate
from warpsmith.model.profile import Diagnosis, Profile
from warpsmith.model.step import Compacted, Draft, Proposal, Propose
from warpsmith.propose import Place
from warpsmith.propose.agent_card import asked_for
from warpsmith.propose.harness import must_be_writable
from warpsmith.propose.llm import facts, prompt
from warpsmith.propose.llm.asking import Ask, AskError, Block, BudgetSpent, Message, Sitting, said
from warpsmith.propose.llm.memory import Memory, line
from warpsmith.propose.llm.prompt import Part
from warpsmith.propose.llm.reply import UNTAGGED, Reply, parse
from warpsmith.propose.llm.tokens import estimate
from warpsmith.propose.llm.writing import writing
from warpsmith.store.folders import CANDIDATE_FILE
from warpsmith.store.history import History

REPLIES = 3
"""Replies that one ask may take: what cannot be used is told back so often."""
STUCK = 2
"""Rounds in a row without a new best after which a change of the structure is asked for."""


def made(place: Place | None) -> Llm:
    """The proposer of a place. Raises BadInput where no models can be asked."""
    return Llm(with_models(place))


def with_models(place: Place | None) -> Place:
    """The place, where a model can be asked there. Raises BadInput where none can."""
    if place is None or place.asker is None:
        raise BadInput("--proposer llm: no model can be asked here.", "Use --proposer sweep.")
    must_be_writable(place.task, "--proposer llm")
    return place


@dataclass
class _Read:
    """What one reply came to."""

    candidates: list[Candidate] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Llm:
    """Asks a model. One per campaign and process; its asks run side by side."""

    name = "llm"

    def __init__(self, place: Place, *, tunes: bool = False) -> None:
        self.place = place
        self.tunes = tunes
        self.memory = Memory(place.settings.memory_tokens)
        self.writing = writing(place)
        self._system: dict[str, tuple[Block, ...]] = {}
        """The cached blocks, by scope."""
        self._keys: dict[str, str] = {}
        """Candidate to what makes it a clone of another."""
        self._lock = Lock()

    def propose(self, step: Propose, history: History) -> Proposal:
        """At most ``step.count`` candidates. Raises AskError where the model cannot be asked."""
        return self.answer(step, history, step.count)

    def answer(self, step: Propose, history: History, count: int) -> Proposal:
        """The same for another number of candidates than the step asks for."""
        assert self.place.asker is not None
        sitting = self.place.asker.sitting(step, history)
        asking = _Asking(self, step, history, count, sitting)
        try:
            candidates = asking.converse()
        except BudgetSpent as spent:
            return asking.proposal((), spent.message, spent)
        return asking.proposal(tuple(candidates), asking.summary)

    def system(self, asking: _Asking) -> tuple[Block, ...]:
        """The cached blocks of the run: made at its first ask, and the same bytes ever after."""
        with self._lock:
            scope = asking.campaign.scope
            if scope not in self._system:
                self._system[scope] = self._make_system(asking)
            return self._system[scope]

    def _make_system(self, asking: _Asking) -> tuple[Block, ...]:
        place, c, h = self.place, asking.campaign, asking.history
        attempts = [
            a
            for a in place.library.tasks().get(c.task_name, ())
            if not (a.tag == c.tag and a.device == c.target.device)
        ]
        past, compacted = self.memory.past(attempts, h, asking.compact)
        asking.compacted += compacted
        lines = tuple(said for text in past for said in text.splitlines())
        return self.writing.system(h.candidates[c.entry], c, lines, tunes=self.tunes)

    @cached_property
    def skills(self) -> Mapping[str, Skill]:
        """The library of skills."""
        return self.place.library.skills

    def key(self, given: Candidate) -> str:
        """What makes a candidate a clone of another."""
        if given.id not in self._keys:
            self._keys[given.id] = self.writing.key(given)
        return self._keys[given.id]


class _Asking:
    """One ask of a step: what is said, and how the replies are read."""

    def __init__(self, llm: Llm, step: Propose, history: History, count: int, sitting: Sitting) -> None:
        assert history.campaign is not None
        self.llm, self.step, self.history, self.count, self.sitting = llm, step, history, count, sitting
        self.campaign: Campaign = history.campaign
        self.place = llm.place
        self.parent = history.candidates[step.parent]
        self.writing = llm.writing
        self.files = self.writing.files(self.parent)
        self.drafts: list[Draft] = []
        self.compacted: list[Compacted] = []

    @cached_property
    def standing(self) -> Standing:
        """The opinion on the history."""
        return standing(self.history)

    @property
    def summary(self) -> str:
        """What the ledger says of the conversation, in a line."""
        told = [p for d in self.drafts for p in d.problems]
        return f"told back {sum(bool(d.problems) for d in self.drafts)} times: {told[0]}" if told else ""

    def proposal(self, candidates: tuple[Candidate, ...], notes: str, spent: BudgetSpent | None = None) -> Proposal:
        """The outcome of the step."""
        return Proposal(
            candidates=candidates,
            notes=notes,
            short_of=spent.limit if spent else None,
            asks=self.sitting.asks,
            drafts=tuple(self.drafts),
            compacted=tuple(self.compacted),
        )

    def compact(self, before: str, attempts: str) -> str:
        """Have the cheap model compact some attempts."""
        ask = Ask(
            role="compact",
            system=(Block(name="rules", text=prompt.render("compact"), stable=True),),
            messages=(said("user", prompt.render("compacting", before=before, attempts=attempts), "attempts"),),
            max_tokens=2000,
        )
        try:
            return self.sitting.ask(ask).text
        except BudgetSpent:
            raise
        except AskError:
            return ""  # it is in the account; the attempts stand in full, and are cut to fit

    def converse(self) -> list[Candidate]:
        """Ask until a reply can be used, at most ``REPLIES`` times; none where none can. Raises AskError."""
        system = self.llm.system(self)
        used = sum(estimate(b.text) for b in system)
        parts, order = self._said()
        messages: list[Message] = [prompt.user(parts, order, used, self.place.settings.prompt_tokens)]
        for _ in range(REPLIES):
            reply = self.sitting.ask(Ask(role=self.step.role, system=system, messages=tuple(messages)))
            read = self.read(reply.text, truncated=reply.truncated)
            self._draft(reply.text, read)
            if read.candidates:
                return read.candidates
            again = prompt.render("again", problems=read.problems)
            messages += [said("assistant", reply.text.strip() or "(nothing)"), said("user", again, "problems")]
        return []

    def read(self, text: str, *, truncated: bool = False) -> _Read:
        """The candidates of a reply, or what is wrong with it."""
        found = _Read()
        for number, one in enumerate(parse(text, (*self.files, CANDIDATE_FILE))[: self.count]):
            problems, notes, given = self._one(one, found.candidates)
            found.notes += notes
            if given is not None and not problems:
                found.candidates.append(given)
            else:
                found.problems += [f"candidate {number + 1}: {p}" for p in problems] if self.count > 1 else problems
        if truncated and not found.candidates:
            found.problems.insert(0, "It was cut before its end. Write less prose, and shorter files.")
        return found

    def _one(self, one: Reply, before: Sequence[Candidate]) -> tuple[list[str], list[str], Candidate | None]:
        """Problems, notes, and the candidate where one could be made."""
        one.files, mended = self.writing.mended(one.files)
        notes = [*mended, *(["prose outside of the files was left out"] if one.prose.strip() else [])]
        problems = _form(one)
        given: Candidate | None = None
        if not problems:
            try:
                given, told = self.writing.candidate(one, self.parent)
                notes += told
            except BadInput as error:
                problems.append(str(error))
        problems += self.writing.problems(one, self.parent, given)
        if given is not None:
            problems += self._clones(given, before) if not problems else []
            given = given.model_copy(update={"memo": self._memo(one)})
        return problems, notes, given

    def _memo(self, one: Reply) -> str:
        """The memo; a mended candidate keeps the tag of what it mends, so that patterns count the idea."""
        memo = one.memo or f"{UNTAGGED} the model gave no memo"
        before = self.parent.memo.partition("]")[0]
        if self.step.role == "fix" and before.startswith("[") and memo.startswith(("[fix", UNTAGGED)):
            memo = f"{before}]{memo.partition(']')[2]}"
        return memo

    def _clones(self, given: Candidate, before: Sequence[Candidate]) -> list[str]:
        key = self.llm.key(given)
        for other in (*self.history.candidates.values(), *before):
            if other.id == given.id or self.llm.key(other) == key:
                told = next((line(a) for a in attempts_of(self.history) if a.candidate == other.id), "")
                known = told.removeprefix("- ") or f"{short(other.id)} ({self.history.origins.get(other.id, 'above')})"
                return [f"this is the same code as one that is there already, but for names and comments: {known}"]
        return []

    def _draft(self, text: str, read: _Read) -> None:
        kept = self.place.blobs.put(text.encode())
        told = Draft(reply=kept, problems=tuple(read.problems), notes=tuple(read.notes))
        became = [told.model_copy(update={"candidate": given.id}) for given in read.candidates]
        self.drafts += became or [told]

    def _said(self) -> tuple[tuple[Part, ...], str]:
        """The changing parts in their order, and what is asked."""
        h, s, place = self.history, self.standing, self.place
        fixing = self.step.role == "fix"
        where = short(self.parent.id) if fixing else facts.place_of(h, s, self.parent.id)
        diagnoses = self._diagnoses()
        remembered, compacted = self.llm.memory.run(h, self.compact)
        self.compacted += compacted
        shape = () if fixing else asked_for(h, s, tools=False)
        summary = remembered[:1] if remembered and not remembered[0].startswith("- ") else ()
        parts = (
            Part("context", facts.device(self.campaign.target)),
            self.writing.source(self.parent, where, fix=fixing),
            Part("timings", ()) if fixing else self.writing.results(h, self.parent.id),
            Part("findings", facts.findings(diagnoses) or (() if fixing else facts.largest(self._profile()))),
            Part("advice", facts.advice(diagnoses)),
            Part("skills", tuple(skill.full for skill in load_for(diagnoses, self.llm.skills).skills)),
            Part("attempts", (*summary, *reversed(remembered[len(summary) :]))),
            Part("directives", shape),
            Part("round", () if fixing else place.contract),
        )
        if fixing:
            told = {"tries": tries(h, self.parent.id), "most": self.campaign.fixes, "memo": self.parent.memo}
            return parts, prompt.render("fix", f=self.writing.failure(h, s, self.parent.id), **told)
        stuck = s.unhelpful >= STUCK and not shape  # a directive says more
        same = [a for a in h.asks if (a.role, a.parent) == ("propose", self.parent.id) and a.round < self.step.round]
        told = {"count": self.count, "findings": bool(diagnoses), "stuck": stuck, "others": bool(same)}
        return parts, self.writing.order(told)

    def _profile(self) -> Profile | None:
        """Of the parent; of the best where the parent was not profiled."""
        return self.history.profiles.get(self.parent.id) or self.history.profiles.get(self.standing.best)

    def _diagnoses(self) -> tuple[Diagnosis, ...]:
        """Of that profile. None while a failure is mended."""
        if self.step.role == "fix":
            return ()
        target, place = self.campaign.target, self.place
        return facts.diagnoses(self._profile(), target, place.ceilings, place.library.trust(target.device))


def _form(one: Reply) -> list[str]:
    """What is wrong with the form of a reply."""
    if not one.files and not one.nameless:
        return ["There is no file in it. Give every changed file whole, in a fence that names it (file=NAME)."]
    problems = [f"A fence does not say which file it is ({text[:40]!a}). Write file=NAME." for _, text in one.nameless]
    if one.cut:
        problems.append("It ends inside of a file.")
    return problems
