"""The verbs: one typed, documented function each. The command line, and every other surface, is made from these.

A verb returns an answer with the exit status of docs/cli.md, or raises a WarpsmithError. Heavy modules are imported
inside the verbs, so that ``warpsmith --help`` stays quick.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from warpsmith.surface.capturing import capture
from warpsmith.surface.explaining import explain, profile
from warpsmith.surface.exporting import export, exports
from warpsmith.surface.installing import install, status, uninstall
from warpsmith.surface.integrating import intake, integrate
from warpsmith.surface.knowledge import (
    knowledge,
    knowledge_export,
    knowledge_import,
    knowledge_search,
    knowledge_show,
)
from warpsmith.surface.launching import launch
from warpsmith.surface.loading import load
from warpsmith.surface.mcp_serving import mcp
from warpsmith.surface.notifying import notify_status, notify_test
from warpsmith.surface.observing import observe
from warpsmith.surface.pinning import gpu_exec, gpu_list, gpu_select
from warpsmith.surface.running import run
from warpsmith.surface.serving import serve
from warpsmith.surface.shipping import handoff, promote, regress, reject, releases, verify
from warpsmith.surface.trying import trial

if TYPE_CHECKING:
    from warpsmith.campaign import Watcher
    from warpsmith.model.target import Target
    from warpsmith.surface import answers
    from warpsmith.surface.workspace import Known, Workspace

Effort = Literal["screen", "confirm", "promote"]
Kind = Literal["kernel", "app", "command", "serving"]


def doctor(*, calibrate: bool = False, judge: bool = False) -> answers.DoctorAnswer:
    """Say what this machine can do: compilers, devices, profilers, sandbox. A machine without a GPU is no error.

    Exit status 1 where --judge finds that the judge got one of the planted candidates wrong.

    Args:
        calibrate: Measure each device's noise floor (identical candidates against each other) and copy rate, and
            keep them.
        judge: Plant candidates whose verdict is known (wrong, imprecise, slow, identical, faster, cheating, crashing)
            and show what the judge says of each, on every device of this machine.
    """
    from warpsmith.analyse.rates import rate
    from warpsmith.judge.machine import capabilities
    from warpsmith.surface.answers import NO, YES, Check, DoctorAnswer, calibrated
    from warpsmith.surface.gpus import pin_checks
    from warpsmith.surface.observing import application_checks
    from warpsmith.surface.plants import judge_plants

    space = _workspace()
    checks = (*pin_checks(space.settings), *(Check(**asdict(c)) for c in capabilities()))
    checks += application_checks(space.home / "cache")
    targets = _targets() if calibrate or judge else ()
    found: list[dict[str, Any]] = []
    for target in targets if calibrate else ():
        found.append(calibrated(target, space.calibrate(target)))
    plants = tuple(p for target in targets if judge for p in judge_plants(space, target))
    status = YES if all(p.right for p in plants) else NO
    missed = rate(sum(not p.right for p in plants), len(plants)) if plants else None
    return DoctorAnswer(exit_status=status, checks=checks, calibrations=tuple(found), plants=plants, misjudged=missed)


def new(
    name: str,
    *,
    kind: Kind = "kernel",
    hardware: str = "cpu",
    model: str = "",
    model_path: Path | None = None,
    model_slug: str = "",
    hardware_slug: str = "",
) -> answers.NewAnswer:
    """Stamp a task folder from a template, complete and runnable.

    Args:
        name: The task's name, as group/name; the folder becomes tasks/group/name.
        kind: What is to be optimised.
        hardware: Where it runs: cpu (C) or cuda (CUDA C++).
        model: Serving: the name under which the model is served; by default that of its snapshot.
        model_path: Serving: folder of a model snapshot; without one, a small model with random weights.
        model_slug: Serving: short name of the model, in labels and run tags.
        hardware_slug: Serving: short name of the hardware, in labels and run tags.
    """
    from warpsmith.surface.answers import NewAnswer
    from warpsmith.surface.stamp import checked, stamp
    from warpsmith.surface.subject import only_serving, subject

    space = _workspace()
    checked(space.root / "tasks", name, kind, hardware)
    asked = (model, model_path, hardware, model_slug, hardware_slug)
    places = subject(*asked).places if kind == "serving" else only_serving(kind, *asked)
    folder, files = stamp(space.root / "tasks", name, kind, hardware, places)
    return NewAnswer(task=name, folder=str(folder), files=files)


def check(
    task: str, candidate: str = "entry", *, debug: bool = False, sanitize: bool = False, tag: str = "main"
) -> answers.CheckAnswer:
    """Build and verify only.

    Exit status 1 where the candidate does not build, is wrong, or a sanitizer found a mistake; 2 where a sanitizer that
    was asked for could not look.

    Args:
        task: The task, by path or group/name.
        candidate: A folder, an id, or baseline, entry, best, or a peer's name.
        debug: Build with line information and checks.
        sanitize: Also run it under every sanitizer that knows its language (compute-sanitizer's tools, or those of C).
        tag: The campaign that 'best' refers to.
    """
    from warpsmith.errors import BadInput
    from warpsmith.model.evaluation import Effort, Status
    from warpsmith.surface.answers import NO, NOTHING_GAINED, YES, CheckAnswer
    from warpsmith.surface.gate import sanitized, verdict

    space = _workspace()
    known = space.task(task)
    chosen = space.candidate(known, candidate, tag)
    if debug and known.loaded.kernel is None:
        raise BadInput("--debug: warpsmith builds nothing of a harness.", "Set it under [environment], or in prepare.")
    configuration: Literal["release", "debug"] = "debug" if debug else "release"
    if sanitize:
        evaluation = sanitized(space, known, chosen, configuration)
        status = {"passed": YES, "failed": NO, "unavailable": NOTHING_GAINED}[verdict(evaluation)]
    else:
        evaluation = space.measure(
            known, space.target(known), chosen, chosen, Effort.check, name="check", configuration=configuration
        )
        status = YES if evaluation.status is Status.passed else NO
    return CheckAnswer(exit_status=status, task=known.loaded.head.name, candidate=chosen.id, evaluation=evaluation)


def passed_sanitizers(task: str, candidate: str, *, tag: str = "main") -> bool:
    """Whether every sanitizer that knows the candidate's language looked at it here and found nothing.

    What was found before of the same candidate, task and device is not looked for again. Raises Missing where no
    sanitizer knows the language.

    Args:
        task: The task, by path or group/name.
        candidate: A folder, an id, or baseline, entry, best, or a peer's name.
        tag: The campaign that 'best' refers to.
    """
    from warpsmith.surface.gate import sanitized, verdict

    space = _workspace()
    known = space.task(task)
    return verdict(sanitized(space, known, space.candidate(known, candidate, tag), "release")) == "passed"


def bench(
    task: str,
    *candidates: str,
    against: str = "baseline",
    name: str = "latest",
    notes: str = "",
    effort: Effort = "confirm",
    tag: str = "",
    no_webhook: bool = False,
) -> answers.BenchAnswer:
    """Time candidates beside a rival in interleaved pairs; write a benchmark report as JSON.

    Exit status 0 where one is faster, 1 where one is slower or fails, 2 where nothing differs clearly.

    Args:
        task: The task, by path or group/name.
        candidates: Folders, ids, or baseline, entry, best, or a peer's name; entry where none is given.
        against: The rival; also the name of an earlier report, whose first candidate it is then.
        name: Name of the report, for later reference.
        notes: Free text that the report keeps.
        effort: How many pairs: screen 3, confirm 10, promote 20.
        tag: The campaign that 'best' refers to, main where none is given. Of a command or serving task also the one
            that this evaluation is recorded with, labelled by its notes: history, report and plots show it.
        no_webhook: Send no notification; the record of each says so.
    """
    from warpsmith.surface.benchmark import run_benchmark
    from warpsmith.surface.notices import Notices

    space = _workspace()
    known = space.task(task)
    with Notices(space, known.loaded.head.name, tag or "main", disabled=no_webhook) as notices:
        answer = run_benchmark(space, known, candidates or ("entry",), against, name, notes, effort, tag)
        if answer.tag:
            page, _ = _write_report(space, known, tag)
            answer = answer.model_copy(update={"files": {**answer.files, "page": page}})
        notices.measured(answer)
    return answer


def optimize(
    task: str,
    *,
    proposer: str | None = None,
    budget: str = "",
    tag: str = "main",
    seed: int | None = None,
    batch: int | None = None,
    min_gain: float | None = None,
    transcript: bool = False,
    replay: Path | None = None,
    no_webhook: bool = False,
    watch: Callable[[Workspace], Watcher] | None = None,
) -> answers.OptimizeAnswer:
    """Run or resume the campaign: propose, verify, time, prove. Writes the report.

    Exit status 0 where a promotable gain was proved, 2 where none was.

    Args:
        task: The task, by path or group/name.
        proposer: Who proposes candidates: sweep, llm, sweep+llm (a model writes, the sweep tunes), or agent.
        budget: When to stop asking, such as rounds=6,patience=4,steps=40,seconds=120,money=1.5,tokens=200000,calls=40.
            Money (US dollars), tokens and calls are hard: no request is sent that could go beyond them.
        tag: Names the campaign; the same command with the same tag resumes it.
        seed: Seed of the proposer.
        batch: Candidates per ask.
        min_gain: Share below which nothing is promotable, such as 0.02.
        transcript: Keep every prompt and reply in the campaign's folder, under transcript/, for reading and replays.
        replay: Folder of a transcript that answers in the place of the models: no network, no key.
        no_webhook: Send no notification; the record of each says so.
        watch: Called with the workspace; what it returns sees every event (progress).
    """
    from warpsmith.surface.answers import NOTHING_GAINED, YES, OptimizeAnswer
    from warpsmith.surface.asked import Recording
    from warpsmith.surface.budgets import budget_of
    from warpsmith.surface.notices import Notices
    from warpsmith.surface.view import view

    space = _workspace(seed=seed, batch=batch, min_gain=min_gain, proposer=proposer)
    known = space.task(task)
    limits = budget_of(budget, space.settings)
    with Notices(space, known.loaded.head.name, tag, disabled=no_webhook) as notices:
        watching = notices.watching(watch(space) if watch else None)
        space.optimize(known, tag, limits, watching, Recording(transcript, replay))
        seen = view(space.history(known.loaded.head.name, tag), known.loaded.kernel)
        html, _ = _write_report(space, known, tag)
        notices.finished(seen, html)
    return OptimizeAnswer(exit_status=YES if seen.promotable else NOTHING_GAINED, view=seen, report=html)


def stop(task: str, *, tag: str = "main") -> answers.StopAnswer:
    """End a running campaign cleanly, as Ctrl-C would; 'optimize' resumes it. Exit status 2 where none is running.

    Args:
        task: The task, by path or group/name.
        tag: The campaign.
    """
    from warpsmith.store.ledger import writer
    from warpsmith.surface.answers import NOTHING_GAINED, YES, StopAnswer

    space = _workspace()
    known = space.task(task)
    process = writer(space.ledger(known.loaded.head.name, tag))
    if process is not None:
        os.kill(process, signal.SIGINT)
    status = YES if process is not None else NOTHING_GAINED
    return StopAnswer(exit_status=status, task=known.loaded.head.name, tag=tag, stopped=process is not None)


def submit(
    task: str, *files: str, memo: str = "", set_: tuple[str, ...] = (), env: tuple[str, ...] = (),
    tag: str = "main", by: str = "outside", no_webhook: bool = False,
) -> answers.SubmitAnswer:  # fmt: skip
    """Hand in a candidate from outside; it is measured by the same campaign, in the same ledger. Waits for the verdict.

    Exit status 0 where it became the best, 1 where it fails or is slower, 2 otherwise.

    Args:
        task: The task, by path or group/name.
        files: One folder with candidate.toml, or source files that replace the entry candidate's. Of a command or
            serving task: files that go over those of the workspace, PLACE=FILE where the name alone does not tell.
        memo: What was changed and why.
        set_: Tunables, as NAME=VALUE.
        env: Command and serving tasks: variables that its runs see, as NAME=VALUE.
        tag: The campaign.
        by: Who hands it in.
        no_webhook: Send no notification; the record of each says so.
    """
    from warpsmith.surface.notices import Notices
    from warpsmith.surface.submission import submit_candidate

    space = _workspace(proposer="sweep")  # nothing is asked of it
    known = space.task(task)
    with Notices(space, known.loaded.head.name, tag, disabled=no_webhook) as notices:
        return submit_candidate(space, known, files, memo, set_, tag, by, notices.watching(), env)


def history(
    task: str,
    *,
    tag: str = "main",
    csv: bool = False,
    jsonl: bool = False,
    plots: bool = False,
    tags: str = "",
    output: Path = Path(),
    folder: Path | None = None,
) -> answers.HistoryAnswer:
    """What was tried, and why it was kept or rejected.

    Exit status 4 for --plots without matplotlib.

    Args:
        task: The task, by path or group/name.
        tag: The campaign.
        csv: Write benchmark.csv.
        jsonl: Write solutions.jsonl.
        plots: Draw best-so-far.png and metrics.png.
        tags: Campaigns in one figure: names with commas between, or all. Of --plots only; --tag where none is given.
        output: Folder of the exports and plots.
        folder: Write a report and every iteration here: sources, replies, memo, profile, difference from the best.
    """
    from warpsmith.store.ledger import read_events
    from warpsmith.surface.answers import HistoryAnswer
    from warpsmith.surface.exports import export, folded
    from warpsmith.surface.plotting import plot_tags
    from warpsmith.surface.run_folder import write_run
    from warpsmith.surface.view import view

    space = _workspace()
    known = space.task(task)
    name = known.loaded.head.name
    path = space.ledger(name, tag)
    past, digest = folded(lambda: space.history(name, tag), path)
    seen = view(past, known.loaded.kernel)
    exported = export(past, seen, space.blobs, digest, space.outside_releases(output), csv=csv, jsonl=jsonl)
    if plots or tags:
        exported += plot_tags(space, known, tags or tag, space.outside_releases(output))
    if folder is not None:
        exported += write_run(read_events(path), seen, space.blobs, space.outside_releases(folder))
    return HistoryAnswer(
        task=name,
        tags=tuple(space.tags(name)),
        tag=tag,
        ledger=str(path),
        ledger_sha256=digest,
        rows=seen.rows,
        costs=seen.costs,
        labelled=seen.labelled,
        rhythm=seen.rhythm,
        exported=exported,
    )


def show(candidate: str, *, task: str | None = None) -> answers.ShowAnswer:
    """One candidate, whole: sources, parameters, build, every evaluation.

    Args:
        candidate: An id or its beginning.
        task: Look in this task's campaigns only.
    """
    from warpsmith.surface.inspect import show_candidate

    return show_candidate(_workspace(), candidate, task)


def diff(a: str, b: str, *, task: str | None = None) -> answers.DiffAnswer:
    """What differs between two candidates, and what that did to the time.

    Args:
        a: An id or its beginning.
        b: Another.
        task: Look in this task's campaigns only.
    """
    from warpsmith.surface.inspect import diff_candidates

    return diff_candidates(_workspace(), a, b, task)


def report(task: str, *, tag: str = "main") -> answers.ReportAnswer:
    """Write one self-contained HTML file, and the same as Markdown.

    Args:
        task: The task, by path or group/name.
        tag: The campaign.
    """
    from warpsmith.surface.answers import ReportAnswer

    space = _workspace()
    known = space.task(task)
    html, markdown = _write_report(space, known, tag)
    return ReportAnswer(task=known.loaded.head.name, html=html, markdown=markdown)


VERBS: tuple[Callable[..., Any], ...] = (
    doctor, run, new, intake, observe, capture, check, bench, profile, explain, optimize, stop, submit, history, show,
    diff, report,
    promote, reject, verify, releases, handoff, regress, export, exports,
    install, status, uninstall, trial, integrate,
    knowledge, knowledge_search, knowledge_show, knowledge_import, knowledge_export, launch, mcp,
    serve, load, gpu_list, gpu_select, gpu_exec,
    notify_test, notify_status,
)  # fmt: skip
"""In the order of the help; an underscore in a name is a space on the command line."""


def _targets() -> tuple[Target, ...]:
    """The devices of this machine."""
    from warpsmith.errors import Missing

    space = _workspace()
    found = []
    for hardware in ("cpu", "cuda"):
        with suppress(Missing):
            found.append(space.target_of(hardware))
    return tuple(found)


def _workspace(**flags: object) -> Workspace:
    from warpsmith.surface.workspace import Workspace

    return Workspace(flags=flags)


def _write_report(space: Workspace, known: Known, tag: str) -> tuple[str, str]:
    from warpsmith import __version__
    from warpsmith.store.files import write_atomic
    from warpsmith.surface.report import render_html, render_markdown
    from warpsmith.surface.series import report_series
    from warpsmith.surface.view import view

    name = known.loaded.head.name
    past = space.history(name, tag)
    assert past.campaign is not None
    seen = view(past, known.loaded.kernel, space.measured_ceilings(past.campaign.target))
    best = past.candidates[seen.best]
    sources = {s.path: space.blobs.get(s.content).decode(errors="replace") for s in best.sources}
    folder = space.campaign_folder(name, tag)
    html, markdown = folder / "report.html", folder / "report.md"
    write_atomic(html, render_html(seen, sources, __version__, report_series(past, seen.curve)))
    write_atomic(markdown, render_markdown(seen, __version__))
    return str(html), str(markdown)
