"""Releases: what leaves the workshop, said whole, so that it can be proved from its manifest alone. Reads no files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from warpsmith.model.base import Digest, Record, canonical, digest, digest_bytes
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Build, SanitizerResult, Status, TensorError
from warpsmith.model.target import Target

VERSION_PATTERN = r"^[0-9A-Za-z][0-9A-Za-z+_\-]*(\.[0-9A-Za-z+_\-]+)*$"
"""No leading dot and no ``..``: a version becomes a folder."""
NAME_PATTERN = r"^[a-z0-9_\-]+/[a-z0-9_\-]+$"
"""A release is named after its task."""
ReleaseVersion = Annotated[str, Field(pattern=VERSION_PATTERN, max_length=40)]
ReleaseName = Annotated[str, Field(pattern=NAME_PATTERN, max_length=120)]
MOST_BYTES = 2 << 20
"""Bytes of a release's folder, at most: it is committed."""
NOTHING_BEFORE = "0" * 64
"""What the first line of an index names as the one before it."""
MANIFEST, PROVENANCE, BENCHMARK = "manifest.json", "provenance.json", "benchmark.json"
MEASURED, COMPILED = "measured", "compiled, not measured"

FileRole = Literal["artefact", "benchmark", "profile", "report", "source", "task"]
"""``report`` is a profiler's own file, ``profile`` what was read from it; ``task`` holds oracle, baseline and peers."""


class ReleasedFile(Record):
    """A file of a release, in its folder or, where it is large, in the evidence store under its hash."""

    path: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+@/\-]*$", max_length=240)]
    role: FileRole
    sha256: Digest
    bytes: Annotated[int, Field(ge=0)]
    stored: bool = False
    """It lies in the evidence store, not in the folder."""

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        if any(part in ("", ".", "..") for part in path.split("/")) or path in (MANIFEST, PROVENANCE):
            raise ValueError(f"{path!r} cannot be a file of a release")
        return path


class Gain(Record):
    """A speed-up (baseline over candidate) with its interval over ``pairs`` pairs."""

    speedup: float
    low: float | None
    high: float | None
    pairs: int
    confidence: float = 0.95


class ReleasedWorkload(Record):
    """What the run that the release rests on found of one workload."""

    name: str
    weight: float
    axes: dict[str, int]
    scalars: dict[str, float]
    gain: Gain
    candidate_s: float
    """Median seconds of a call."""
    baseline_s: float
    calls: int
    """Verified calls of the candidate."""
    errors: tuple[TensorError, ...]
    """The worst error of each output, with the limit that held."""


class ProfilerReport(Record):
    """One of the two profiler reports: what the candidate does (``counters``), and when (``timeline``)."""

    role: Literal["counters", "timeline"]
    path: str
    """The profiler's own file, among the release's files."""
    tool: str
    stands_in_for: str = ""
    """The tool whose report is asked for, where this is another one's; empty for that tool itself."""
    made: Literal["here", "elsewhere"]
    subject: Literal["candidate", "baseline"] = "candidate"
    kernels: tuple[str, ...]
    """What the report holds of it, by name."""
    conditions: tuple[str, ...] = ()


class Guard(Record):
    """Where a variant may be chosen at run time."""

    hardware: str
    architecture: str
    dtypes: dict[str, str]
    """Argument to element type."""
    axes: dict[str, tuple[int, int]]
    """Least and largest extent that was timed."""
    alignment: int
    """Bytes that every buffer's address is a multiple of."""
    layout: str = "row-major, contiguous"


class Variant(Record):
    """One artefact of a release with the guard under which it holds."""

    candidate: Digest
    artefact: str
    binary: Digest
    guard: Guard
    proof: Literal["measured", "compiled, not measured"]


class Parent(Record):
    """The release of the same name before this one."""

    version: ReleaseVersion
    manifest: Digest


