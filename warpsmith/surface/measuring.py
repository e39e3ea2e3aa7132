"""The verbs that judge candidates outside any plan: ``check`` and ``bench``; and the sanitizers' word for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from warpsmith.surface import answers

Effort = Literal["screen", "confirm", "promote"]


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
    from warpsmith.surface.sanitizing import sanitized, verdict
    from warpsmith.surface.workspace import Workspace

    space = Workspace()
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
    from warpsmith.surface.sanitizing import sanitized, verdict
    from warpsmith.surface.workspace import Workspace

    space = Workspace()
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
    from warpsmith.surface.reporting import write_report
    from warpsmith.surface.workspace import Workspace

    space = Workspace()
    known = space.task(task)
    with Notices(space, known.loaded.head.name, tag or "main", disabled=no_webhook) as notices:
        answer = run_benchmark(space, known, candidates or ("entry",), against, name, notes, effort, tag)
        if answer.tag:
            page, _ = write_report(space, known, tag)
            answer = answer.model_copy(update={"files": {**answer.files, "page": page}})
        notices.measured(answer)
    return answer
