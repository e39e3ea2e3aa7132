"""An exported package in a framework: which functions it takes the place of, the lines, and the record of both.

What was installed from this project is kept under ``installs`` in its home: a JSON file and the diff for each.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from warpsmith.errors import BadInput, Missing
from warpsmith.model.base import digest_bytes
from warpsmith.ship import installed, patch
from warpsmith.ship.environment import Environment, look
from warpsmith.ship.patch import Lines, Patch
from warpsmith.ship.runtime.targets import BadTarget, Target, beside, file_of, normalised, read, satisfied, to_json
from warpsmith.store.files import write_atomic
from warpsmith.surface.answers import NO, NOTHING_GAINED, YES
from warpsmith.surface.answers_install import (
    InstallAnswer,
    InstalledPatch,
    RemovedPatch,
    StatusAnswer,
    TargetRow,
    UninstallAnswer,
)
from warpsmith.surface.workspace import Workspace

HOOKS = Path(__file__).parent.parent / "ship" / "hooks"
"""Targets that are known, one file for each framework."""
State = Literal["applied", "outdated", "edited", "gone", "dry"]
Judged = tuple[Literal["ready", "missing", "changed", "unfit"], str]


@dataclass(frozen=True)
class Installation:
    """One package for one framework of one environment."""

    space: Workspace
    folder: Path
    python: str
    framework: str
    """Empty: that of the targets."""

    @classmethod
    def asked(cls, space: Workspace, folder: Path, framework: str, python: str) -> Installation:
        """As it was asked for. Raises BadInput for what is no exported package."""
        folder = folder.resolve()
        if not (folder / "_runtime" / "install.py").is_file() or not folder.name.isidentifier():
            raise BadInput(f"{folder} is no exported package.", "Make one with 'warpsmith export'.")
        return cls(space, folder, shutil.which(python or sys.executable) or python, framework)

    @classmethod
    def again(cls, space: Workspace, kept: Patch) -> Installation:
        """As it was done."""
        return cls(space, Path(kept.folder), kept.python, kept.lines.framework)

    @property
    def name(self) -> str:
        """What the package is imported by."""
        return self.folder.name

    def look(self, framework: str, targets: Sequence[str] = ()) -> Environment:
        """What the environment holds. Raises BadInput, also where the package cannot be imported there."""
        found = look(self.python, framework, self.name, self.folder, targets)
        if found.problem:
            raise BadInput(f"{self.name} cannot be imported by {self.python}: {found.problem}.", "Export it anew.")
        return found

    def choose(self, named: tuple[str, ...], file: Path | None, operation: str) -> tuple[Target, ...]:
        """The targets that were asked for; without any, the package's own, or those that are known. Raises BadInput."""
        try:
            if named:
                return self._named(named, operation)
            if file is not None or file_of(self.folder).is_file():
                chosen = read(file or file_of(self.folder))
            else:
                there = self.look("").dispatches
                chosen = tuple(t for hooks in sorted(HOOKS.glob("*.json")) for t in read(hooks) if t.dispatch in there)
        except BadTarget as error:
            raise BadInput(f"{error}.", "Say module:function, or mend the file of targets.") from None
        chosen = tuple(t for t in chosen if self.framework in ("", _top(t)))
        if not chosen:
            raise BadInput(f"no function is known that {self.name} could take the place of.", "Name one by --target.")
        return chosen

    def _named(self, named: tuple[str, ...], operation: str) -> tuple[Target, ...]:
        """Targets as the environment has them now: their signatures and the framework's version are written down."""
        found = self.look(self.framework or named[0].partition(":")[0].partition(".")[0], named)
        if not operation and len(found.dispatches) != 1:
            raise BadInput(
                f"{self.name} has {', '.join(found.dispatches) or 'no operation'}.", "Name it by --operation."
            )
        versions, distribution = (f"=={found.version}", found.distribution) if found.version else ("", "")
        operation = operation or next(iter(found.dispatches))
        return tuple(Target(t, operation, found.signatures.get(t, ""), distribution, versions) for t in named)

    def install(self, targets: Sequence[Target], *, dry_run: bool) -> InstallAnswer:
        """Write the package's targets and the framework's lines. Raises BadInput and Missing."""
        framework = self.framework or _top(targets[0])
        there = self.look(framework, [t.target for t in targets])
        if not there.file:
            raise Missing(f"{self.python} has no file of {framework}.", "Name the environment by --python.")
        rows = tuple(_row(one, there, framework) for one in targets)
        ready = sum(r.state == "ready" for r in rows)
        before = Path(there.file).read_bytes()
        was = next((lines for lines in patch.read(before) if lines.package == self.name), None)
        bare = patch.remove(before, self.name)[0] if was is not None else before
        after = patch.add(bare, self.name, framework, there.version, "" if there.found else str(self.folder.parent))
        made = Patch(
            lines=patch.read(after)[-1],
            folder=str(self.folder),
            file=there.file,
            python=self.python,
            after=digest_bytes(after),
            diff=patch.unified(bare, after, f"{framework}/{Path(there.file).name}"),
            at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        )
        again = _again(self.space, made, was)
        measured, refused = installed.kept(self.folder)
        if write := bool(ready) and not dry_run and not refused:
            self._write(targets, made, before, after)
        place = _place(self.space, made).with_suffix(".patch")
        return InstallAnswer(
            exit_status=NO if refused or not ready else YES if ready == len(rows) else NOTHING_GAINED,
            patch=_installed(made, "applied" if write else "dry", again, there.version, rows),
            changed=write and before != after,
            diff=made.diff,
            path="refused" if refused else _path(measured),
            refusals=tuple(refused),
            written=str(place) if write else "",
        )

    def _write(self, targets: Sequence[Target], made: Patch, before: bytes, after: bytes) -> None:
        """Targets first: lines without them would install nothing. The record last: it names what is done."""
        write_atomic(beside(self.folder), json.dumps(to_json(targets), indent=1) + "\n")
        if before != after:
            patch.replace(Path(made.file), before, after)
        place = _place(self.space, made)
        write_atomic(place.with_suffix(".patch"), made.diff)
        write_atomic(place, made.model_dump_json(indent=1))

    def stands(self, kept: Patch) -> InstalledPatch:
        """How something that was installed stands now. Nothing is raised: what is wrong is said."""
        rows: tuple[TargetRow, ...] = ()
        version = problem = ""
        try:
            targets = self.choose((), None, "")
            there = self.look(kept.lines.framework, [t.target for t in targets])
            version, rows = there.version, tuple(_row(one, there, kept.lines.framework) for one in targets)
        except BadInput as broken:
            problem = broken.message
        state, detail = _state(kept, version)
        return _installed(kept, state, detail or problem, version, rows)


