"""The verb ``capture``: chosen launches of a real application with their buffers, and a task that is judged by them."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from warpsmith.errors import BadInput, Missing

if TYPE_CHECKING:
    from warpsmith.app.capture import Limits
    from warpsmith.app.capturesource import Extracted
    from warpsmith.app.observe import Observed
    from warpsmith.app.running import App
    from warpsmith.app.stages import Name, Result, Stage
    from warpsmith.model.observed import ObservedKernel
    from warpsmith.model.task import AppTask
    from warpsmith.surface.answers_app import CaptureAnswer, CapturedRow
    from warpsmith.surface.journey import Journey
    from warpsmith.surface.workspace import Known, Workspace

GROUP = "captured"
MIB = 1 << 20


def capture(
    kernel: str,
    *,
    application: tuple[str, ...] = (),
    top_k: int = 5,
    name: str = "",
    source: Path | None = None,
    harness: Path | None = None,
    work: int = 1,
    for_: float | None = None,
    again: bool = False,
    buffer_limit: int = 256,
    total_limit: int = 8192,
) -> CaptureAnswer:
    """Snapshot representative launches of a kernel with their real buffers, and make a task that is judged by them.

    The task's workloads are the launches with their share of the time, its oracle is the original kernel, its data lies
    in .warpsmith/fixtures and is never committed. Exit status 1 where the original, replayed on what was captured, does
    not give what the application had. The application's own output goes to standard error.

    Args:
        kernel: The kernel, as 'observe' shows it: name, template arguments where needed, or symbol.
        application: The program with its arguments, behind --.
        top_k: Configurations that are captured, at most: the fewest that cover 90 % of the kernel's time.
        name: Name of the task, below tasks/captured; after the kernel where none is given.
        source: File that defines the kernel: it becomes the candidate that tuning starts from, with tunables.
        harness: Also write a stand-alone .cu with the kernel and the observed configurations (needs --source).
        work: For a harness without captured scalars: steps of its loops that a thread makes, as counters say.
        for_: Seconds after which the application is ended.
        again: Observe anew, whatever is kept.
        buffer_limit: MiB of one allocation that are kept; of a larger one, as many behind the pointer.
        total_limit: MiB of all snapshots.
    """
    from warpsmith.app.buckets import Choice
    from warpsmith.app.capture import Limits, chosen
    from warpsmith.app.observe import Wish, observe
    from warpsmith.app.running import app
    from warpsmith.surface.gpus import settle
    from warpsmith.surface.workspace import Workspace

    if top_k < 1 or work < 1 or buffer_limit < 1 or total_limit < 1:
        raise BadInput("--top-k, --work, --buffer-limit and --total-limit are at least 1.", "Give such numbers.")
    if harness is not None and source is None:
        raise BadInput("--harness needs the kernel's source.", "Name it with --source.")
    space = Workspace()
    settle(space.settings, needed=False)
    said = app(application)
    output = sys.stderr.fileno()
    seen = observe(said, space.home, Wish(for_, Choice(top=top_k), output), again=again)
    found = chosen(seen.observation, kernel)
    asked = Asked(
        name, source, space.outside_releases(harness) if harness else None, work, top_k,
        Limits(buffer_limit * MIB, total_limit * MIB, for_),
    )  # fmt: skip
    return carry_out(space, said, seen, found, asked)


@dataclass(frozen=True)
class Asked:
    """How a kernel is to be captured."""

    name: str = ""
    source: Path | None = None
    harness: Path | None = None
    work: int = 1
    top: int = 5
    limits: Limits | None = None


def carry_out(space: Workspace, said: App, seen: Observed, kernel: ObservedKernel, asked: Asked) -> CaptureAnswer:
    """Capture, write the task, and replay the original."""
    from warpsmith.app.capture import Limits, capturable, left_out, run_and_take
    from warpsmith.app.capturefiles import write_task
    from warpsmith.app.capturetask import Signature, TaskMaker
    from warpsmith.app.fixtures import Fixtures

    extracted = _source(asked.source, kernel)
    if seen.observation.run.source != "injection":
        return _observed_only(kernel, asked, extracted, seen.observation.run.conditions)
    limits = asked.limits or Limits()
    wanted = capturable(kernel, asked.top)
    fixtures = Fixtures(space.home)
    name = asked.name or name_of(kernel)
    if not re.fullmatch(r"[a-z0-9_\-]+", name):
        raise BadInput(f"--name: {name!r} cannot name a task.", "Use small letters, digits, '_' and '-'.")
    folder = space.root / "tasks" / GROUP / name
    with run_and_take(said, space.home, kernel, wanted, limits, sys.stderr.fileno()) as taken:
        signature = Signature(extracted.names, extracted.types) if extracted else Signature()
        maker = TaskMaker(f"{GROUP}/{name}", kernel, taken, fixtures, signature)
        task = maker.make(said.argv)
        task = write_task(folder, task, maker, extracted)
    _keep_image(space, fixtures.get(task.original.image or ""))
    if asked.harness is not None and extracted is not None:
        from warpsmith.app.harness import of_task

        asked.harness.write_text(of_task(task, extracted, fixtures))
    notes = [n for n in (*left_out(kernel), _not_again(len(wanted) - len(taken))) if n]
    return _proved(space, folder, task, notes, asked.harness)


def _not_again(lacking: int) -> str:
    return f"{lacking} configurations did not come again in the capturing run" if lacking else ""


def _source(path: Path | None, kernel: ObservedKernel) -> Extracted | None:
    from warpsmith.app.capturesource import extract

    return None if path is None else extract(path, kernel.symbol, len(kernel.parameters) or None)


def _observed_only(
    kernel: ObservedKernel, asked: Asked, extracted: Extracted | None, why: tuple[str, ...]
) -> CaptureAnswer:
    """Where launches cannot be looked into: a harness of what was observed. Raises Missing without one."""
    from warpsmith.app.harness import of_observation
    from warpsmith.surface.answers_app import CaptureAnswer

    reason = why[0] if why else "the injection library does not work here"
    if asked.harness is None or extracted is None:
        raise Missing(
            f"nothing can be captured here: {reason}.",
            "With --source and --harness a stand-alone harness of what was observed is written.",
        )
    asked.harness.write_text(of_observation(kernel, extracted, asked.work))
    return CaptureAnswer(kernel=kernel.name, harness=str(asked.harness), notes=(f"nothing was captured: {reason}",))


def _keep_image(space: Workspace, image: bytes) -> None:
    """The original's cubin also among the blobs, where candidates have their sources."""
    if image[:4] != b"\x7fELF":
        raise BadInput("the application's code image is no cubin, so the original cannot be replayed.", "Use 'intake'.")
    space.blobs.put(image)


