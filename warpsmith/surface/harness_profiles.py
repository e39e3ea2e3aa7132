"""Profiles of harness tasks: taken or named by hand, kept with the candidate, and shown beside an earlier one.

A timeline goes to the ledger of its campaign too, where the notices of the rhythm read it. It decides nothing, and
takes nothing of the budget. (A campaign takes those of its leaders by itself where ``profiling.explains`` says so.)
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from warpsmith.analyse.hotspots import hotspots
from warpsmith.analyse.standing import standing
from warpsmith.errors import WarpsmithError
from warpsmith.model.base import digest
from warpsmith.model.campaign import Finished
from warpsmith.model.candidate import Candidate
from warpsmith.model.profile import Profile, ProfileEffort
from warpsmith.model.step import Explain
from warpsmith.profilers.application import Application, AppTool
from warpsmith.propose.plateau import UNCHANGED
from warpsmith.store.files import write_atomic
from warpsmith.store.history import History, fold
from warpsmith.store.ledger import Ledger
from warpsmith.surface.answers import NO, YES
from warpsmith.surface.answers_profile import Bucket, BucketsAnswer
from warpsmith.surface.profiling import Tool, profile_request, take
from warpsmith.surface.view import view
from warpsmith.surface.workspace import Known, Workspace

MOST, LEAST = 10, 0.001
"""Places that are shown, and the smallest share of one."""


def take_harness(
    space: Workspace, known: Known, candidate: Candidate, tag: str, tool: Tool | None, effort: ProfileEffort,
    workload: str, limit_s: float | None,
) -> Profile:  # fmt: skip
    """Profile the command of the task now, and keep it. Raises WarpsmithError where it cannot be, or where a campaign
    is writing the ledger.
    """
    step = Explain(candidate=candidate.id, round=0)
    request = profile_request(
        space, known, space.target(known), step, candidate, tool=tool, effort=effort, workload=workload, limit_s=limit_s
    )
    with _ledger(space, known, tag) as ledger:
        return _keep(space, known, ledger, take(space, known, request))


def take_program(
    space: Workspace, known: Known, candidate: Candidate, tag: str, argv: tuple[str, ...], tool: AppTool,
    effort: ProfileEffort, duration_s: float | None,
) -> Profile:  # fmt: skip
    """Profile a program, and keep that as the profile of ``candidate``: whoever named it says that it is."""
    target = space.target(known)
    with _ledger(space, known, tag) as ledger:
        found = Application(argv, duration_s, lambda report: space.blobs.put(report.read_bytes())).profile(tool, effort)
        said = (*found.conditions, "a program that was named by hand: nothing vouches that it ran this candidate")
        told = {"candidate": candidate.id, "target": target.key, "conditions": said}
        return _keep(space, known, ledger, found.model_copy(update=told))


def explain_harness(
    space: Workspace, known: Known, candidate: Candidate, tag: str, effort: ProfileEffort, again: bool, workload: str
) -> BucketsAnswer:
    """The largest places of the kept profile, or of one that is taken now; what is lacking where there is neither."""
    name = known.loaded.head.name
    h = space.history(name, tag) if tag in space.tags(name) else History()
    rhythm = view(h, None).rhythm if h.campaign is not None else ()
    found = None if again else kept_profile(space, known, h, candidate.id)
    if found is None:
        try:
            found = take_harness(space, known, candidate, tag, None, effort, workload, None)
        except WarpsmithError as error:
            why = f"no profile is kept, and none can be made here: {error.message}"
            return BucketsAnswer(
                exit_status=NO, task=name, candidate=candidate.id, rhythm=rhythm, lacking=why, remedy=error.remedy
            )
    reports = tuple(str(space.blobs.path(x)) for x in found.reports)
    return buckets(space, known, h, found).model_copy(update={"rhythm": rhythm, "reports": reports})


def buckets(space: Workspace, known: Known, h: History, found: Profile) -> BucketsAnswer:
    """The largest places of a profile that is kept, beside an earlier one."""
    beside, before = _earlier(space, known, h, found.candidate, found)
    return BucketsAnswer(
        exit_status=YES,
        task=known.loaded.head.name,
        candidate=found.candidate,
        profile=found,
        buckets=_buckets(shares(found), before),
        beside=beside,
        unchanged=_unchanged(shares(found), before),
    )


def kept_profile(space: Workspace, known: Known, h: History, candidate: str) -> Profile | None:
    """The last that a verb took of a candidate, else that of ``h``, else that of another campaign of the task."""
    try:
        return Profile.model_validate_json(_file(space, known, candidate).read_bytes())
    except (OSError, ValidationError):
        pass
    name = known.loaded.head.name
    histories = (h, *(space.history(name, tag) for tag in space.tags(name)))
    return next((found for one in histories if (found := one.profiles.get(candidate)) is not None), None)


def shares(profile: Profile) -> dict[str, float]:
    """Where its time goes, the largest first: of callgrind the functions, else the lines, with most instructions."""
    if profile.timeline is not None or not profile.kernels:
        return hotspots(profile)
    whole, *functions = profile.kernels
    total = whole.metrics.get("cpu_instructions", 0.0)
    if not total:
        return hotspots(profile)
    if not functions:
        return {f"{one.file}:{one.line}": one.samples for one in whole.lines}
    return {one.kernel: one.metrics["cpu_instructions"] / total for one in functions}


def _earlier(
    space: Workspace, known: Known, h: History, candidate: str, found: Profile
) -> tuple[str, dict[str, float] | None]:
    """What to show beside: the last best before this one that has a profile by the same tool, else the baseline."""
    leaders = standing(h).leaders if h.campaign is not None else ()
    before = leaders[: leaders.index(candidate)] if candidate in leaders else leaders
    for other in dict.fromkeys((*reversed(before), known.baseline.id)):
        seen = kept_profile(space, known, h, other) if other != candidate else None
        if seen is not None and seen.tool.split()[0] == found.tool.split()[0]:
            return other, shares(seen)
    return "", None


def _buckets(now: dict[str, float], before: dict[str, float] | None) -> tuple[Bucket, ...]:
    largest = [(n, s) for n, s in now.items() if s >= LEAST][:MOST]
    return tuple(Bucket(name=n, share=s, before=before.get(n, 0.0) if before is not None else None) for n, s in largest)


def _unchanged(now: dict[str, float], before: dict[str, float] | None) -> bool:
    """As the notice SAME BUCKET says it of two leaders."""
    if not now or not before:
        return False
    largest = next(iter(now))
    return largest == next(iter(before)) and now[largest] >= before[largest] - UNCHANGED


def _keep(space: Workspace, known: Known, ledger: Ledger | None, found: Profile) -> Profile:
    write_atomic(_file(space, known, found.candidate), found.model_dump_json())
    if ledger is not None and found.timeline is not None:
        step = Explain(candidate=found.candidate, round=0)
        ledger.append(Finished(step=step, outcome=found, seconds=0.0, at=time.time()))
    return found


@contextmanager
def _ledger(space: Workspace, known: Known, tag: str) -> Iterator[Ledger | None]:
    """That of the campaign, where there is one of this very task. Raises LedgerBusy while a campaign writes it."""
    name = known.loaded.head.name
    if tag not in space.tags(name):
        yield None
        return
    with Ledger(space.ledger(name, tag)) as ledger:
        campaign = fold(ledger.events()).campaign
        yield ledger if campaign is not None and campaign.task == known.loaded.digest else None


def _file(space: Workspace, known: Known, candidate: str) -> Path:
    return space.home / "profiles" / f"{digest([known.loaded.digest, candidate])[:32]}.json"