def _path(known: installed.InstalledPath | None) -> Literal["arrives", "unclear", "not measured"]:
    if known is None:
        return "not measured"
    return "arrives" if all(row["shown"] for row in installed.stamped(known.measured)) else "unclear"


def list_installed(space: Workspace, package: str) -> StatusAnswer:
    """How everything that was installed from this project stands now."""
    rows = tuple(Installation.again(space, kept).stands(kept) for kept in _kept(space, package))
    fine = all(r.state in ("applied", "edited") for r in rows)
    return StatusAnswer(exit_status=YES if fine else NO, patches=rows)


def take_out(space: Workspace, package: str, framework: str) -> UninstallAnswer:
    """Take a package's lines out wherever they were put. Raises BadInput where none are known."""
    chosen = [kept for kept in _kept(space, package) if framework in ("", kept.lines.framework)]
    if not chosen:
        raise BadInput(f"{package} is not installed anywhere that is known here.", "See 'warpsmith status'.")
    removed = []
    for kept in chosen:
        exact, detail = _take_out(kept)
        lines = kept.lines
        removed.append(
            RemovedPatch(package=package, framework=lines.framework, file=kept.file, exact=exact, detail=detail)
        )
        for suffix in (".json", ".patch"):
            _place(space, kept).with_suffix(suffix).unlink(missing_ok=True)
    return UninstallAnswer(exit_status=YES if all(r.exact for r in removed) else NOTHING_GAINED, removed=tuple(removed))


def renew(space: Workspace, folder: Path) -> tuple[str, ...]:
    """Make a package's lines anew where it was exported again, or the framework has another version by now, or lost
    them; what was done, in words. Nothing is raised: the export stands, whatever an environment says.
    """
    said = []
    for kept in _kept(space, folder.resolve().name):
        one = Installation.again(space, kept)
        if one.folder.resolve() != folder.resolve():
            continue
        try:
            state, done = one.stands(kept).state, one.install(one.choose((), None, ""), dry_run=False)
        except (BadInput, Missing) as error:
            said.append(f"{kept.lines.framework} ({kept.file}): {error.message}")
            continue
        unfit = [f"{t.target} is {t.state}: {t.detail}" for t in done.patch.targets if t.state != "ready"]
        if done.changed:
            said.append(f"its lines in {kept.lines.framework} were {state}; made anew for {done.patch.made_for}")
        said += [f"{kept.lines.framework}: {why}" for why in (*unfit, *(r.message for r in done.refusals))]
    return tuple(said)


