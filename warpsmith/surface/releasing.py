"""The ``promote`` verb: measure again, gather the five artefacts, refuse with every reason, or release.

Works on the campaign: its ledger is held meanwhile, since each promotion of a candidate counts as one more try at a
lucky run, and the interval that it must clear widens with them.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from warpsmith import __version__
from warpsmith.analyse.compare import Comparison, compare
from warpsmith.analyse.standing import OUTSIDE, published
from warpsmith.errors import BadInput, Missing, WarpsmithError
from warpsmith.model.base import digest_bytes
from warpsmith.model.campaign import Budget, Campaign, Decided
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Effort, Evaluation
from warpsmith.model.profile import Profile
from warpsmith.model.release import BENCHMARK, is_version
from warpsmith.model.step import Explain
from warpsmith.model.target import Target
from warpsmith.model.task import AppTask, KernelTask, task_digest
from warpsmith.sandbox import layers
from warpsmith.ship import drafting, evidence, provenance, refusals
from warpsmith.ship.evidence import Examined, Role, Wanted
from warpsmith.ship.index import IndexBroken
from warpsmith.ship.refusals import Refusal
from warpsmith.ship.shelf import AlreadyReleased, Shelf
from warpsmith.store.folders import CANDIDATE_FILE, FIXTURE_SUFFIX, TASK_FILE
from warpsmith.store.history import History, fold
from warpsmith.store.ledger import Ledger
from warpsmith.surface import gate
from warpsmith.surface.answers_ship import PromoteAnswer
from warpsmith.surface.benchmark import entry, report
from warpsmith.surface.profiling import kept, profile_request, take
from warpsmith.surface.shelves import shelf, signing_key
from warpsmith.surface.workspace import Known, Workspace
from warpsmith.toolchains import toolchain
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
            found.sanitized = gate.sanitized(space, known, self.candidate, "release")
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

    def release(self, found: Found, there: Shelf) -> tuple[PromoteAnswer, list[Refusal]]:
        """Put it on the shelf; the answer, or what was found too late."""
        assert found.evaluation is not None and found.comparison is not None and found.sanitized is not None
        key = signing_key(self.space)
        said = {self.task.reference: digest_bytes((self.known.loaded.folder / self.task.reference).read_bytes())}
        fixtures = dict(said)
        if isinstance(self.task, AppTask):  # its own page names them, so its identity has them without
            fixtures |= {f"fixture {number}": one for number, one in enumerate(self.task.fixtures)}
        gathered = drafting.Gathered(
            version=self.version,
            at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            task=self.task,
            campaign=self.campaign,
            candidate=self.candidate,
            baseline=self.known.baseline,
            evaluation=found.evaluation,
            comparison=found.comparison,
            sanitized=found.sanitized,
            compiler=toolchain(self.candidate.toolchain).version(),
            artefact=found.artefact,
            benchmark=self._benchmark(found.evaluation),
            reports=found.reports,
            profiles=found.profiles,
            sources={s.path: self.space.blobs.get(s.content) for s in self.candidate.sources},
            task_files=task_files(self.space, self.known),
            fixtures=fixtures,
            said={
                "warpsmith": __version__,
                "command": (Path(sys.argv[0]).name, *sys.argv[1:]),
                "notes": self.notes,
                "trade_offs": self.trade_offs,
                "signer": provenance.key_id(key),
                "commit": _commit(self.known.loaded.folder),
                "sandbox": tuple(sorted(layers().how.layers)),
            },
        )
        files, contents = drafting.contents(gathered)
        if late := refusals.size(files) + refusals.task(task_digest(self.task, said), self.campaign.task):
            return self._answer(found, late), late
        draft = drafting.manifest(gathered, files)
        try:
            line, manifest = there.publish(draft, contents, lambda m, raw: provenance.envelope(m, raw, key))
        except AlreadyReleased:
            late = refusals.version(self.version, [self.version], self.task.name)
            return self._answer(found, late), late
        folder = str(there.place(manifest.name, manifest.version))
        made = {"released": True, "manifest": manifest, "entry": line, "folder": folder}
        return self._answer(found, []).model_copy(update=made), []

    def _benchmark(self, measured: Evaluation) -> bytes:
        one = entry(self.candidate.id, self.candidate, measured, self.campaign, self.confidence)
        said = report(
            self.campaign,
            [one],
            self.known.baseline.id,
            BENCHMARK,
            name=self.version,
            against="baseline",
            notes=self.notes,
        )
        return said.model_dump_json(indent=1).encode() + b"\n"

    def _answer(self, found: Found, refused: Sequence[Refusal]) -> PromoteAnswer:
        return PromoteAnswer(
            exit_status=refusals.exit_status(refused),
            task=self.task.name,
            version=self.version,
            candidate=self.candidate.id,
            released=False,
            refusals=tuple(refused),
            evaluation=found.evaluation,
        )

    def refuse(self, found: Found) -> PromoteAnswer:
        """The answer with every reason."""
        return self._answer(found, found.refused)


def promote_candidate(
    space: Workspace,
    known: Known,
    version: str,
    candidate: str,
    notes: str,
    trade_offs: tuple[str, ...],
    files: tuple[Path, ...],
    tag: str,
) -> PromoteAnswer:
    """Promote a candidate of the campaign ``tag``. Raises BadInput for what is named and not there."""
    task = known.loaded.kernel
    if task is None:
        raise BadInput(
            f"{known.loaded.head.name}: only kernel tasks can be released.", "'show ID' has an overlay's files."
        )
    name = task.name
    space.history(name, tag)  # without a campaign there is nothing to promote
    with Ledger(space.ledger(name, tag)) as ledger:
        target = space.target(known)
        asked = Promotion(
            space=space,
            known=known,
            task=task,
            target=target,
            campaign=space.open_campaign(known, target, tag, "none", Budget(rounds=0)),
            history=fold(ledger.events()),
            candidate=space.candidate(known, candidate, tag),
            version=version,
            notes=notes,
            trade_offs=trade_offs,
            evidence=files,
        )
        found = asked.gather()
        answer = asked.refuse(found)
        if not found.refused:
            answer, found.refused = asked.release(found, shelf(space))
        if found.evaluation is not None and asked.candidate.id in asked.history.candidates:
            ledger.append(decided(asked.candidate.id, answer))
        return answer


def decided(candidate: str, answer: PromoteAnswer) -> Decided:
    """What the ledger keeps: every promotion that measured counts as a try, and knowledge reads what became of it."""
    about = [r for r in answer.refusals if r.reason in _ABOUT_THE_CANDIDATE]
    if answer.released:
        return Decided(
            candidate=candidate, decision="promote", result="accepted",
            reason=f"released as {answer.task}@{answer.version}", at=time.time(),
        )  # fmt: skip
    reasons = "; ".join(r.message for r in answer.refusals)
    short = bool(about) and {r.reason for r in about} <= {"below_gate"}
    result: Literal["accepted", "rejected", "short_circuit"] = (
        "short_circuit" if short else "rejected" if about else "accepted"
    )
    said = reasons if about else f"it held when measured again, and was not released: {reasons}"
    return Decided(candidate=candidate, decision="promote", result=result, reason=said, at=time.time())


_ABOUT_THE_CANDIDATE = {
    "wrong", "no_correctness", "sanitizer_findings", "regression", "guardrail", "not_faster", "below_gate",
}  # fmt: skip


def task_files(space: Workspace, known: Known) -> dict[str, bytes]:
    """The task's folder as far as a judge needs it: its page, oracle, and every candidate with a folder."""
    folder, head, task = known.loaded.folder, known.loaded.head, known.loaded.kernel
    assert task is not None
    found = {name: (folder / name).read_bytes() for name in (TASK_FILE, task.reference)}
    peers = zip(head.peers, known.peers.values(), strict=True)
    for place, candidate in ((head.baseline, known.baseline), (head.entry, known.entry), *peers):
        found[f"{place}/{CANDIDATE_FILE}"] = (folder / place / CANDIDATE_FILE).read_bytes()
        for source in candidate.sources:
            pointer = folder / place / f"{source.path}{FIXTURE_SUFFIX}"
            if pointer.is_file():  # a fixture is never released, only named
                found[f"{place}/{pointer.name}"] = pointer.read_bytes()
            else:
                found[f"{place}/{source.path}"] = space.blobs.get(source.content)
    return found


def _commit(folder: Path) -> str:
    """The commit of the repository that holds ``folder``, with ``+`` where the folder has changes; empty without."""
    try:
        at = subprocess.run(("git", "rev-parse", "HEAD"), cwd=folder, capture_output=True, text=True, check=True)
        asked = ("git", "status", "--porcelain", "--", ".")
        changed = subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return at.stdout.strip() + ("+" if changed.stdout.strip() else "")
