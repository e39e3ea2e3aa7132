"""The ``verify`` verb: a release proved again from its manifest alone. Hashes first; nothing of one that was changed is
run.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

from warpsmith.analyse.compare import Verdict, compare
from warpsmith.errors import BadInput, BuildFailed, Missing, WarpsmithError
from warpsmith.model.base import digest_bytes, short
from warpsmith.model.campaign import Budget
from warpsmith.model.evaluation import Effort
from warpsmith.model.release import IndexEntry, Manifest
from warpsmith.model.target import Target
from warpsmith.ship import seal
from warpsmith.ship.drafting import gain_of
from warpsmith.ship.seal import Check, failed, passed
from warpsmith.ship.shelf import Shelf
from warpsmith.ship.staleness import same_hardware
from warpsmith.surface.answers import NO, NOTHING_GAINED, YES
from warpsmith.surface.answers_ship import VerifiedRelease, VerifyAnswer
from warpsmith.surface.campaigns import open_campaign
from warpsmith.surface.shelves import here, released_task, shelf, stale, trusted_keys
from warpsmith.surface.workspace import Known, Workspace
from warpsmith.toolchains import toolchain
from warpsmith.toolchains.cache import build


def run_verify(space: Workspace, release: str, *, retest: bool, hashes: bool, gain: bool) -> VerifyAnswer:
    """Verify one release, or all of them; with ``retest`` only stale ones, on today's software. Raises BadInput."""
    there = shelf(space)
    index = seal.check_index(there)
    try:
        entries = there.entries() if not release else (there.find(release),)
    except BadInput:
        if any(c.result == "failed" for c in index):  # that is why it cannot be found
            return VerifyAnswer(exit_status=NO, index=index, releases=())
        raise
    if not entries:
        raise BadInput("nothing has been released here.", "See 'warpsmith promote'.")
    verified = []
    for entry in entries:
        checks, manifest = seal.check_release(there, entry, trusted_keys(space))
        old = stale(space, manifest) if manifest else ()
        if retest and manifest is not None and not old and not release:
            continue
        sound = manifest is not None and all(c.result != "failed" for c in checks)
        if manifest is not None and sound and not hashes:
            checks = (*checks, *prove(space, there, entry, manifest, old, retest=retest, gain=gain))
        verified.append(VerifiedRelease(release=entry.spec, stale=old, checks=checks))
    every = (*index, *(c for v in verified for c in v.checks))
    return VerifyAnswer(exit_status=exit_status(every), index=index, releases=tuple(verified))


def exit_status(checks: tuple[Check, ...]) -> int:
    """1 where one failed, 2 where one gave no clear answer, 4 where this machine cannot tell, else 0."""
    results = {c.result for c in checks}
    if "failed" in results:
        return NO
    if "unclear" in results:
        return NOTHING_GAINED
    return Missing.exit_status if "lacking" in results else YES


def prove(
    space: Workspace, there: Shelf, entry: IndexEntry, manifest: Manifest, old: tuple[str, ...], *, retest: bool,
    gain: bool,
) -> tuple[Check, ...]:  # fmt: skip
    """Rebuild, judge and time a release whose every byte is as it was."""
    folder = there.place(entry.name, entry.version)
    try:
        known = released_task(space, manifest, folder)
    except BadInput as broken:
        return (failed("task", broken.message, broken.remedy),)
    checks = [passed("task", f"{manifest.name} ({short(manifest.task)}), as the release brings it")]
    checks.append(rebuild(manifest, folder, known))
    target = here(manifest.hardware)
    if target is None:
        lacks = Check(
            name="correctness",
            result="lacking",
            detail=f"there is no {manifest.hardware} device here",
            remedy="Verify it on a machine that has one, or with --hashes.",
        )
        return (*checks, lacks)
    checks.append(correctness(space, manifest, known, target))
    if checks[-1].result == "passed":
        checks.append(timed(space, manifest, known, target, old, retest=retest, asked=gain))
    return tuple(checks)