def _proved(space: Workspace, folder: Path, task: AppTask, lacks: list[str], harness: Path | None) -> CaptureAnswer:
    """Replay the original in the judge, and measure it and the source stand-alone."""
    from warpsmith.app.capturefiles import as_toml
    from warpsmith.model.captured import CLOSE, IDENTICAL
    from warpsmith.model.evaluation import Effort
    from warpsmith.store.files import write_atomic
    from warpsmith.store.folders import TASK_FILE
    from warpsmith.surface.answers import NO, YES
    from warpsmith.surface.answers_app import CaptureAnswer

    known = space.task(str(folder))
    notes = [*task.capture.notes, *lacks]
    answer = CaptureAnswer(
        kernel=task.original.name, task=task.name, folder=str(folder), bytes=task.capture.bytes,
        covered=task.capture.covered, rows=rows(task, {}), harness=str(harness or ""), notes=tuple(notes),
    )  # fmt: skip
    target = space.target(known)
    try:
        found = space.measure(known, target, known.baseline, known.baseline, Effort.check, "capture")
    except BadInput as error:
        return answer.model_copy(update={"exit_status": NO, "replay": error.message})
    said = next((c for c in found.conditions if c.startswith((IDENTICAL, CLOSE))), "")
    if not found.passed or not said:
        return answer.model_copy(update={"exit_status": NO, "replay": f"{found.status}: {found.detail}"})
    task = task.model_copy(update={"deterministic": said.startswith(IDENTICAL)})
    write_atomic(folder / TASK_FILE, as_toml(task))
    known = space.task(str(folder))
    timed = space.measure(known, target, known.entry, known.baseline, Effort.screen, "capture")
    if known.entry.id != known.baseline.id and not timed.passed:
        notes.append(f"the source as it was taken out: {timed.status}: {timed.detail}")
        timed = space.measure(known, target, known.baseline, known.baseline, Effort.screen, "capture")
    alone = {w.workload: m.rival for w in timed.workloads if (m := w.metric("time")) is not None}
    made = {"exit_status": YES, "replay": said, "rows": rows(task, alone), "notes": tuple(notes)}
    return answer.model_copy(update=made)