def _take_out(kept: Patch) -> tuple[bool, str]:
    """Whether the file is as it was before, and what is to be said of it."""
    file = Path(kept.file)
    try:
        before = file.read_bytes()
    except OSError as error:
        return False, f"the file cannot be read: {error.strerror}"
    if kept.lines.package not in {lines.package for lines in patch.read(before)}:
        return False, "the lines were gone already"
    after, exact = patch.remove(before, kept.lines.package)
    patch.replace(file, before, after)
    return exact, "" if exact else "somebody changed the file since; the rest is left as it is"


def _row(one: Target, there: Environment, framework: str) -> TargetRow:
    """A target as far as its source tells."""
    state, detail = _judged(one, there, framework)
    said = there.dispatches.get(one.dispatch)
    release, ratio = (said.release, said.ratio) if said else ("", 0.0)
    return TargetRow(target=one.target, dispatch=one.dispatch, release=release, ratio=ratio, state=state, detail=detail)


def _judged(one: Target, there: Environment, framework: str) -> Judged:
    if one.dispatch not in there.dispatches:
        return "unfit", f"the package has no operation {one.dispatch!r}"
    if _top(one) != framework:
        return "ready", f"not of {framework}: checked when its module is imported"
    if one.package and not satisfied(there.version, one.versions):
        return "changed", f"{one.package} is {there.version or 'of no known version'}, and {one.versions} is asked for"
    now = there.signatures.get(one.target)
    if now is None:
        return "missing", "its source does not define it"
    if one.signature and normalised(now) != normalised(one.signature):
        return "changed", f"its signature is {now}, and {one.signature} is asked for"
    return "ready", ""


def _state(kept: Patch, version: str) -> tuple[State, str]:
    """Whether the lines are where they were put."""
    try:
        content = Path(kept.file).read_bytes()
        there = {lines.package: lines for lines in patch.read(content)}
    except (OSError, BadInput) as error:
        return "gone", str(error)
    lines = there.get(kept.lines.package)
    if lines is None:
        return "gone", f"{kept.lines.framework} was installed anew; 'warpsmith install' puts the lines back"
    if version and lines.version != version:
        return "outdated", f"made for {lines.version}, and {version} is there; 'warpsmith install' makes them anew"
    if digest_bytes(content) != kept.after and len(there) == 1:
        return "edited", "somebody changed the file since; the lines are there"
    return "applied", ""


def _again(space: Workspace, made: Patch, was: Lines | None) -> str:
    """What an earlier ``install`` of the same left, in words."""
    now = made.lines.version
    if was is not None:
        return f"made anew: it was for {was.version}, and {now} is there" if was.version != now else ""
    kept = [k for k in _kept(space, made.lines.package) if k.file == made.file]
    return f"made anew: {now} took the place of {kept[0].lines.version}, and the lines with it" if kept else ""


def _installed(made: Patch, state: State, detail: str, version: str, rows: tuple[TargetRow, ...]) -> InstalledPatch:
    return InstalledPatch(
        package=made.lines.package,
        folder=made.folder,
        framework=made.lines.framework,
        python=made.python,
        file=made.file,
        state=state,
        detail=detail,
        made_for=made.lines.version,
        version=version,
        targets=rows,
    )


def _kept(space: Workspace, package: str) -> list[Patch]:
    """What was installed from this project, of one package or of all."""
    found = []
    for place in sorted((space.home / "installs").glob("*.json")):
        try:
            kept = Patch.model_validate_json(place.read_bytes())
        except ValidationError:
            raise BadInput(f"{place} cannot be read.", "Remove it, and install again.") from None
        if package in ("", kept.lines.package):
            found.append(kept)
    return found


def _place(space: Workspace, made: Patch) -> Path:
    where = digest_bytes(made.file.encode())[:8]
    return space.home / "installs" / f"{made.lines.framework}-{made.lines.package}-{where}.json"


def _top(one: Target) -> str:
    return one.module.partition(".")[0]
