"""The verbs of releases: ``promote``, ``reject``, ``verify``, ``releases``, ``handoff``, ``regress``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from warpsmith.ship.handoff import Hook
    from warpsmith.surface import answers_ship
    from warpsmith.surface.workspace import Workspace

Consumer = Literal["decision", "verification", "runtime"]


def promote(
    task: str,
    version: str,
    candidate: str = "best",
    *,
    notes: str = "",
    trade_off: tuple[str, ...] = (),
    evidence: tuple[Path, ...] = (),
    tag: str = "main",
    no_webhook: bool = False,
) -> answers_ship.PromoteAnswer:
    """Release a candidate: measure it again, gather the five artefacts, and put it on the shelf, whole or not at all.

    The artefact, a benchmark report, two profiler reports and a manifest. Measured at promote effort beside the
    baseline, under the sanitizers too. Exit status 1 where it is wrong, slower anywhere, or lacks evidence; 2 where
    nothing but the gain is missing; 3 for a version that exists, and whatever else cannot be asked for. Every reason is
    named at once.

    Args:
        task: The task, by path or group/name.
        version: The release's version, such as 1.0.0; a version is never used twice.
        candidate: A candidate of the campaign: an id, or baseline, entry, best, or a peer's name.
        notes: Free text that the manifest keeps.
        trade_off: A known trade-off, once for each; workloads without a gain are named anyway.
        evidence: Profiler reports that were made elsewhere; they are checked as our own are.
        tag: The campaign that the candidate belongs to.
        no_webhook: Send no notification; the record of each says so.
    """
    from warpsmith.surface.notices import Notices
    from warpsmith.surface.releasing import promote_candidate

    space = _workspace()
    known = space.task(task)
    with Notices(space, known.loaded.head.name, tag, disabled=no_webhook) as notices:
        answer = promote_candidate(space, known, version, candidate, notes, trade_off, evidence, tag)
        notices.promoted(answer)
    return answer


def reject(
    task: str, candidate: str, *, claim: str, why: str, evidence: tuple[str, ...] = (), next_blocker: str = "",
    tag: str = "main", no_webhook: bool = False,
) -> answers_ship.RejectAnswer:  # fmt: skip
    """Keep negative knowledge: what was claimed of a candidate, what speaks against it, and what blocks the next try.

    It goes into the campaign's ledger, where memory and patterns find it. Releases are not touched.

    Args:
        task: The task, by path or group/name.
        candidate: A candidate of the campaign: an id, or entry, best, or a peer's name.
        claim: What was thought to be so.
        why: Why it is not.
        evidence: A report, a candidate's id or a figure, once for each.
        next_blocker: What would have to change before another try is worth while.
        tag: The campaign that the candidate belongs to.
        no_webhook: Send no notification; the record of each says so.
    """
    from warpsmith.surface.notices import Notices
    from warpsmith.surface.rejecting import reject_candidate

    space = _workspace()
    known = space.task(task)
    with Notices(space, known.loaded.head.name, tag, disabled=no_webhook) as notices:
        answer = reject_candidate(space, known, candidate, claim, why, evidence, next_blocker, tag)
        notices.rejected(answer)
    return answer


def verify(
    release: str = "", *, stale: bool = False, hashes: bool = False, no_gain: bool = False
) -> answers_ship.VerifyAnswer:
    """Prove a release again from its manifest alone: hashes, signature, rebuild, correctness, and the gain.

    Nothing of a release that was changed is run. The gain is measured where the hardware is the same. Exit status 1
    where a check failed, 2 where the gain is unclear, 4 where this machine cannot tell.

    Args:
        release: As group/name@version, or group/name for its latest; every release where none is given.
        stale: Measure on today's software; without a release, of all those that are stale.
        hashes: Check bytes and signatures only; nothing is built or run.
        no_gain: Leave the timing out.
    """
    from warpsmith.surface.verifying import run_verify

    return run_verify(_workspace(), release, retest=stale, hashes=hashes, gain=not no_gain)


def releases(task: str = "") -> answers_ship.ReleasesAnswer:
    """List what was released, and what is stale: driver, toolkit, libraries, task, baseline or judge changed since.

    Exit status 1 where a manifest is not what the index names. Also finishes what an interrupted promotion left.

    Args:
        task: Of this task only, as group/name.
    """
    from warpsmith.surface.listing import list_releases

    return list_releases(_workspace(), task)


def handoff(
    release: str, *, to: Consumer, output: Path = Path("handoffs"), no_webhook: bool = False,
    hook: Callable[[Workspace], Hook] | None = None,
) -> answers_ship.HandOffAnswer:  # fmt: skip
    """Hand a release to a consumer, as one JSON file.

    Args:
        release: As group/name@version, or group/name for its latest.
        to: decision (promotion metadata), verification (benchmark and profile evidence) or runtime (the artefact).
        output: The folder of hand-offs.
        no_webhook: Send no notification; the record of each says so.
        hook: Called with the workspace; what it returns is told of the hand-off, after the notifications are.
    """
    from warpsmith.surface.listing import hand_over
    from warpsmith.surface.notices import Notices

    space = _workspace()
    with Notices(space, release.partition("@")[0], disabled=no_webhook) as notices:
        return hand_over(space, release, to, output, (notices.handed_off, *((hook(space),) if hook else ())))


def regress(
    baseline: str, current: str, *, threshold: float = 0.02, output: Path = Path("regression.json"),
    metric: str = "time",
) -> answers_ship.RegressAnswer:  # fmt: skip
    """Say what got slower between two benchmark reports, two profiles or two releases, by kernel and workload.

    A regression is an interval that lies beyond the threshold as a whole; an improvement never fails. The report is
    written first, as JSON and as Markdown. Exit status 1 where something regressed, fails now, or is gone.

    Args:
        baseline: A report of 'bench', what 'profile --json' printed, or a release.
        current: Another of the same kind.
        threshold: The share by which something may be slower, such as 0.02.
        output: The report; a Markdown file of the same name lies beside it.
        metric: What is compared of benchmark reports.
    """
    from warpsmith.surface.regressing import run_regress

    return run_regress(_workspace(), baseline, current, threshold, output, metric)


def _workspace() -> Workspace:
    from warpsmith.surface.workspace import Workspace

    return Workspace()
