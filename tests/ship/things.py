"""Things for the tests of releases: a small real project whose measurements are scripted, and what they rest on."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.projects import project
from warpsmith.crew import profile_key
from warpsmith.model.base import digest_bytes
from warpsmith.model.campaign import Budget, Opened, Submitted
from warpsmith.model.candidate import Candidate, SourceFile
from warpsmith.model.evaluation import (
    Effort,
    Evaluation,
    Metric,
    SanitizerFinding,
    SanitizerResult,
    Status,
    TensorError,
    Trust,
    WorkloadResult,
)
from warpsmith.model.head import Direction
from warpsmith.model.profile import Profile
from warpsmith.model.step import Explain
from warpsmith.model.target import Target
from warpsmith.ship.shelf import Shelf
from warpsmith.store.files import write_atomic
from warpsmith.store.ledger import Ledger
from warpsmith.surface.answers_ship import PromoteAnswer
from warpsmith.surface.campaigns import open_campaign
from warpsmith.surface.profiling import profile_request
from warpsmith.surface.releasing import promote_candidate
from warpsmith.surface.shelves import shelf
from warpsmith.surface.workspace import Known, Workspace
from warpsmith.toolchains.cache import build

TASK = "my/axpy"
CALLGRIND = """\
# callgrind format
version: 1
creator: callgrind-3.19.0
positions: line
events: Ir Dr Dw
ob=(1) /tmp/binary
fl=(1) /src/kernel.c
fn=(1) kernel
8 10 4 2
+2 100 50 25
"""


@dataclass
class Script:
    """What the next measurements find."""

    speedups: dict[str, float] = field(default_factory=lambda: {"4M": 1.5, "odd": 1.4})
    status: Status = Status.passed
    calls: int = 7
    trust: Trust = Trust.judged
    sanitizer: str = "passed"
    binary: str = ""
    measured: int = 0


class Scripted(Workspace):
    """A workspace whose measurements follow a script; it builds for real."""

    script: Script

    def measure(
        self, known: Known, target: Target, candidate: Candidate, rival: Candidate, effort: Effort, name: str,
        configuration: Any = "release", executor: Any = None, sanitizers: tuple[str, ...] = (),
    ) -> Evaluation:  # fmt: skip
        s = self.script
        s.measured += 1
        folder = self.home / "unpacked"
        self.blobs.unpack(candidate, folder)
        made = build(candidate, folder, target, "release", self.home / "cache" / "build", known.loaded.kernel).build
        made = made.model_copy(update={"binary": s.binary or made.binary})
        status = s.status if not sanitizers else Status.passed
        said = [sanitizer(s.sanitizer, tool) for tool in sanitizers]
        bad = any(r.status == "failed" for r in said)
        passed = status is Status.passed and not bad
        return Evaluation(
            task=known.loaded.digest,
            candidate=candidate.id,
            rival=rival.id,
            target=target.key,
            judge="3",
            effort=effort,
            trust=s.trust,
            status=status if not bad else Status.crashed,
            detail="" if passed else "scripted",
            build=made,
            workloads=tuple(found(name, s, effort) for name in s.speedups) if passed else (),
            conditions=("scripted",),
            sanitizers=tuple(said),
        )


def sanitizer(how: str, tool: str) -> SanitizerResult:
    if how == "failed":
        return SanitizerResult(tool=tool, status="failed", findings=(SanitizerFinding(kernel="kernel", kind="read"),))
    if how == "unavailable":
        return SanitizerResult(tool=tool, status="unavailable", reason="not here")
    return SanitizerResult(tool=tool, status="passed")


def found(name: str, s: Script, effort: Effort) -> WorkloadResult:
    error = TensorError(tensor="y", relative_rms=1e-8, worst_row=1e-8, limit=1e-5, matched=1.0)
    jitter = [1 + 0.001 * (i % 3) for i in range(effort.pairs)]
    if not effort.pairs:
        return WorkloadResult(workload=name, status=Status.passed, calls=s.calls, errors=(error,))
    metric = Metric(
        name="time",
        unit="s",
        direction=Direction.minimize,
        candidate=tuple(1e-4 * j for j in jitter),
        rival=tuple(1e-4 * s.speedups[name] * j * (1 + 0.0005 * (i % 2)) for i, j in enumerate(jitter)),
    )
    errors = (error,) if s.calls else ()
    return WorkloadResult(workload=name, status=Status.passed, calls=s.calls, errors=errors, metrics=(metric,))


def scripted(root: Path, **settings: object) -> Scripted:
    """The project with a campaign that knows baseline and entry, and kept profiles of both."""
    project(root)
    space = Scripted(root, settings)
    space.script = Script()
    opened(space)
    return space


def opened(space: Scripted) -> None:
    known = space.task(TASK)
    target = space.target(known)
    campaign = open_campaign(space, known, target, "main", "none", Budget(rounds=0))
    with Ledger(space.ledger(TASK, "main")) as ledger:
        ledger.append(Opened(campaign=campaign, candidates=known.all, at=time.time()))
    for candidate in (known.baseline, known.entry):
        profile(space, known, candidate)


def profile(space: Workspace, known: Known, candidate: Candidate) -> None:
    """Keep a profile of the candidate, so that none is taken."""
    step = Explain(candidate=candidate.id, round=0)
    target = space.target(known)
    request = profile_request(space, known, target, step, candidate, tool="cpu")
    report = space.blobs.put(CALLGRIND.encode())
    made = Profile(
        candidate=candidate.id, target=target.key, tool="valgrind 3.19", workload="4M", reports=(report,),
        conditions=("counted by simulation",),
    )  # fmt: skip
    write_atomic(space.home / "profiles" / f"{profile_key(request)[:32]}.json", made.model_dump_json())


def submitted(space: Scripted, files: dict[str, str]) -> Candidate:
    """A candidate from outside, in the ledger and among the blobs."""
    sources = tuple(SourceFile(path=p, content=space.blobs.put(text.encode())) for p, text in files.items())
    candidate = Candidate(toolchain="c", entry="kernel", sources=sources, memo="from outside")
    with Ledger(space.ledger(TASK, "main")) as ledger:
        ledger.append(Submitted(candidate=candidate, by="test", at=time.time()))
    profile(space, space.task(TASK), candidate)
    return candidate


def promote(
    space: Workspace, version: str = "1.0.0", candidate: str = "entry", *, evidence: tuple[Path, ...] = (),
    notes: str = "", trade_offs: tuple[str, ...] = (),
) -> PromoteAnswer:  # fmt: skip
    return promote_candidate(space, space.task(TASK), version, candidate, notes, trade_offs, evidence, "main")


def shelved(root: Path) -> tuple[Scripted, Shelf]:
    """A project with three releases."""
    space = scripted(root)
    for version in ("1.0.0", "1.1.0", "2.0.0"):
        answer = promote(space, version, notes=f"the notes of {version}")
        assert answer.released, answer.refusals
    return space, shelf(space)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder`` by its path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def restore(folder: Path, files: dict[str, bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def same(a: bytes, b: bytes) -> bool:
    return digest_bytes(a) == digest_bytes(b)
