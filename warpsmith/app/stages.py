"""The road of an application in named stages, one after another: each cached by what it reads, resumable, skippable.

A stage says what it depends on; its result is kept under the hash of that and of what the stages before it gave. The
same inputs mean the same result, so it is not run again; whatever stops a stage, the next run begins at it. A stage
that cannot apply says why, and the road goes on without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field, ValidationError

from warpsmith.errors import BadInput
from warpsmith.model.base import Digest, Record, digest
from warpsmith.store.files import write_atomic

Name = Literal["observe", "capture", "optimize", "trial", "integrate"]
STAGES: tuple[Name, ...] = ("observe", "capture", "optimize", "trial", "integrate")
CHANGES: tuple[Name, ...] = ("integrate",)
"""Stages that change what those before them read: the source, and what is built of it."""
State = Literal["done", "cached", "skipped", "not_applicable", "stopped"]


class Result(Record):
    """What a stage gave."""

    said: str
    """One line for people."""
    gives: dict[str, str] = Field(default_factory=dict)
    """What later stages read, by name: ``task``, ``candidate``, folders."""
    stop: str = ""
    """Why the road ends here; empty where it goes on."""
    exit_status: int = 0
    """Of the whole road, where it ends here."""


class Stage(Protocol):
    """One stage. ``given`` is what earlier stages gave, merged."""

    @property
    def name(self) -> Name:
        """Which of the road's stages it is."""

    def not_applicable(self, given: Mapping[str, str]) -> str:
        """Why it does not apply to this application on this machine; empty where it does."""

    def inputs(self, given: Mapping[str, str]) -> Mapping[str, str]:
        """Everything that its result depends on, by name, as texts or hashes: files, settings, versions."""

    def run(self, given: Mapping[str, str]) -> Result:
        """Carry it out. Raises WarpsmithError; running it again must go on where it was stopped, or begin anew."""


class StageReport(Record):
    """What became of one stage."""

    name: Name
    state: State
    said: str
    seconds: float = 0.0
    gives: dict[str, str] = Field(default_factory=dict)


class Kept(Record):
    """A result on disk, with what it depends on."""

    format: Literal[1] = 1
    inputs: Digest
    result: Result
    at: float


class Road(Record):
    """The stages that were come to, and how it ended."""

    reports: tuple[StageReport, ...]
    exit_status: int


def walk(
    stages: Sequence[Stage], folder: Path, *, skip: Sequence[str] = (), again: Sequence[str] = (),
    given: Mapping[str, str] | None = None, tell: Callable[[StageReport], None] = lambda report: None,
) -> Road:  # fmt: skip
    """Go the road. ``folder`` keeps the results; a stage named in ``again``, and every one behind it that reads what
    it gives, runs whatever is kept. Raises BadInput for an unknown name, and what a stage raises.
    """
    for flag, names in (("--skip", skip), ("--again", again)):
        if unknown := [n for n in names if n not in STAGES]:
            raise BadInput(f"{flag}: there is no stage {unknown[0]!r}.", f"Stages: {', '.join(STAGES)}.")
    known = dict(given or {})
    reports: list[StageReport] = []
    passed: list[_Passed] = []
    for stage in stages:
        here = _Passed(stage, dict(known), folder / f"{stage.name}.json")
        report, result = _one(here, passed, skip=stage.name in skip, again=stage.name in again)
        reports.append(report)
        tell(report)
        if result is not None:
            passed.append(here)
            known.update(result.gives)
            if result.stop:
                return Road(reports=tuple(reports), exit_status=result.exit_status)
    return Road(reports=tuple(reports), exit_status=0)


@dataclass(frozen=True)
class _Passed:
    """A stage that was come to, with what was given there, and where its result is kept."""

    stage: Stage
    given: Mapping[str, str]
    path: Path

    def key(self) -> Digest:
        """Of all that its result depends on, as it is now."""
        return digest({"stage": self.stage.name, "inputs": dict(self.stage.inputs(self.given))})

    def keep(self, result: Result) -> None:
        """Its result holds for how things are now."""
        write_atomic(self.path, Kept(inputs=self.key(), result=result, at=time.time()).model_dump_json(indent=1))


def _one(here: _Passed, earlier: Sequence[_Passed], *, skip: bool, again: bool) -> tuple[StageReport, Result | None]:
    stage = here.stage
    if skip:
        return StageReport(name=stage.name, state="skipped", said="asked for with --skip"), None
    if why := stage.not_applicable(here.given):
        return StageReport(name=stage.name, state="not_applicable", said=why), None
    kept = None if again else _kept(here.path)
    if kept is not None and kept.inputs == here.key():
        state: State = "stopped" if kept.result.stop else "cached"
        return _report(stage.name, state, kept.result, 0.0, "as it was found before: "), kept.result
    here.path.unlink(missing_ok=True)  # what is kept is not of these inputs, whatever happens next
    read = earlier if stage.name in CHANGES else ()
    hold = [(p, was.result) for p in read if (was := _kept(p.path)) is not None and was.inputs == p.key()]
    began = time.monotonic()
    result = stage.run(here.given)
    seconds = time.monotonic() - began
    # what was found holds for how integrate left things, else the same command would begin again with what it has just
    # kept; not where somebody else had changed them meanwhile
    for one, found in (*hold, (here, result)):
        one.keep(found)
    return _report(stage.name, "stopped" if result.stop else "done", result, seconds, ""), result


def _report(name: Name, state: State, result: Result, seconds: float, before: str) -> StageReport:
    return StageReport(
        name=name, state=state, said=f"{before}{result.stop or result.said}", seconds=seconds, gives=result.gives
    )


def _kept(path: Path) -> Kept | None:
    try:
        return Kept.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def of_files(root: Path, names: Sequence[str]) -> dict[str, Any]:
    """The hashes of some files, for :meth:`Stage.inputs`."""
    from warpsmith.model.base import digest_bytes

    return {n: digest_bytes((root / n).read_bytes()) if (root / n).is_file() else "none" for n in names}
