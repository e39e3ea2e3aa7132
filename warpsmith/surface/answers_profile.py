"""What ``explain`` answers of a harness task: where the time goes, beside an earlier profile."""

from __future__ import annotations

from warpsmith.model.base import Record
from warpsmith.model.profile import Profile
from warpsmith.surface.answers import Answer


class Bucket(Record):
    """One place where the time goes: a kernel, copy or fill of a timeline; of callgrind a function or a line."""

    name: str
    share: float
    before: float | None = None
    """The share in the earlier profile; None where there is none, 0 where it was not seen."""


class BucketsAnswer(Answer):
    """Where the time of a harness goes, and what the campaign asks for next. Exit status 1 without a profile."""

    task: str
    candidate: str
    profile: Profile | None = None
    buckets: tuple[Bucket, ...] = ()
    """The largest first."""
    beside: str = ""
    """The candidate of the earlier profile: the last best before this one that has one, else the baseline."""
    unchanged: bool = False
    """Whether the largest is the same in both, and hardly smaller: it is time to escalate."""
    lacking: str = ""
    """Why there is no profile."""
    remedy: str = ""
    rhythm: tuple[str, ...] = ()
    """What the campaign's history asks for next, where there is one."""
    reports: tuple[str, ...] = ()