def rows(task: AppTask, alone: Mapping[str, tuple[float, ...]]) -> tuple[CapturedRow, ...]:
    """One row per captured launch: its share, and its time in the application and stand-alone."""
    from statistics import median

    from warpsmith.surface.answers_app import CapturedRow

    whole = sum(w.weight for w in task.workloads)
    return tuple(
        CapturedRow(
            workload=w.name, share=w.weight / whole, launches=one.launches, real_s=one.p50_s,
            alone_s=median(alone[w.name]) if w.name in alone else None,
        )
        for w, one in zip(task.workloads, task.launches, strict=True)
    )  # fmt: skip


def name_of(kernel: ObservedKernel) -> str:
    """What a kernel's task is called: its name, and a digest of the symbol where that says more."""
    from warpsmith.app.symbols import file_name

    return re.sub(r"[^a-z0-9_\-]+", "-", file_name(kernel.symbol).lower()).strip("-")[:60]


def stage(journey: Journey) -> Stage:
    """The stage of ``run``."""
    return CaptureStage(journey)


@dataclass(frozen=True)
class CaptureStage:
    """The kernel's launches, as a task."""

    journey: Journey
    name: Name = "capture"

    def not_applicable(self, given: Mapping[str, str]) -> str:
        """Where a task is named already, or launches were not observed."""
        described = self.journey.described
        if described.app.task:
            return f"app.toml names the task {described.app.task}"
        if described.app.hardware != "cuda" or "symbol" not in given:
            return "no launches were observed"
        return ""

    def inputs(self, given: Mapping[str, str]) -> Mapping[str, str]:
        """The observation, the source, and how the application is run."""
        from warpsmith.app.stages import of_files
        from warpsmith.model.base import digest

        described = self.journey.described
        files = of_files(described.root, described.app.edited)
        observed = sorted(Path(given["observation"]).glob("*")) if "observation" in given else []
        return {"symbol": given["symbol"], "observed": digest([p.read_text() for p in observed]), **files}

    def run(self, given: Mapping[str, str]) -> Result:
        """Capture what observe found."""
        from warpsmith.app.observe import Wish, observe
        from warpsmith.app.stages import Result

        described, space = self.journey.described, self.journey.space
        said = application_of(self.journey)
        seen = observe(said, space.home, Wish(output=sys.stderr.fileno()))
        kernel = next(k for k in seen.observation.kernels if k.symbol == given["symbol"])
        made = carry_out(space, said, seen, kernel, Asked(name=described.app.name, source=described.source))
        if made.exit_status:
            return Result(said="", stop=made.replay, exit_status=2)
        return Result(said=f"{len(made.rows)} launches as {made.task}", gives={"task": made.folder})


def application_of(journey: Journey) -> App:
    """The run command of an app.toml as it is started there. Raises BadInput while another process works on it."""
    from warpsmith.app.running import app
    from warpsmith.app.site import Site
    from warpsmith.surface.integrating import environment

    described, own = journey.described, environment(journey.space)
    command = described.app.run
    argv = ("sh", "-c", command) if isinstance(command, str) else command
    with Site(described, journey.space.home, own) as site:
        return app(argv, described.root, {**own, **site.set_variables})


def known_of(space: Workspace, task: str) -> Known:
    """A captured task. Raises BadInput for one of another kind."""
    return captured(space.task(task))


def captured(known: Known) -> Known:
    """The task, where launches of an application were captured for it. Raises BadInput for one of another kind."""
    from warpsmith.model.task import AppTask

    if not isinstance(known.loaded.task, AppTask) or known.loaded.task.contract != "device":
        raise BadInput(
            f"{known.loaded.head.name} was not captured, so nobody knows which launches of an application to replace.",
            "Capture the kernel with 'warpsmith capture', or use 'integrate'.",
        )
    return known
