"""The ``bench`` verb: candidates beside one rival, and the report that is kept by name."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from warpsmith import __version__
from warpsmith.analyse.compare import Comparison, Verdict, compare
from warpsmith.errors import BadInput, Missing
from warpsmith.model.campaign import Benched, Budget, Campaign
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Effort, Evaluation
from warpsmith.model.harness import HarnessTask
from warpsmith.store.files import write_atomic
from warpsmith.store.ledger import Ledger
from warpsmith.surface.answers import NO, NOTHING_GAINED, YES, BenchAnswer, BenchEntry
from warpsmith.surface.campaigns import open_campaign
from warpsmith.surface.labelled import keep
from warpsmith.surface.plotting import plot_tags
from warpsmith.surface.ratio import ratio_of
from warpsmith.surface.workspace import Known, Workspace


def run_benchmark(
    space: Workspace, known: Known, names: tuple[str, ...], against: str, name: str, notes: str, effort: str, tag: str
) -> BenchAnswer:
    """Measure every named candidate against the rival and write the report under its name. A harness task's with a
    ``tag`` is recorded with that campaign.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}", name):
        raise BadInput(f"--name: {name!r} cannot name a report.", "Use letters, digits, '_', '-' and '.'.")
    record = bool(tag) and isinstance(known.loaded.task, HarnessTask)
    tag = tag or "main"
    target = space.target(known)
    rival = _named(space, known, against) or space.candidate(known, against, tag)
    campaign = open_campaign(space, known, target, tag, "none", Budget(rounds=0))
    chosen = [(n, space.candidate(known, n, tag)) for n in names]
    with Ledger(space.ledger(campaign.task_name, tag)) if record else nullcontext() as ledger:
        entries = []
        for given, candidate in chosen:
            evaluation = space.measure(known, target, candidate, rival, Effort(effort), name="bench")
            entries.append(entry(given, candidate, evaluation, campaign))
        if ledger is not None:
            measured = tuple(e.evaluation for e in entries)
            told = (*(candidate for _, candidate in chosen), rival)
            made = Benched(name=name, notes=notes, candidates=told, evaluations=measured, at=time.time())
            keep(ledger, campaign, known.all, made)
    path = _path(space, known, name)
    answer = report(campaign, entries, rival.id, os.path.relpath(path), name=name, against=against, notes=notes)
    if record:
        answer = answer.model_copy(update={"tag": tag, **_files(space, known, tag, entries)})
    write_atomic(path, answer.model_dump_json(indent=1))
    return answer


def _files(space: Workspace, known: Known, tag: str, entries: list[BenchEntry]) -> dict[str, Any]:
    """Where ledger, logs and plots of a recorded evaluation lie."""
    name, folder = known.loaded.head.name, space.campaign_folder(known.loaded.head.name, tag)
    files = {"ledger": str(space.ledger(name, tag))}
    for one in entries:
        files |= {f"{one.name}: {file}": str(space.blobs.path(x)) for file, x in one.evaluation.kept.items()}
    try:
        drawn = plot_tags(space, known, tag, folder)
    except Missing as lacking:
        return {"files": files, "note": str(lacking)}
    return {"files": {**files, **{Path(path).name: path for path in drawn}}}


def report(
    campaign: Campaign, entries: list[BenchEntry], rival: str, path: str, *, name: str, against: str, notes: str
) -> BenchAnswer:
    """A benchmark report of some entries, all measured beside ``rival``."""
    return BenchAnswer(
        exit_status=_status(entries),
        task=campaign.task_name,
        name=name,
        against=against,
        rival=rival,
        effort=entries[0].evaluation.effort.value,
        environment=_environment(campaign),
        command=(Path(sys.argv[0]).name, *sys.argv[1:]),
        notes=notes,
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        noise_floor=campaign.noise_floor,
        entries=tuple(entries),
        report=path,
    )


def _path(space: Workspace, known: Known, name: str) -> Path:
    return space.home / "benchmarks" / known.loaded.head.name / f"{name}.json"


def _named(space: Workspace, known: Known, name: str) -> Candidate | None:
    """The first candidate of the report of that name, if there is one: a named baseline."""
    try:
        content = _path(space, known, name).read_bytes()
    except OSError:
        return None
    try:
        return BenchAnswer.model_validate_json(content).entries[0].candidate
    except ValidationError as error:
        raise BadInput(f"{_path(space, known, name)}: not a report of this version.", "Make it anew.") from error


def entry(
    name: str, candidate: Candidate, evaluation: Evaluation, campaign: Campaign, confidence: float = 0.95
) -> BenchEntry:
    """One candidate of a report."""
    answer: Comparison | None = compare(evaluation, campaign, confidence)
    return BenchEntry(
        name=name,
        candidate=candidate,
        status=evaluation.status.value,
        detail=evaluation.detail,
        verdict=answer.verdict.value if answer else None,
        ratio=ratio_of(answer.overall, answer.detectable) if answer else None,
        workloads={w: ratio_of(e) for w, e in answer.workloads.items()} if answer else {},
        regressed=answer.regressed if answer else (),
        broken=answer.broken if answer else (),
        evaluation=evaluation,
    )


def _status(entries: list[BenchEntry]) -> int:
    verdicts = {e.verdict for e in entries}
    if Verdict.faster.value in verdicts:
        return YES
    return NO if None in verdicts or Verdict.slower.value in verdicts else NOTHING_GAINED


def _environment(campaign: Campaign) -> dict[str, Any]:
    return {
        "warpsmith": __version__,
        "judge": campaign.judge,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "target": campaign.target.model_dump(mode="json"),
    }
