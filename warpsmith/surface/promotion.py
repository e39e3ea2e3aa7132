"""One promotion: everything that a release needs, measured and gathered, with every reason against it."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from warpsmith.analyse.compare import Comparison, compare
from warpsmith.analyse.standing import OUTSIDE, published
from warpsmith.errors import BadInput, Missing, WarpsmithError
from warpsmith.model.base import digest_bytes
from warpsmith.model.campaign import Campaign
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Effort, Evaluation
from warpsmith.model.profile import Profile
from warpsmith.model.release import is_version
from warpsmith.model.step import Explain
from warpsmith.model.target import Target
from warpsmith.model.task import KernelTask
from warpsmith.ship import evidence, refusals
from warpsmith.ship.evidence import Examined, Role, Wanted
from warpsmith.ship.index import IndexBroken
from warpsmith.ship.refusals import Refusal
from warpsmith.store.history import History
from warpsmith.surface import sanitizing
from warpsmith.surface.profiling import kept, profile_request, take
from warpsmith.surface.shelves import shelf
from warpsmith.surface.workspace import Known, Workspace
from warpsmith.toolchains.cache import build

Problem = tuple[Literal["evidence_missing", "evidence_wrong"], str, str]


@dataclass
class Found:
    """What the promotion has gathered so far."""

    refused: list[Refusal] = field(default_factory=list)
    evaluation: Evaluation | None = None
    comparison: Comparison | None = None
    sanitized: Evaluation | None = None
    reports: list[Examined] = field(default_factory=list)
    profiles: dict[str, bytes] = field(default_factory=dict)
    artefact: bytes = b""


@dataclass(frozen=True)
class Promotion:
    """One promotion of ``candidate``, as it was asked for."""

    space: Workspace
    known: Known
    task: KernelTask
    target: Target
    campaign: Campaign
    history: History
    candidate: Candidate
    version: str
    notes: str
    trade_offs: tuple[str, ...]
    evidence: tuple[Path, ...]

    def gather(self) -> Found:
        """Everything that a release needs, with every reason against it."""
        found = Found()
        found.refused += self._asked()
        if not any(r.reason == "sources_missing" for r in found.refused):
            self._measure(found)
        else:
            found.refused += refusals.correctness(None, "its sources are not whole")
            found.refused += refusals.sanitizers(None, "its sources are not whole")
        self._reports(found)
        return found

    def _asked(self) -> list[Refusal]:
        """Against what was asked for, before anything is measured."""
        found: list[Refusal] = []
        name = self.task.name
        try:
            there = shelf(self.space)
            versions = [e.version for e in there.entries() if e.name == name]
            if is_version(self.version) and there.place(name, self.version).exists():
                versions.append(self.version)
            if lost := there.lost(there.entries()):
                raise IndexBroken(lost)
        except BadInput as broken:
            versions = []
            remedy = broken.remedy or "Restore releases/ from version control."
            found.append(Refusal(reason="index_broken", message=broken.message, remedy=remedy))
        lacking = []
        for source in self.candidate.sources:
            try:
                self.space.blobs.get(source.content)
            except BadInput as error:
                lacking.append(f"{source.path}: {error.message}")
        past = self.history.campaign
        found += refusals.version(self.version, versions, name)
        found += refusals.sources(self.candidate.id, self.candidate.id in self.history.candidates, lacking)
        return found + refusals.task(self.campaign.task, past.task if past else None)

    def _measure(self, found: Found) -> None:
        space, known, target = self.space, self.known, self.target
        try:
            found.sanitized = sanitizing.sanitized(space, known, self.candidate, "release")
            why = ""
        except Missing as lacks:
            why = lacks.message
        found.refused += refusals.sanitizers(found.sanitized, why)
        measured = space.measure(known, target, self.candidate, known.baseline, Effort.promote, "promote")
        found.evaluation = measured
        found.comparison = compare(measured, self.campaign, self.confidence)
        found.refused += refusals.correctness(measured)
        found.refused += refusals.gain(found.comparison, self.campaign.min_gain)
        if measured.build is not None and measured.passed:
            found.artefact = self._artefact()
            found.refused += refusals.artefact(measured.build.binary, digest_bytes(found.artefact))

    @property
    def confidence(self) -> float:
        """Of the interval that this run has to clear: half of what was outside before, for every run before it."""
        assert self.history.campaign is not None
        tries = len(published(self.history, self.history.campaign))
        tries += sum(d.decision == "promote" for d in self.history.decisions)
        return 1 - math.ldexp(OUTSIDE, -min(tries, 20))

    def _artefact(self) -> bytes:
        """The binary that was measured: the build cache has it, or it is built again."""
        with tempfile.TemporaryDirectory() as sources:
            self.space.blobs.unpack(self.candidate, Path(sources))
            cache = self.space.home / "cache" / "build"
            made = build(self.candidate, Path(sources), self.target, "release", cache, self.task)
            return made.binary.read_bytes()

    def _reports(self, found: Found) -> None:
        """The two profiler reports: those handed in, and our own for the rest."""
        asked = evidence.wanted(self.task.hardware)
        problems: list[Problem] = []
        given: dict[Role, Path] = {}
        try:
            given = evidence.assign(self.evidence, asked)
        except WarpsmithError as error:
            problems.append(("evidence_wrong", error.message, error.remedy))
        measurable = found.evaluation is not None and found.evaluation.passed
        for one in asked:
            subject = self.candidate if one.subject == "candidate" else self.known.baseline
            try:
                if one.role in given:
                    found.reports.append(evidence.examine(given[one.role], one, subject, "elsewhere"))
                elif measurable:
                    self._profile(one, subject, found)
                else:
                    problems.append(("evidence_missing", f"no {one.role} report: it did not pass", ""))
            except WarpsmithError as error:
                lacking = one.role not in given
                reason: Literal["evidence_missing", "evidence_wrong"] = (
                    "evidence_missing" if lacking else "evidence_wrong"
                )
                problems.append((reason, f"{one.role} report ({one.tool}): {error.message}", error.remedy))
        found.refused += refusals.evidence(problems)

    def _profile(self, one: Wanted, subject: Candidate, found: Found) -> None:
        """Our own report, examined as one from elsewhere would be."""
        request = profile_request(
            self.space, self.known, self.target, Explain(candidate=subject.id, round=0), subject, tool=one.tool
        )
        seen: Profile | None = kept(self.space, self.known, request)
        if seen is None or not seen.reports or not all(self.space.blobs.path(r).is_file() for r in seen.reports):
            seen = take(self.space, self.known, request)
        suffix = {"ncu": ".ncu-rep", "nsys": ".nsys-rep", "cpu": ".callgrind"}[one.tool]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{one.role}{suffix}"
            path.write_bytes(self.space.blobs.get(seen.reports[0]))
            made = evidence.examine(path, one, subject, "here")
        said = made.report.model_copy(update={"tool": seen.tool, "conditions": seen.conditions})
        found.reports.append(Examined(said, made.content))
        found.profiles[one.role] = seen.model_dump_json(indent=1).encode() + b"\n"
