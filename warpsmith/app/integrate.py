"""Integrating a candidate into an application's source: write, build, verify, measure in place; keep it or undo it all.

Nothing is built below the gate. From the first change on, every way out but ``kept`` goes through :meth:`Site.undo`.
"""

from __future__ import annotations

import difflib
import math
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from warpsmith.app.commands import Ran
from warpsmith.app.launchsites import relaunched, sites
from warpsmith.app.outcomes import PENDING, Untold, announce, folder_of, interrupted, recover, settle
from warpsmith.app.realrun import SIDES, Measured, RunFailed, Tell, check_runs, measure, numbers
from warpsmith.app.sections import wanted
from warpsmith.app.site import Site
from warpsmith.app.splicing import Place, splice
from warpsmith.errors import BadInput
from warpsmith.model.app import FIXES, App, Integration, Mended, Outcome, RanCommand, SideReport
from warpsmith.model.base import Record, digest, digest_bytes, short
from warpsmith.model.candidate import Candidate
from warpsmith.store.files import write_atomic

Kind = Literal["compile", "verify", "run"]
PATCH = "change.patch"


class Trouble(Record):
    """A failure as a fixer reads it."""

    kind: Kind
    attempt: int
    """From 1, of this kind."""
    said: str
    """The end of what the command wrote."""
    path: str
    section: str
    """What may be changed: the lines that came with the candidate."""
    text: str
    """The whole file, with the section in it."""
    original: str
    """The whole file as it was."""
    context: dict[str, str]
    """Other files of the application that it names, by path."""


Fixer = Callable[[Trouble], str | None]
"""Another text for the section, or None: nothing more comes to mind. It may raise WarpsmithError."""


class Hygiene(Protocol):
    """Looks at the devices before anything is measured there."""

    def __call__(self, mark: str) -> tuple[str, ...]:
        """End our own leftovers, and say so. Raises BadInput naming a process that is not ours."""


@dataclass(frozen=True)
class Wanted:
    """What is to be integrated."""

    candidate: Candidate
    sources: Mapping[str, str]
    of: str
    """The release, or the task, that it is of: what a reader of the source goes by."""
    gain: float | None = None
    """Share of the kernel's baseline that it saves where it was judged, weighted as app.toml says; None: not known."""
    ledger: str = ""
    """The ledger that is to know what became of it (outcomes.py); empty where no campaign knows the candidate."""


@dataclass
class _Course:
    """What has happened so far."""

    place: Place
    others: dict[str, str]
    """Other files that change, with their new text: they launch the kernel."""
    original: dict[str, str]
    """Every file that may be edited, as it was."""
    verified: Ran
    """The check of the baseline."""
    before: dict[str, str]
    """What a run uses, by path to its digest: the baseline's."""
    after: dict[str, str] = field(default_factory=dict)
    measured: Measured | None = None
    mended: list[Mended] = field(default_factory=list)
    build: Ran | None = None
    verify: Ran | None = None

    @property
    def texts(self) -> dict[str, str]:
        """Every file that may be edited, as it is to be."""
        return {**self.original, **self.others, self.place.path: self.place.text}

    def tries(self, kind: Kind) -> int:
        return sum(m.kind == kind for m in self.mended)


class _Failed(Exception):
    """The candidate does not hold in this application."""


