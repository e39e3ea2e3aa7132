"""The verb ``trial``: the real application beside itself, with a candidate swapped in at launch, and no rebuild."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from warpsmith.errors import BadInput, LedgerError, Missing

if TYPE_CHECKING:
    from warpsmith.app.running import App
    from warpsmith.app.stages import Name, Result, Stage
    from warpsmith.app.trial import Trial, Wish
    from warpsmith.model.candidate import Candidate
    from warpsmith.model.target import Target
    from warpsmith.model.task import AppTask
    from warpsmith.surface.answers_app import TrialAnswer
    from warpsmith.surface.journey import Journey
    from warpsmith.surface.workspace import Known, Workspace

RESULT = {"faster": "accepted", "slower": "rejected", "same": "short_circuit", "ambiguous": "short_circuit"}


def trial(
    candidate: str,
    *,
    application: tuple[str, ...] = (),
    task: str = "",
    tag: str = "main",
    pairs: int = 5,
    regex: str = "",
    json_path: str = "",
    unit: str = "",
    higher: bool = False,
    check: str = "",
    compare: tuple[Path, ...] = (),
    limit: float = 600.0,
) -> TrialAnswer:
    """Run the real application with the candidate swapped in at launch, and without, in alternating runs.

    Exit status 0 where the application is faster, 1 where it is slower, fails, or gives other outputs, 2 where nothing
    was gained. Outputs are standard output unless --check or --compare says otherwise. Needs a captured task.

    Args:
        candidate: A release as group/name@version, a folder with candidate.toml, an id, or best.
        application: The program with its arguments, behind --.
        task: The captured task that the candidate is of, where its folder or its id does not say.
        tag: The campaign that 'best' refers to.
        pairs: Runs of each side; fixed beforehand.
        regex: The application's own metric: a pattern over its output whose first group is the number. Else wall time.
        json_path: The same, as a path into a JSON document that it prints, such as times.0.seconds.
        unit: Unit of the metric.
        higher: A larger metric is better.
        check: Command that says by its exit status whether outputs are right; WARPSMITH_OUTPUT names the run's output.
        compare: A file that each run writes and that must not differ (may be given several times).
        limit: Seconds after which a run is ended.
    """
    from warpsmith.app.running import app
    from warpsmith.app.trial import Wish, metric_of
    from warpsmith.surface.integrating import environment
    from warpsmith.surface.workspace import Workspace

    if pairs < 2 or limit <= 0:
        raise BadInput("--pairs is at least 2, and --limit above 0.", "Give such numbers.")
    space = Workspace()
    said = app(application, environment=environment(space))
    wish = Wish(pairs, metric_of(regex, json_path, unit, higher=higher), check, compare, limit)
    known, chosen, ledger = named(space, candidate, task, tag)
    return carry_out(space, said, known, chosen, wish, ledger)


def named(space: Workspace, name: str, task: str, tag: str) -> tuple[Known, Candidate, Path | None]:
    """A candidate with its captured task, and the ledger that knows it. Raises BadInput."""
    from warpsmith.store.folders import CANDIDATE_FILE, TASK_FILE
    from warpsmith.surface.candidates import find
    from warpsmith.surface.capturing import known_of

    if "@" in name:
        return _released(space, name, task, tag)
    if not task and (Path(name) / CANDIDATE_FILE).is_file():
        above = [p for p in Path(name).resolve().parents if (p / TASK_FILE).is_file()]
        if not above:
            raise BadInput(f"{name} lies in no task's folder.", "Say which with --task.")
        task = str(above[0])
    if not task:
        if name in ("best", "baseline", "entry"):
            raise BadInput(f"{name!r} of which task?", "Say so with --task.")
        h, whole = find(space, name, None)
        assert h.campaign is not None
        known = known_of(space, str(space.root / "tasks" / h.campaign.task_name))
        return known, h.candidates[whole], space.ledger(h.campaign.task_name, h.campaign.tag)
    known = known_of(space, task)
    chosen = space.candidate(known, name, tag)
    return known, chosen, _ledger(space, known, chosen, tag)


def _released(space: Workspace, name: str, task: str, tag: str) -> tuple[Known, Candidate, Path | None]:
    """A release with its task as it brings it, so that a project without the task can try it too."""
    from warpsmith.surface.capturing import captured, known_of
    from warpsmith.surface.shelves import released_task, shelf

    there = shelf(space)
    manifest = there.manifest(there.find(name))
    known = captured(released_task(space, manifest, there.place(manifest.name, manifest.version)))
    if task and (other := known_of(space, task).loaded.head.name) != manifest.name:
        raise BadInput(f"{manifest.spec} is of the task {manifest.name}, and not of {other}.", "Leave --task out.")
    return known, manifest.candidate, _ledger(space, known, manifest.candidate, tag)


def _ledger(space: Workspace, known: Known, candidate: Candidate, tag: str) -> Path | None:
    """The ledger of a campaign that knows the candidate."""
    task = known.loaded.head.name
    for one in sorted(space.tags(task), key=lambda t: (t != tag, t)):
        if candidate.id in space.history(task, one).candidates:
            return space.ledger(task, one)
    return None


def carry_out(
    space: Workspace, said: App, known: Known, candidate: Candidate, wish: Wish, ledger: Path | None
) -> TrialAnswer:
    """Build the candidate, find its rules, run the pairs, and keep the report."""
    from warpsmith.app.library import library
    from warpsmith.app.probe import probe
    from warpsmith.app.swapping import rules
    from warpsmith.app.trial import Bench, kept_image, recorded
    from warpsmith.model.base import short
    from warpsmith.model.task import AppTask
    from warpsmith.store.files import write_atomic
    from warpsmith.surface.answers_app import TrialAnswer

    task = known.loaded.task
    assert isinstance(task, AppTask)
    found = probe(space.home / "cache", said.environment)
    if not found.swap:
        raise Missing(
            f"kernels cannot be swapped into a live application here: {found.swap_said}.",
            "Use 'warpsmith integrate', which writes the candidate into the source.",
        )
    target = space.target(known)
    built = library(space.home / "cache")
    mark = f"trial-{os.getpid()}-{time.time_ns()}"
    folder = space.home / "trials" / f"{time.strftime('%Y%m%dT%H%M%S')}-{short(candidate.id)}"
    image = kept_image(_build(space, candidate, target, task), folder)
    seen = recorded(said, built, task.original.symbol, wish.limit_s, mark)
    swaps = rules(candidate, task, seen.launches, image, target.facts)
    bench = Bench(
        said, built, task.original.symbol, frozenset(r.entry for r in swaps.rules), swaps.rules, wish, mark,
        partial(print, file=sys.stderr), list(swaps.notes),
    )  # fmt: skip
    made = bench.trial(swaps.covered / max(1, swaps.launches))
    write_atomic(folder / "trial.json", made.model_dump_json(indent=1))
    return TrialAnswer(
        exit_status=status(made), task=task.name, candidate=candidate.id, trial=made,
        report=str(folder / "trial.json"), ledger=_tell(ledger, candidate, made, folder),
    )  # fmt: skip


def status(made: Trial) -> int:
    """The exit status that a trial means."""
    from warpsmith.surface.answers import NO, NOTHING_GAINED, YES

    if made.outcome == "not_swapped":
        return NOTHING_GAINED
    if made.verdict is None or made.verdict == "slower":
        return NO
    return YES if made.verdict == "faster" else NOTHING_GAINED


def _build(space: Workspace, candidate: Candidate, target: Target, task: AppTask) -> Path:
    """The candidate's cubin for this device. Raises BuildFailed."""
    from warpsmith.toolchains.cache import build

    with tempfile.TemporaryDirectory(prefix="warpsmith-candidate-") as place:
        space.blobs.unpack(candidate, Path(place))
        return build(candidate, Path(place), target, "release", space.home / "cache" / "build", task).binary


