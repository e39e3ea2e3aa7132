"""The verbs ``integrate`` and ``intake``: a candidate into an application's source, and foreign sources taken in."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from warpsmith.errors import BadInput, LedgerError

if TYPE_CHECKING:
    from warpsmith.app.integrate import Fixer
    from warpsmith.app.loading import Described
    from warpsmith.app.site import Site
    from warpsmith.model.candidate import Candidate
    from warpsmith.model.release import Manifest
    from warpsmith.store.history import History
    from warpsmith.surface.answers_integrate import IntakeAnswer, IntegrateAnswer
    from warpsmith.surface.workspace import Known, Workspace

STATUS = {"kept": 0, "rolled_back": 1, "short_circuit": 2}
INTAKES = "intake"


@dataclass(frozen=True)
class Chosen:
    """What is to be integrated, with what is known of it."""

    candidate: Candidate
    sources: Mapping[str, str]
    of: str
    gain: float | None
    history: History | None = None
    ledger: Path | None = None


def integrate(
    candidate: str = "", *, app: Path, task: str = "", tag: str = "main", fix: bool = False, budget: str = "",
    recover: bool = False,
) -> IntegrateAnswer:  # fmt: skip
    """Write a candidate into an application's source, build, verify and measure it there; keep it or undo everything.

    Exit status 0 where it was kept, 1 where the tree was rolled back, 2 where the candidate is below the gate and
    nothing was built. Interrupted at whatever moment, the next command finishes the rollback first.

    Args:
        candidate: A release as group/name@version, a folder with candidate.toml, an id, or best.
        app: The app.toml that says how the application is built, run and verified; docs/apps.md lists its keys.
        task: The task that the candidate is of, by path or group/name; app.toml names one otherwise.
        tag: The campaign that 'best' refers to.
        fix: Let a model (models.fix) mend what does not compile, verify or run, up to 8 times each.
        budget: What mending may cost, such as money=1.5,tokens=200000,calls=40.
        recover: Only finish what an interrupted command left.
    """
    from warpsmith.app.loading import load_app
    from warpsmith.app.outcomes import recover as finish
    from warpsmith.app.site import Site
    from warpsmith.surface.answers_integrate import IntegrateAnswer
    from warpsmith.surface.workspace import Workspace

    space = Workspace()
    described = load_app(app)
    if not candidate and not recover:
        raise BadInput("no candidate is named.", "Name a release, a folder, an id or best; or --recover.")
    with Site(described, space.home, environment(space)) as site:
        if recover:
            return IntegrateAnswer(recovered=finish(site), ledger=_tell(site))
        chosen = choose(space, described, candidate, task, tag)
        return carry_out(space, site, chosen, fix=fix, budget=budget)


def carry_out(space: Workspace, site: Site, chosen: Chosen, *, fix: bool, budget: str) -> IntegrateAnswer:
    """Integrate what was chosen, and tell the ledger."""
    from warpsmith.app.integrate import Wanted
    from warpsmith.app.integrate import integrate as work
    from warpsmith.app.neighbours import clear
    from warpsmith.surface.answers_integrate import IntegrateAnswer

    wish = Wanted(chosen.candidate, chosen.sources, chosen.of, chosen.gain, str(chosen.ledger or ""))
    fixer: Fixer | None = None
    close: Callable[[], None] = lambda: None  # noqa: E731
    if fix:
        from warpsmith.surface.mending import fixer_for

        fixer, close = fixer_for(space, chosen, site.folder / "asks", budget)
    elif budget:
        raise BadInput("--budget: nothing is asked of a model.", "Give --fix too.")
    try:
        hygiene = clear if site.app.hardware == "cuda" else None
        made = work(site, wish, fixer=fixer, hygiene=hygiene, tell=partial(print, file=sys.stderr))
    finally:
        close()
        ledger = _tell(site)
    return IntegrateAnswer(exit_status=STATUS[made.outcome], integration=made, ledger=ledger)


def recovering(site: Site) -> None:
    """Finish what an interrupted command left, and say so."""
    from warpsmith.app.outcomes import recover

    if said := recover(site):
        print(said, file=sys.stderr)  # noqa: T201
    _tell(site)


def environment(space: Workspace) -> dict[str, str]:
    """What applications find in their environment: the user's own, with one GPU to see and without the keys of
    models.
    """
    from warpsmith.surface.asked import without_keys
    from warpsmith.surface.gpus import settle

    settle(space.settings, needed=False)
    return without_keys(os.environ, space.settings)


def choose(space: Workspace, described: Described, name: str, task: str, tag: str) -> Chosen:
    """The candidate of that name. Raises BadInput."""
    if "@" in name:
        return _released(space, described, name, task)
    known = known_task(space, described, task)
    if known is None:
        return _of_folder_or_ledger(space, described, name)
    candidate = space.candidate(known, name, tag)
    return _chosen(space, described, candidate, known.loaded.head.name, tag)


def known_task(space: Workspace, described: Described, task: str) -> Known | None:
    """The task that tunes the kernel; None where neither the command nor app.toml names one."""
    if task:
        return space.task(task)
    if not described.app.task:
        return None
    beside = described.file.parent / described.app.task
    return space.task(str(beside) if beside.is_dir() else described.app.task)


def _of_folder_or_ledger(space: Workspace, described: Described, name: str) -> Chosen:
    from warpsmith.store.folders import CANDIDATE_FILE, load_candidate
    from warpsmith.surface.candidates import find

    if (Path(name) / CANDIDATE_FILE).is_file():
        candidate = load_candidate(Path(name), space.blobs)
        return Chosen(candidate, space.blobs.texts(candidate), str(Path(name)), None)
    h, whole = find(space, name, None)
    assert h.campaign is not None
    return _chosen(space, described, h.candidates[whole], h.campaign.task_name, h.campaign.tag)


def _chosen(space: Workspace, described: Described, candidate: Candidate, task: str, tag: str) -> Chosen:
    """A candidate with what some campaign of its task knows of it: ``tag`` first."""
    for one in sorted(space.tags(task), key=lambda t: (t != tag, t)):
        h = space.history(task, one)
        if candidate.id in h.candidates:
            gain = judged_gain(h, candidate.id, described.app.weights)
            return Chosen(candidate, space.blobs.texts(candidate), task, gain, h, space.ledger(task, one))
    return Chosen(candidate, space.blobs.texts(candidate), task, None)


def _released(space: Workspace, described: Described, name: str, task: str) -> Chosen:
    from warpsmith.surface.shelves import released_task, shelf

    there = shelf(space)
    manifest = there.manifest(there.find(name))
    _check_fits(space, described, manifest, task)
    released_task(space, manifest, there.place(manifest.name, manifest.version))
    weights = described.app.weights or {w.name: w.weight for w in manifest.workloads}
    logs = {w.name: -math.log(w.gain.speedup) for w in manifest.workloads if w.name in weights}
    if described.app.weights and not logs:
        raise _unknown_weights(described, tuple(w.name for w in manifest.workloads))
    mean = sum(weights[n] * x for n, x in logs.items()) / sum(weights[n] for n in logs)
    known = _chosen(space, described, manifest.candidate, manifest.name, "main")
    gain = -math.expm1(mean)
    return Chosen(manifest.candidate, known.sources, manifest.spec, gain, known.history, known.ledger)


def _check_fits(space: Workspace, described: Described, manifest: Manifest, task: str) -> None:
    """Refuse a release of another task, or for other hardware, than the application's kernel. Raises BadInput."""
    spec, app = manifest.spec, described.app
    if manifest.hardware != app.hardware:
        raise BadInput(
            f"{spec} is for {manifest.hardware}, and the kernel of {app.name} runs on {app.hardware}.",
            "Name another release, or correct hardware in app.toml.",
        )
    wanted = task or app.task
    if not wanted or wanted == manifest.name:  # a release also fits where only its name is known, and no task is here
        return
    known = known_task(space, described, task)
    if known is not None and known.loaded.head.name != manifest.name:
        raise BadInput(
            f"{spec} is of the task {manifest.name}, and the kernel of {app.name} is tuned by"
            f" {known.loaded.head.name}.",
            "Name a release of that task, or say with --task which task the kernel is of.",
        )


