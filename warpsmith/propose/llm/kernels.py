"""What a model writes for a kernel task: sources with their launch plan and tunables, for one toolchain."""

from __future__ import annotations

from collections.abc import Mapping

from warpsmith.analyse.standing import Standing
from warpsmith.knowledge.skill import Skill, catalogue
from warpsmith.model.campaign import Campaign
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Status
from warpsmith.model.task import KernelTask
from warpsmith.propose import Place
from warpsmith.propose.llm import facts, handlers, hygiene, prompt
from warpsmith.propose.llm.asking import Block
from warpsmith.propose.llm.clones import clone_key
from warpsmith.propose.llm.fixing import Failure, failure
from warpsmith.propose.llm.prompt import Part
from warpsmith.propose.llm.reply import Reply, candidate, manifest
from warpsmith.propose.llm.tokens import estimate
from warpsmith.propose.llm.writing import failed_evaluation
from warpsmith.store.folders import CANDIDATE_FILE
from warpsmith.store.history import History


class Kernels:
    """A :class:`~warpsmith.propose.llm.writing.Writing`."""

    def __init__(self, place: Place) -> None:
        assert isinstance(place.task, KernelTask)
        self.place, self.task = place, place.task

    def files(self, candidate: Candidate) -> dict[str, str]:
        """Its sources."""
        return self.place.blobs.texts(candidate)

    def system(self, entry: Candidate, c: Campaign, past: tuple[str, ...], *, tunes: bool) -> tuple[Block, ...]:
        """Rules, contract, arguments, the task's texts, the catalogue of skills, patterns, the past and hints."""
        place = self.place
        files = self.files(entry)
        patterns = [p for p in place.library.patterns if p.architecture == c.target.architecture and not p.under]
        patterns.sort(key=lambda p: (-p.low, p.id))
        known = [s for s in place.library.skills.values() if _fits(s, c)]
        told = (("name", c.task_name), ("title", self.task.title))
        parts = (
            Part("task", facts.task_texts(place.folder) or (self.task.description or self.task.title,), told),
            Part("catalogue", tuple(f"- {said}" for said in catalogue({s.id: s for s in known}))),
            Part("patterns", tuple(p.line for p in patterns)),
            Part("past", past),
            Part("hints", handlers.hints(entry, files)),
        )
        whole = estimate("".join(files.values()) + manifest(entry))
        limit, stated = place.settings.prompt_tokens, facts.stated(place.folder)
        return prompt.system(self.task, entry, parts, whole, limit, tunes=tunes, stated=stated)

    def source(self, candidate: Candidate, where: str, *, fix: bool) -> Part:
        """Its sources and its manifest."""
        return prompt.source({**self.files(candidate), CANDIDATE_FILE: manifest(candidate)}, where, "source", fix=fix)

    def results(self, h: History, candidate: str) -> Part:
        """Its times."""
        return Part("timings", facts.timings(h, self.task, candidate), (("title", facts.TIMES),))

    def order(self, told: Mapping[str, object]) -> str:
        """A faster source."""
        return prompt.render("propose", **told)

    def candidate(self, reply: Reply, parent: Candidate) -> tuple[Candidate, tuple[str, ...]]:
        """The parent's folder with the reply's files in it."""
        return candidate(reply, parent, self.place.blobs, self.task), ()

    def mended(self, files: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
        """By the handlers."""
        return handlers.mended(files)

    def problems(self, reply: Reply, parent: Candidate, given: Candidate | None) -> list[str]:
        """Hygiene, and what the handlers have against it."""
        before = self.files(parent)
        texts = self.files(given) if given else {**before, **reply.files}
        found = hygiene.problems(texts, before, given, self.task)
        return found + (handlers.problems(given, texts) if given is not None else [])

    def failure(self, h: History, s: Standing, candidate: str) -> Failure:
        """From the evaluation in which it failed."""
        evaluation = failed_evaluation(h, candidate)
        if evaluation is not None:
            return failure(evaluation, self.task, self.files(h.candidates[candidate]))
        status, _, detail = s.failed.get(candidate, "crashed: it failed").partition(": ")
        return Failure(status=Status(status), what=None, summary=detail)

    def key(self, candidate: Candidate) -> str:
        """Its sources but for comments, spacing and their own names."""
        return clone_key(candidate, self.files(candidate))


def _fits(skill: Skill, c: Campaign) -> bool:
    """Whether a skill is for the architecture of the target."""
    return any(c.target.architecture.startswith(a) for a in skill.architectures)