def integrate(
    site: Site, wish: Wanted, *, fixer: Fixer | None = None, hygiene: Hygiene | None = None,
    tell: Tell = lambda said: None,
) -> Integration:  # fmt: skip
    """Carry it out; the tree is afterwards as it was, or holds the candidate, proved in place.

    Raises BadInput where nothing could begin (the application does not build or pass its own check, the candidate does
    not fit, a foreign process is on the device), and Undone. After Ctrl-C the tree is put back before it goes on up.
    """
    if recovered := recover(site):
        tell(recovered)
    work = short(digest([site.app.name, str(site.root), wish.candidate.id, time.time_ns()]))
    untold = Untold(work=work, candidate=wish.candidate.id, of=wish.of, ledger=wish.ledger)
    if wish.gain is not None and wish.gain < site.app.min_gain:
        saves = f"it saves {wish.gain:.1%} of the kernel's time where it was judged"
        reason = f"{saves}; the gate asks for {site.app.min_gain:.1%}, so nothing was built"
        announce(site, untold)
        return settle(site, _report(site, wish, work, "short_circuit", reason), recovered)
    original = {name: (site.root / name).read_text(encoding="utf-8") for name in site.app.edited}
    place, others = placed(site.app, wish, original)
    announce(site, untold)
    site.begin(work, f"integrate {short(wish.candidate.id)} of {wish.of}")
    try:
        if hygiene is not None:
            site.notes += hygiene(work)
        tell("built as it is" if site.normalise() else "as it was built")
        verified = check_runs(site)
        before = site.keep_side("baseline")
        site.save()
        course = _Course(place, others, original, verified, before)
        made = _carry_out(site, wish, work, course, fixer, hygiene, tell)
    except BaseException as error:  # Ctrl-C too: nobody may be left with half a change
        why = f"interrupted: {type(error).__name__}"
        if site.stage == "changed":
            write_atomic(folder_of(site, work) / PENDING, interrupted(site, untold, why).model_dump_json(indent=1))
            site.undo(f"{type(error).__name__}: {error}")
            recover(site)
        elif site.stage == "begun":
            site.give_up(f"{type(error).__name__}: {error}")
        raise
    return settle(site, made, recovered)


def placed(app: App, wish: Wanted, original: Mapping[str, str]) -> tuple[Place, dict[str, str]]:
    """The candidate in its place, and the other files that change because they launch it with its own geometry.

    Raises BadInput where it does not fit.
    """
    texts, notes = dict(original), []
    plan = next((launch for launch in wish.candidate.launch if launch.block is not None), None)
    if plan is not None and app.axes:
        named, candidate = wanted(app.kernel), wish.candidate
        found = [n for n, t in texts.items() if sites(t, n, named)]
        if not found:
            raise BadInput(
                f"no launch of {app.kernel} is in {', '.join(texts)}, so the candidate's grid and block have no place.",
                "Name the file that launches it under context, or leave axes out where the geometry stays.",
            )
        for name in found:
            texts[name] = relaunched(texts[name], name, app.kernel, plan, candidate.parameters, app.axes)
    elif plan is not None:
        notes.append("grid and block of its launches were left as the application has them: app.toml has no axes")
    place = splice(texts[app.source], app.source, app.kernel, wish.candidate, wish.sources, wish.of)
    others = {n: t for n, t in texts.items() if n != app.source and t != original[n]}
    return replace(place, notes=(*place.notes, *notes)), others


def _carry_out(
    site: Site, wish: Wanted, work: str, course: _Course, fixer: Fixer | None, hygiene: Hygiene | None, tell: Tell
) -> Integration:  # fmt: skip
    """From the copied tree to one of its two states. The reports are on disk before either is decided."""
    try:
        _make_it_hold(site, course, fixer, tell)
        course.after = site.keep_side("optimised")
        if hygiene is not None:
            site.notes += hygiene(work)
        course.measured = measure(site, work, tell)
        reason = _why_not(course.measured, site.app)
    except RunFailed as error:
        reason = f"while it was measured: {error.message}"
    except _Failed as error:
        reason = str(error)
    kept = not reason and course.measured is not None
    made = _report(site, wish, work, "kept" if kept else "rolled_back", reason, course)
    _keep_evidence(site, made, course)
    if kept:
        site.put_side("optimised")
        site.keep(made.reason)
        return made
    tell(f"rolled back: {reason.splitlines()[0]}")
    site.undo(reason)
    rebuilt = not any("does not build" in n for n in site.notes)
    return made.model_copy(update={"proved": True, "rebuilt": rebuilt, "notes": (*course.place.notes, *site.notes)})


def _make_it_hold(site: Site, course: _Course, fixer: Fixer | None, tell: Tell) -> None:
    """Write, build, verify and run until all three hold. Raises _Failed with the last failure."""
    while True:
        for name, text in course.texts.items():
            if text != course.original[name] or course.mended:
                site.write(name, text)
        tell(f"building with {'the candidate' if not course.mended else 'what was mended'}")
        course.build = site.build()
        kind: Kind
        if not course.build.well:
            kind, said = "compile", f"the build ended with status {course.build.status}:\n{course.build.said}"
        else:
            course.verify = site.shell.run(site.app.verify, site.app.limits.verify_s)
            if not course.verify.well:
                kind, said = "verify", f"the check ended with status {course.verify.status}:\n{course.verify.said}"
            else:
                try:
                    numbers(site, {})
                except RunFailed as error:
                    kind, said = "run", error.message
                else:
                    return
        _mend(site, course, kind, said, fixer, tell)


