"""The ``promote`` verb: refuse with every reason, or release. What it gathers is :mod:`warpsmith.surface.promotion`'s.

Works on the campaign: its ledger is held meanwhile, since each promotion of a candidate counts as one more try at a
lucky run, and the interval that it must clear widens with them.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from warpsmith import __version__
from warpsmith.errors import BadInput
from warpsmith.model.base import digest_bytes
from warpsmith.model.campaign import Budget, Decided
from warpsmith.model.evaluation import Evaluation
from warpsmith.model.release import BENCHMARK
from warpsmith.model.task import AppTask, task_digest
from warpsmith.sandbox import layers
from warpsmith.ship import drafting, provenance, refusals
from warpsmith.ship.refusals import Refusal
from warpsmith.ship.shelf import AlreadyReleased, Shelf
from warpsmith.store.folders import CANDIDATE_FILE, FIXTURE_SUFFIX, TASK_FILE
from warpsmith.store.history import fold
from warpsmith.store.ledger import Ledger
from warpsmith.surface.answers_ship import PromoteAnswer
from warpsmith.surface.benchmark import entry, report
from warpsmith.surface.campaigns import open_campaign
from warpsmith.surface.promotion import Found, Promotion
from warpsmith.surface.shelves import shelf, signing_key
from warpsmith.surface.workspace import Known, Workspace
from warpsmith.toolchains import toolchain


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
            campaign=open_campaign(space, known, target, tag, "none", Budget(rounds=0)),
            history=fold(ledger.events()),
            candidate=space.candidate(known, candidate, tag),
            version=version,
            notes=notes,
            trade_offs=trade_offs,
            evidence=files,
        )
        found = asked.gather()
        answer = _release(asked, found, shelf(space)) if not found.refused else _answer(asked, found, found.refused)
        if found.evaluation is not None and asked.candidate.id in asked.history.candidates:
            ledger.append(decided(asked.candidate.id, answer))
        return answer


def _release(asked: Promotion, found: Found, there: Shelf) -> PromoteAnswer:
    """Put it on the shelf; what is found only now refuses it too."""
    assert found.evaluation is not None and found.comparison is not None and found.sanitized is not None
    key = signing_key(asked.space)
    said = {asked.task.reference: digest_bytes((asked.known.loaded.folder / asked.task.reference).read_bytes())}
    fixtures = dict(said)
    if isinstance(asked.task, AppTask):  # its own page names them, so its identity has them without
        fixtures |= {f"fixture {number}": one for number, one in enumerate(asked.task.fixtures)}
    gathered = drafting.Gathered(
        version=asked.version,
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        task=asked.task,
        campaign=asked.campaign,
        candidate=asked.candidate,
        baseline=asked.known.baseline,
        evaluation=found.evaluation,
        comparison=found.comparison,
        sanitized=found.sanitized,
        compiler=toolchain(asked.candidate.toolchain).version(),
        artefact=found.artefact,
        benchmark=_benchmark(asked, found.evaluation),
        reports=found.reports,
        profiles=found.profiles,
        sources={s.path: asked.space.blobs.get(s.content) for s in asked.candidate.sources},
        task_files=task_files(asked.space, asked.known),
        fixtures=fixtures,
        said={
            "warpsmith": __version__,
            "command": (Path(sys.argv[0]).name, *sys.argv[1:]),
            "notes": asked.notes,
            "trade_offs": asked.trade_offs,
            "signer": provenance.key_id(key),
            "commit": _commit(asked.known.loaded.folder),
            "sandbox": tuple(sorted(layers().how.layers)),
        },
    )
    files, contents = drafting.contents(gathered)
    if late := refusals.size(files) + refusals.task(task_digest(asked.task, said), asked.campaign.task):
        return _answer(asked, found, late)
    draft = drafting.manifest(gathered, files)
    try:
        line, manifest = there.publish(draft, contents, lambda m, raw: provenance.envelope(m, raw, key))
    except AlreadyReleased:
        late = refusals.version(asked.version, [asked.version], asked.task.name)
        return _answer(asked, found, late)
    folder = str(there.place(manifest.name, manifest.version))
    made = {"released": True, "manifest": manifest, "entry": line, "folder": folder}
    return _answer(asked, found, []).model_copy(update=made)


def _benchmark(asked: Promotion, measured: Evaluation) -> bytes:
    one = entry(asked.candidate.id, asked.candidate, measured, asked.campaign, asked.confidence)
    said = report(
        asked.campaign,
        [one],
        asked.known.baseline.id,
        BENCHMARK,
        name=asked.version,
        against="baseline",
        notes=asked.notes,
    )
    return said.model_dump_json(indent=1).encode() + b"\n"


def _answer(asked: Promotion, found: Found, refused: Sequence[Refusal]) -> PromoteAnswer:
    return PromoteAnswer(
        exit_status=refusals.exit_status(refused),
        task=asked.task.name,
        version=asked.version,
        candidate=asked.candidate.id,
        released=False,
        refusals=tuple(refused),
        evaluation=found.evaluation,
    )


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
