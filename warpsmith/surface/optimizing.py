"""The verbs of a campaign: ``optimize`` runs it, ``stop`` ends it, ``submit`` hands a candidate in."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warpsmith.campaign import Watcher
    from warpsmith.surface import answers
    from warpsmith.surface.workspace import Workspace


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
    from warpsmith.surface.campaigns import run_campaign
    from warpsmith.surface.notices import Notices
    from warpsmith.surface.reporting import write_report
    from warpsmith.surface.view import view
    from warpsmith.surface.workspace import Workspace

    space = Workspace(flags={"seed": seed, "batch": batch, "min_gain": min_gain, "proposer": proposer})
    known = space.task(task)
    limits = budget_of(budget, space.settings)
    with Notices(space, known.loaded.head.name, tag, disabled=no_webhook) as notices:
        watching = notices.watching(watch(space) if watch else None)
        run_campaign(space, known, tag, limits, watching, Recording(transcript, replay))
        seen = view(space.history(known.loaded.head.name, tag), known.loaded.kernel)
        html, _ = write_report(space, known, tag)
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
    from warpsmith.surface.workspace import Workspace

    space = Workspace()
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
    from warpsmith.surface.workspace import Workspace

    space = Workspace(flags={"proposer": "sweep"})  # nothing is asked of it
    known = space.task(task)
    with Notices(space, known.loaded.head.name, tag, disabled=no_webhook) as notices:
        return submit_candidate(space, known, files, memo, set_, tag, by, notices.watching(), env)