def _mend(site: Site, course: _Course, kind: Kind, said: str, fixer: Fixer | None, tell: Tell) -> None:
    """Ask for another section. Raises _Failed where nobody answers, or it was asked often enough."""
    tries = course.tries(kind)
    if fixer is None or tries >= FIXES:
        raise _Failed(said if fixer is None else f"after {tries} fixes, {said}")
    tell(f"{kind} failed; fix {tries + 1} of at most {FIXES}")
    section = fixer(
        Trouble(
            kind=kind, attempt=tries + 1, said=said, path=site.app.source, section=course.place.section,
            text=course.place.text, original=course.original[site.app.source],
            context={n: t for n, t in course.original.items() if n != site.app.source},
        )
    )  # fmt: skip
    answered = section is not None and section.strip() != course.place.section.strip()
    course.mended.append(Mended(kind=kind, said=said[-2000:], answered=answered))
    if section is None or not answered:
        raise _Failed(said)
    course.place = replace(course.place, section=section if section.endswith("\n") else f"{section}\n")


def _why_not(measured: Measured, app: App) -> str:
    """Why it is not kept; empty where it is."""
    if measured.reaches(app.min_gain):
        return ""
    low, high = measured.overall.interval
    said = f"in place it is {measured.verdict}: {measured.overall.speedup:.3f}x ({low:.3f} to {high:.3f})"
    if measured.worse:
        said += f", and {', '.join(measured.worse)} got worse"
    return f"{said}; kept is what saves at least {app.min_gain:.1%}, clearly"


def _keep_evidence(site: Site, made: Integration, course: _Course) -> None:
    """The change as a patch, the reports of the sides that came so far, and what is about to be decided."""
    folder = Path(made.evidence)
    texts = (course.original, course.texts)
    patch: list[str] = []
    for name, before in course.original.items():
        lines = before.splitlines(keepends=True), course.texts[name].splitlines(keepends=True)
        patch += difflib.unified_diff(*lines, f"a/{name}", f"b/{name}")
    write_atomic(folder / PATCH, "".join(patch))
    ran = ((None, course.verified, course.before), (course.build, course.verify, course.after))
    for side, text, (build, verify, artefacts) in zip(SIDES, texts, ran, strict=True):
        if verify is None:
            continue
        report = SideReport(
            side=side,
            artefacts=artefacts,
            sources={n: digest_bytes(t.encode()) for n, t in text.items()},
            samples=course.measured.samples[side] if course.measured else {},
            build=_ran("build", build) if build else None,
            verify=_ran("verify", verify),
            environment=site.set_variables,
            machine=f"{platform.node()} {platform.platform()}",
        )
        write_atomic(folder / f"{side}.json", report.model_dump_json(indent=1))
    write_atomic(folder / PENDING, made.model_dump_json(indent=1))


def _ran(what: Literal["build", "verify", "run"], ran: Ran) -> RanCommand:
    return RanCommand(what=what, status=ran.status, seconds=ran.seconds, said=ran.said)


def _report(
    site: Site, wish: Wanted, work: str, outcome: Outcome, reason: str, course: _Course | None = None
) -> Integration:
    measured = course.measured if course else None
    low, high = measured.overall.interval if measured else (0.0, math.inf)
    return Integration(
        id=work,
        app=site.app.name,
        root=str(site.root),
        candidate=wish.candidate.id,
        of=wish.of,
        outcome=outcome,
        reason=reason or (f"{measured.gain:.1%} saved in place" if measured else ""),
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        speedup=measured.overall.speedup if measured else None,
        low=low if low > 0 else None,
        high=high if high < math.inf else None,
        gains=measured.gains if measured else (),
        mended=tuple(course.mended) if course else (),
        edited=tuple(n for n, t in course.texts.items() if t != course.original[n]) if course else (),
        notes=(*course.place.notes, *site.notes) if course else (),
        evidence=str(folder_of(site, work)),
    )
