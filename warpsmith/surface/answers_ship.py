"""What the verbs of releases answer."""

from __future__ import annotations

from warpsmith.analyse.regress import Change
from warpsmith.model.base import Record
from warpsmith.model.evaluation import Evaluation
from warpsmith.model.release import IndexEntry, Manifest
from warpsmith.ship.handoff import HandOff
from warpsmith.ship.refusals import Refusal
from warpsmith.ship.seal import Check
from warpsmith.surface.answers import Answer


class PromoteAnswer(Answer):
    """A release, or every reason why there is none."""

    task: str
    version: str
    candidate: str
    released: bool
    refusals: tuple[Refusal, ...] = ()
    evaluation: Evaluation | None = None
    """The run that it rests on, or was refused by."""
    manifest: Manifest | None = None
    entry: IndexEntry | None = None
    folder: str = ""


class VerifiedRelease(Record):
    """What was found of one release."""

    release: str
    stale: tuple[str, ...]
    checks: tuple[Check, ...]


class VerifyAnswer(Answer):
    """Whether releases are what their manifests say."""

    index: tuple[Check, ...]
    releases: tuple[VerifiedRelease, ...]


class RejectAnswer(Answer):
    """Negative knowledge that was kept."""

    task: str
    candidate: str
    claim: str
    evidence: tuple[str, ...]
    why: str
    next_blocker: str


class ReleaseRow(Record):
    """One release of a list."""

    entry: IndexEntry
    path: str
    stale: tuple[str, ...]
    problem: str = ""
    """Why its manifest cannot be read; empty where it can."""


class ReleasesAnswer(Answer):
    """What was released, oldest first."""

    folder: str
    head: str
    releases: tuple[ReleaseRow, ...]


class HandOffAnswer(Answer):
    """A release, handed to a consumer."""

    handed: HandOff
    written: str


class RegressAnswer(Answer):
    """What got slower, faster, or stayed, by kernel and workload."""

    baseline: str
    current: str
    kind: str
    threshold: float
    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    report: str