class Manifest(Record):
    """A release, whole: everything that is needed to prove it again."""

    format: Literal[1] = 1
    name: ReleaseName
    version: ReleaseVersion
    at: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    warpsmith: str
    judge: str
    task: Digest
    title: str
    hardware: str
    fixtures: dict[str, Digest]
    """The files that the task's identity rests on (oracle, captured buffers), by name."""
    candidate: Candidate
    candidate_id: Digest
    baseline: Candidate
    baseline_id: Digest
    target: Target
    compiler: str
    """What built it, with its version."""
    build: Build
    command: tuple[str, ...]
    """The command line that promoted it."""
    gain: Gain
    min_gain: float
    noise_floor: float
    workloads: Annotated[tuple[ReleasedWorkload, ...], Field(min_length=1)]
    verdict: Literal["faster"]
    status: Literal[Status.passed]
    sanitizers: Annotated[tuple[SanitizerResult, ...], Field(min_length=1)]
    sandbox: tuple[str, ...]
    """Layers that held while it was measured."""
    conditions: tuple[str, ...]
    reports: tuple[ProfilerReport, ...]
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)]
    files: tuple[ReleasedFile, ...]
    parent: Parent | None = None
    trade_offs: tuple[str, ...] = ()
    notes: str = ""
    signer: str = ""
    """Id of the key that signed its provenance; empty where nobody did."""
    commit: str = ""
    """Of the project's repository; with ``+`` behind it where the task's folder had changes."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        paths = [f.path for f in self.files]
        if len(set(paths)) != len(paths):
            raise ValueError("a file is named twice")
        if self.candidate.id != self.candidate_id or self.baseline.id != self.baseline_id:
            raise ValueError("an id is not that of its candidate")
        roles = {f.role for f in self.files}
        if lacking := {"artefact", "benchmark", "report", "source", "task"} - roles:
            raise ValueError(f"no file has the role {', '.join(sorted(lacking))}")
        if {r.role for r in self.reports} != {"counters", "timeline"}:
            raise ValueError("a release needs both profiler reports")
        if not any(v.proof == MEASURED for v in self.variants):
            raise ValueError("no variant was measured")
        named = {r.path for r in self.reports} | {v.artefact for v in self.variants}
        if unknown := named - set(paths):
            raise ValueError(f"{sorted(unknown)[0]} is not among the files")
        if any(f.stored for f in self.files if f.role not in ("report", "profile")):
            raise ValueError("only a profiler's reports may lie in the evidence store")
        return self

    @property
    def spec(self) -> str:
        """``group/name@version``: how people name it."""
        return f"{self.name}@{self.version}"

    def role(self, role: FileRole) -> tuple[ReleasedFile, ...]:
        """The files of that role."""
        return tuple(f for f in self.files if f.role == role)


class IndexEntry(Record):
    """One line of ``releases/index.jsonl``. Each names the hash of the line before it, and its own."""

    sequence: Annotated[int, Field(ge=1)]
    name: ReleaseName
    version: ReleaseVersion
    at: str
    architecture: str
    speedup: float
    low: float | None
    high: float | None
    signer: str
    manifest: Digest
    provenance: Digest
    previous: Digest
    entry: str = ""
    """SHA-256 of all the fields above."""

    def sealed(self) -> IndexEntry:
        """The same with its own hash."""
        return self.model_copy(update={"entry": digest(self.model_dump(mode="json", exclude={"entry"}))})

    @property
    def line(self) -> bytes:
        """The one way to write it, without its newline."""
        return canonical(self.model_dump(mode="json"))

    @property
    def spec(self) -> str:
        """``group/name@version``."""
        return f"{self.name}@{self.version}"


def entry_of(manifest: Manifest, manifest_sha: str, provenance_sha: str, before: Sequence[IndexEntry]) -> IndexEntry:
    """The line that follows ``before``."""
    return IndexEntry(
        sequence=len(before) + 1,
        name=manifest.name,
        version=manifest.version,
        at=manifest.at,
        architecture=manifest.target.architecture,
        speedup=manifest.gain.speedup,
        low=manifest.gain.low,
        high=manifest.gain.high,
        signer=manifest.signer,
        manifest=manifest_sha,
        provenance=provenance_sha,
        previous=digest_bytes(before[-1].line) if before else NOTHING_BEFORE,
    ).sealed()


def is_version(text: str) -> bool:
    """Whether ``text`` can be the version of a release."""
    return len(text) <= 40 and re.fullmatch(VERSION_PATTERN, text) is not None and "\n" not in text
