"""The composition root: where things lie on this machine, and how the layers are put together for one task.

Owns paths, what names mean (tasks, tags, candidates), and the wiring of one measurement. Campaigns are put together in
``campaigns``, the device is calibrated in ``calibrating``. Nothing here is imported by another layer.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from warpsmith.analyse.standing import standing
from warpsmith.crew import write_step
from warpsmith.errors import BadInput, WarpsmithError
from warpsmith.execute.local import LocalExecutor, Session
from warpsmith.judge.deadline import SHARE
from warpsmith.judge.machine import detect
from warpsmith.judge.nvml import gpus
from warpsmith.judge.pin import must_see
from warpsmith.mark import PROJECT
from warpsmith.model.base import digest
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Effort, Evaluation
from warpsmith.model.harness import CommandTask, ServingTask
from warpsmith.model.step import Fault, Measure, Request, Result
from warpsmith.model.target import Target
from warpsmith.settings import Settings, load
from warpsmith.store.blobs import Blobs
from warpsmith.store.folders import CANDIDATE_FILE, LoadedTask, find_task, load_candidate, load_task
from warpsmith.store.history import History, fold
from warpsmith.store.ledger import read_events
from warpsmith.surface.asked import without_keys
from warpsmith.surface.gpus import settle
from warpsmith.toolchains import Asked

JUDGE = (sys.executable, "-P", str(Path(__file__).parent.parent / "judge" / "start.py"), "warpsmith.session")
CALIBRATION = Path(__file__).parent.parent / "judge" / "calibration"
"""Tasks that come with the package, to measure the machine or the judge with."""


def find_root(start: Path) -> Path:
    """The project: the nearest folder upwards that holds ``warpsmith.toml``, ``tasks`` or ``.warpsmith``,
    else ``start``.
    """
    for folder in (start, *start.parents):
        if any((folder / mark).exists() for mark in ("warpsmith.toml", "tasks", ".warpsmith")):
            return folder
    return start


@dataclass(frozen=True)
class Known:
    """A task with its three kinds of candidates that have folders."""

    loaded: LoadedTask
    baseline: Candidate
    entry: Candidate
    peers: dict[str, Candidate]
    admission: bool = True
    """Whether the task must prove that lazy answers fail it; calibration tasks measure the machine and need not."""

    @property
    def all(self) -> tuple[Candidate, ...]:
        """Every candidate with a folder."""
        return (self.baseline, self.entry, *self.peers.values())


class Workspace:
    """One project folder with its settings."""

    def __init__(self, root: Path | None = None, flags: Mapping[str, object] | None = None) -> None:
        self.project = os.environ.get(PROJECT, "") if root is None else ""
        """The project that an agent in a worktree works for; its tasks count, not those of the worktree."""
        self.root = Path(self.project).resolve() if self.project else find_root(root or Path.cwd())
        self.settings: Settings = load(self.root, flags or {})
        self.home = (self.root / self.settings.home).resolve()
        self.blobs = Blobs(self.home / "blobs")

    def outside_releases(self, output: Path) -> Path:
        """``output``; raises BadInput where it lies among the releases: only ``promote`` writes there."""
        if output.resolve().is_relative_to((self.root / self.settings.releases).resolve()):
            raise BadInput(f"{output} lies among the releases, and these are never changed.", "Write elsewhere.")
        return output

    def task(self, name: str) -> Known:
        """A task by path or ``group/name``, with its candidates. Raises BadInput."""
        loaded = load_task(find_task(name, self.root, self.root if self.project else Path()))
        if self.project and not loaded.folder.is_relative_to(self.root / "tasks"):
            raise BadInput(f"{name!r} is no task of {self.root}.", "Name a task of the project, as group/name.")
        head = loaded.head
        return Known(
            loaded,
            load_candidate(loaded.folder / head.baseline, self.blobs, head),
            load_candidate(loaded.folder / head.entry, self.blobs, head),
            {Path(p).name: load_candidate(loaded.folder / p, self.blobs, head) for p in head.peers},
        )

    def campaign_folder(self, task: str, tag: str) -> Path:
        """Where the ledger of one campaign lies. Raises BadInput for a tag that is no file name."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}", tag):
            raise BadInput(f"--tag: {tag!r} cannot name a campaign.", "Use letters, digits, '_', '-' and '.'.")
        return self.home / "campaigns" / task / tag

    def ledger(self, task: str, tag: str) -> Path:
        """The ledger of one campaign."""
        return self.campaign_folder(task, tag) / "ledger.jsonl"

    def tags(self, task: str) -> list[str]:
        """Campaigns that exist for a task."""
        return sorted(p.parent.name for p in (self.home / "campaigns" / task).glob("*/ledger.jsonl"))

    def history(self, task: str, tag: str) -> History:
        """The history of a campaign. Raises BadInput where there is none."""
        h = fold(read_events(self.ledger(task, tag)))
        if h.campaign is None:
            known = ", ".join(self.tags(task)) or "none"
            raise BadInput(
                f"task {task!r} has no campaign tagged {tag!r} (tags: {known}).", f"Run 'warpsmith optimize {task}'."
            )
        return h

    def candidate(self, known: Known, name: str, tag: str) -> Candidate:
        """A candidate named ``baseline``, ``entry``, ``best``, by a peer's name, a folder, or the beginning
        of an id.
        """
        fixed = {"baseline": known.baseline, "entry": known.entry, **known.peers}
        if name in fixed:
            return fixed[name]
        for folder in (Path(name), known.loaded.folder / name):
            if (folder / CANDIDATE_FILE).is_file():
                return load_candidate(folder, self.blobs, known.loaded.head)
        histories = [self.history(known.loaded.head.name, t) for t in self.tags(known.loaded.head.name)]
        if name == "best":
            h = self.history(known.loaded.head.name, tag)
            return h.candidates[standing(h).best]
        found = {i: c for h in histories for i, c in h.candidates.items() if i.startswith(name)}
        if len(found) == 1:
            return next(iter(found.values()))
        problem = "matches several candidates" if found else "names no candidate"
        raise BadInput(
            f"{name!r} {problem} of {known.loaded.head.name}.",
            "Give a folder with candidate.toml, an id from 'warpsmith history', or baseline, entry, best.",
        )

    def request(
        self,
        known: Known,
        target: Target,
        step: Measure,
        candidate: Candidate,
        rival: Candidate,
        configuration: Asked = "release",
    ) -> Request:
        """A measurement, complete."""
        return Request(
            step=step,
            task=known.loaded.task,
            task_digest=known.loaded.digest,
            candidate=candidate,
            rival=rival,
            baseline=known.baseline,
            admission=known.admission,
            target=target,
            configuration=configuration,
            cold=self.settings.cold,
            timeout_s=self.settings.call_timeout_s,
            limit_s=self.limit_s(known, step.effort),
            cache=str(self.home / "cache"),
            fixtures=str(self.home / "fixtures"),
        )

    def limit_s(self, known: Known, effort: Effort) -> float:
        """Longest time that a measurement may take: of the settings, and of a harness what its runs may take."""
        task = known.loaded.task
        if not isinstance(task, CommandTask | ServingTask):
            return self.settings.step_timeout_s
        return max(self.settings.step_timeout_s, task.longest_s(effort.pairs) / SHARE)

    def session(self, name: str, tell: Callable[[str], None] | None = None) -> Session:
        """A judge session of this machine, with its log. ``tell`` is told how a harness gets on."""
        environment = {
            **without_keys(os.environ, self.settings),
            # large arrays come and go with every call: keep their pages instead of faulting them in anew
            "MALLOC_MMAP_THRESHOLD_": str(1 << 40),
            "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
        }
        return Session(JUDGE, self.home / "logs" / f"judge-{name}.log", environment, tell)

    def executor(
        self, folder: Path, target: Target, name: str, tell: Callable[[str], None] | None = None
    ) -> LocalExecutor:
        """Runs steps of ``target`` with their folders under ``folder``; ``tell`` as in :meth:`session`."""
        device = f"{target.hardware}-{target.uuid}"
        return LocalExecutor(folder, self.session(name, tell), device, self.settings.step_timeout_s, _say)

    def target(self, known: Known) -> Target:
        """The device that the task asks for. Raises Missing where this machine has none."""
        return self.target_of(known.loaded.head.hardware)

    def target_of(self, hardware: str) -> Target:
        """The same by the word of a task; from then on this process sees no other GPU. Raises Missing, BadInput."""
        if hardware == "cuda":
            settle(self.settings)
        found = detect(hardware)
        must_see(found, gpus)
        return found

    def packaged(self, name: str) -> Known:
        """A task of ``CALIBRATION`` by its folder's name."""
        loaded = load_task(CALIBRATION / name)
        same = load_candidate(loaded.folder / loaded.head.baseline, self.blobs, loaded.head)
        return Known(loaded, same, same, {}, admission=False)

    def measure(
        self,
        known: Known,
        target: Target,
        candidate: Candidate,
        rival: Candidate,
        effort: Effort,
        name: str,
        configuration: Asked = "release",
        executor: LocalExecutor | None = None,
        sanitizers: tuple[str, ...] = (),
    ) -> Evaluation:
        """One measurement outside any campaign, in a session of its own or in that of ``executor``.

        Raises BadInput for a task that is at fault itself, and WarpsmithError where the machine keeps failing.
        """
        step = Measure(candidate=candidate.id, rival=rival.id, effort=effort, round=0)
        request = self.request(known, target, step, candidate, rival, configuration)
        request = request.model_copy(update={"sanitizers": sanitizers})
        runs = executor or self.executor(self.home / "steps", target, name, _say)
        key = digest([name, os.getpid(), time.time_ns()])
        try:
            for attempt in range(self.settings.attempts):
                answer = runs.run(
                    key,
                    attempt,
                    lambda folder: write_step(folder, request, known.loaded.folder, self.blobs),
                    request.limit_s,
                )
                for report in runs.kept(key):
                    self.blobs.put(report.read_bytes())
                if isinstance(answer, Result) and isinstance(answer.outcome, Evaluation):
                    runs.forget(key)
                    return answer.outcome
                fault = answer.outcome if isinstance(answer, Result) else answer
                if isinstance(fault, Fault) and fault.final:
                    raise BadInput(f"{fault.what}: {fault.detail}")
        finally:
            if executor is None:
                runs.close()
        assert isinstance(fault, Fault)
        raise WarpsmithError(f"the measurement was lost {self.settings.attempts} times: {fault.what}: {fault.detail}")


def _say(what: str) -> None:
    print(f"warpsmith: {what}", file=sys.stderr)  # noqa: T201