def rebuild(manifest: Manifest, folder: Path, known: Known) -> Check:
    """Build the sources anew, outside any cache: the same bytes, or a named reason for others."""
    wanted = manifest.variants[0]
    if digest_bytes((folder / wanted.artefact).read_bytes()) != manifest.build.binary:
        return failed("rebuild", "the artefact is not the binary that was measured", seal.RESTORE_RELEASE)
    try:
        first, second = (_built(manifest, folder, known) for _ in range(2))
        compiler = toolchain(manifest.candidate.toolchain).version()
    except Missing as lacks:
        return Check(name="rebuild", result="lacking", detail=lacks.message, remedy=lacks.remedy)
    except BuildFailed as error:
        if (compiler := toolchain(manifest.candidate.toolchain).version()) != manifest.compiler:
            error.message += f" (built by {manifest.compiler}, now by {compiler})"
        return failed("rebuild", error.message, f"Install {manifest.compiler}.")
    if first == manifest.build.binary:
        return passed("rebuild", f"the same {manifest.build.binary_bytes} bytes, by {compiler}")
    native = manifest.hardware == "cpu" and (now := here("cpu")) is not None and now.architecture
    reasons = [
        f"the compiler is {compiler} instead of {manifest.compiler}" if compiler != manifest.compiler else "",
        f"this processor is {native} instead of {manifest.target.architecture}"
        if native and native != manifest.target.architecture
        else "",
        "two builds here differ too: the compiler writes time stamps or random names" if first != second else "",
    ]
    if why := "; ".join(filter(None, reasons)):
        return Check(name="rebuild", result="explained", detail=f"other bytes, since {why}")
    remedy = "Do not use the artefact: its sources give another one. Promote the candidate anew."
    return failed("rebuild", "other bytes, for no reason that is known", remedy)


def _built(manifest: Manifest, folder: Path, known: Known) -> str:
    """The digest of what the sources give now."""
    with tempfile.TemporaryDirectory() as cache:
        made = build(
            manifest.candidate, folder / "candidate", manifest.target, "release", Path(cache), known.loaded.kernel
        )
        return made.build.binary


def correctness(space: Workspace, manifest: Manifest, known: Known, target: Target) -> Check:
    """Every family and shape, as at the first time."""
    try:
        found = space.measure(known, target, manifest.candidate, manifest.candidate, Effort.check, "verify")
    except WarpsmithError as error:
        return Check(name="correctness", result="lacking", detail=error.message, remedy=error.remedy or "Try again.")
    if not found.passed:
        return failed("correctness", f"{found.status}: {found.detail}", "Do not use it; 'warpsmith reject' says why.")
    calls = sum(w.calls for w in found.workloads)
    return passed("correctness", f"{calls} calls verified on {len(found.workloads)} workloads and hidden shapes")


def timed(
    space: Workspace, manifest: Manifest, known: Known, target: Target, old: tuple[str, ...], *, retest: bool,
    asked: bool,
) -> Check:  # fmt: skip
    """The gain, measured again beside the release's own baseline, on the same hardware."""
    there = manifest.target
    if not asked:
        return Check(name="gain", result="skipped", detail="not asked for")
    if not same_hardware(manifest, target):
        said = f"measured on {there.device} ({there.architecture}), and this is {target.device} ({target.architecture})"
        return Check(name="gain", result="skipped", detail=said)
    if there.key != target.key and not retest:
        detail = f"software changed since: {'; '.join(old) or 'see the target'}"
        return Check(name="gain", result="skipped", detail=detail, remedy="'verify --stale' measures it all the same.")
    campaign = open_campaign(space, known, target, "verify", "none", Budget(rounds=0))
    try:
        found = space.measure(known, target, manifest.candidate, known.baseline, Effort.confirm, "verify")
    except WarpsmithError as error:
        return Check(name="gain", result="lacking", detail=error.message, remedy=error.remedy or "Try again.")
    answer = compare(found, campaign)
    if answer is None:
        return failed("gain", f"{found.status}: {found.detail or found.rival_detail}", "Promote it anew, or reject it.")
    now, then = gain_of(answer.overall), manifest.gain
    said = f"{now.speedup:.3f}x [{now.low:.3f}, {now.high:.3f}] now, {then.speedup:.3f}x then"
    remedy = "See what changed on this machine; 'warpsmith doctor --calibrate' measures its noise."
    if answer.verdict is Verdict.ambiguous and not answer.regressed:
        return Check(name="gain", result="unclear", detail=said, remedy=remedy)
    if answer.verdict is Verdict.faster and 1 - 1 / now.speedup >= manifest.min_gain:
        if math.exp(-answer.overall.low) * math.exp(answer.margin) < (then.low or 0.0):
            return Check(
                name="gain", result="unclear", detail=f"faster, but less than was released: {said}", remedy=remedy
            )
        return passed("gain", said)
    slower = f"; slower on {', '.join(answer.regressed)}" if answer.regressed else ""
    return failed("gain", f"{answer.verdict}: {said}{slower}", remedy)