def _tell(ledger: Path | None, candidate: Candidate, made: Trial, folder: Path) -> str:
    """Write the outcome into the ledger that knows the candidate; returns its path."""
    from warpsmith.model.campaign import Decided
    from warpsmith.store.ledger import Ledger

    if ledger is None:
        return ""
    result = "rejected" if made.verdict is None else RESULT[made.verdict]
    if made.outcome == "not_swapped":
        result = "short_circuit"
    event = Decided.model_validate(
        {
            "candidate": candidate.id,
            "decision": "trial",
            "result": result,
            "reason": made.reason.splitlines()[0],
            "at": time.time(),
            "evidence": (str(folder),),
        }
    )
    try:
        with Ledger(ledger) as writing:
            writing.append(event)
    except LedgerError as error:
        print(f"the outcome is not in the ledger: {error}", file=sys.stderr)  # noqa: T201
        return ""
    return str(ledger)


def stage(journey: Journey) -> Stage:
    """The stage of ``run``."""
    return TrialStage(journey)


@dataclass(frozen=True)
class TrialStage:
    """The candidate in the live application, before anything is written into its source."""

    journey: Journey
    name: Name = "trial"

    def not_applicable(self, given: Mapping[str, str]) -> str:
        """Where no candidate is known, its task was not captured, or kernels cannot be swapped here."""
        from warpsmith.app.probe import probe
        from warpsmith.model.task import AppTask

        known = self.journey.known(given)
        if known is None or "candidate" not in given:
            return "no stage gave a candidate"
        if not isinstance(known.loaded.task, AppTask) or known.loaded.task.contract != "device":
            return "the task was not captured, so nobody knows which launches to replace"
        found = probe(self.journey.space.home / "cache")
        return "" if found.swap else found.swap_said

    def inputs(self, given: Mapping[str, str]) -> Mapping[str, str]:
        """Candidate, task, and what is run."""
        from warpsmith.app.stages import of_files
        from warpsmith.model.base import digest

        described = self.journey.described
        files = of_files(described.root, described.app.artefacts or described.app.edited)
        known = self.journey.known(given)
        task = known.loaded.digest if known is not None else ""
        return {"candidate": given["candidate"], "task": task, "app": digest(described.app), **files}

    def run(self, given: Mapping[str, str]) -> Result:
        """Both sides, in pairs; what is wrong or slower ends the road."""
        from warpsmith.app.stages import Result
        from warpsmith.app.trial import Wish
        from warpsmith.surface.capturing import application_of

        described, space = self.journey.described, self.journey.space
        known = self.journey.known(given)
        assert known is not None
        said = application_of(self.journey)
        verify = described.app.verify
        check = verify if isinstance(verify, str) else shlex.join(verify)
        wish = Wish(described.app.pairs, described.app.metrics[0], check, (), described.app.limits.run_s)
        chosen = space.candidate(known, given["candidate"], self.journey.tag)
        made = carry_out(space, said, known, chosen, wish, _ledger(space, known, chosen, self.journey.tag))
        if made.trial.outcome in ("wrong_output", "crashed", "timed_out") or made.trial.verdict == "slower":
            return Result(said="", stop=made.trial.reason, exit_status=2)
        return Result(said=made.trial.reason)