def judged_gain(h: History, candidate: str, weights: Mapping[str, float]) -> float | None:
    """Share of the baseline's time that the candidate saves where it was judged beside it, weighted over workloads;
    None where it was not measured beside it. Raises BadInput for weights that fit no workload.
    """
    from warpsmith.analyse.compare import effect, logs, weighted
    from warpsmith.analyse.standing import direct

    assert h.campaign is not None
    if candidate == h.campaign.baseline:
        return 0.0
    evaluation = direct(h, candidate, h.campaign.baseline)
    if evaluation is None or not evaluation.passed:
        return None
    found = {w.workload: m for w in evaluation.workloads if (m := w.metric(h.campaign.objective.metric)) is not None}
    wanted = weights or h.campaign.weights
    taken = {name: logs(m) for name, m in found.items() if name in wanted}
    if not taken:
        raise BadInput(
            f"app.toml: weights names {', '.join(wanted)}, and the task has the workloads {', '.join(found)}.",
            "Give workloads of the task their share of the real run.",
        )
    return -math.expm1(effect(weighted(taken, wanted)).log)


def _unknown_weights(described: Described, workloads: tuple[str, ...]) -> BadInput:
    return BadInput(
        f"{described.file}: weights names {', '.join(described.app.weights)}, none of which is a workload.",
        f"Workloads: {', '.join(workloads)}.",
    )


def _tell(site: Site) -> str:
    """Tell the ledgers what became of this integration, and of those that were interrupted; the last one's path."""
    from warpsmith.app.outcomes import tell

    try:
        told = tell(site)
    except LedgerError as error:
        print(f"the outcome is not in the ledger yet: {error}; the next command tries again", file=sys.stderr)  # noqa: T201
        return ""
    return told[-1] if told else ""


def intake(*sources: Path, name: str = "", replace: bool = False, output: Path = Path(INTAKES)) -> IntakeAnswer:
    """Snapshot foreign sources with hashes and origin; the snapshot is what is tuned, never the origin.

    Without sources, everything that was taken in is looked at. Exit status 1 where an origin, or a copy, is not what it
    was.

    Args:
        sources: Files and folders.
        name: Name of the snapshot; after the first source where none is given.
        replace: Take in anew what has the name already.
        output: Folder of the snapshots.
    """
    from warpsmith.app import intake as taking
    from warpsmith.surface.answers import NO, YES
    from warpsmith.surface.answers_integrate import IntakeAnswer, IntakeRow
    from warpsmith.surface.workspace import Workspace

    space = Workspace()
    into = space.outside_releases(space.root / output)
    if sources:
        name = name or taking.name_of(sources)
        place = into / name
        if not place.exists() or replace:
            taking.take_in(sources, into, name, replace=replace)
        elif [str(s.absolute()) for s in sources] != list(taking.read(place).sources):
            taking.take_in(sources, into, name)  # says why it is refused
        names: tuple[str, ...] = (name,)
    else:
        names = (name,) if name else taking.names(into)
    rows = []
    for one in names:
        taken = taking.read(into / one)
        rows.append(IntakeRow(intake=taken, folder=str(into / one), changes=taking.changes(into / one, taken)))
    return IntakeAnswer(exit_status=NO if any(r.changes.any for r in rows) else YES, intakes=tuple(rows))
