"""The composition root: where things lie on this machine, and how the layers are put together for one task.

Owns paths and wiring only. Nothing here is imported by another layer.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from warpsmith.analyse.compare import Verdict, compare, noise_floor
from warpsmith.campaign import Watcher, optimize
from warpsmith.crew import LocalCrew, write_step
from warpsmith.errors import BadInput, WarpsmithError
from warpsmith.execute.local import LocalExecutor, Session
from warpsmith.judge import VERSION
from warpsmith.judge.deadline import SHARE
from warpsmith.judge.machine import detect
from warpsmith.judge.nvml import gpus
from warpsmith.judge.pin import must_see
from warpsmith.knowledge.library import Library
from warpsmith.mark import PROJECT
from warpsmith.model.base import digest, short
from warpsmith.model.campaign import Budget, Campaign
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Effort, Evaluation
from warpsmith.model.harness import CommandTask, HarnessTask, ServingTask
from warpsmith.model.step import Explain, Fault, Measure, ProfileRequest, Request, Result
from warpsmith.model.target import Calibration, Target
from warpsmith.propose import HABITS, PROPOSERS, Place, Proposer, habits
from warpsmith.settings import Settings, load
from warpsmith.store.blobs import Blobs
from warpsmith.store.files import write_atomic
from warpsmith.store.folders import CANDIDATE_FILE, LoadedTask, find_task, load_candidate, load_task
from warpsmith.store.history import History, fold
from warpsmith.store.ledger import Ledger, read_events
from warpsmith.surface.asked import Recording, asker_for, without_keys
from warpsmith.surface.bare import bare_campaign
from warpsmith.surface.diagnoses import ceilings
from warpsmith.surface.gpus import settle
from warpsmith.surface.profiling import explains, profile_request
from warpsmith.toolchains import Asked

if TYPE_CHECKING:
    from warpsmith.propose.llm.asking import Asker

JUDGE = (sys.executable, "-P", str(Path(__file__).parent.parent / "judge" / "start.py"), "warpsmith.session")
CALIBRATION = Path(__file__).parent.parent / "judge" / "calibration"
CALIBRATION_RUNS = 3
"""A/A comparisons of a calibration, ten pairs each."""


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
        from warpsmith.analyse.standing import standing

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

    def session(self, name: str) -> Session:
        """A judge session of this machine, with its log."""
        environment = {
            **without_keys(os.environ, self.settings),
            # large arrays come and go with every call: keep their pages instead of faulting them in anew
            "MALLOC_MMAP_THRESHOLD_": str(1 << 40),
            "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
        }
        return Session(JUDGE, self.home / "logs" / f"judge-{name}.log", environment)

    def executor(self, folder: Path, target: Target, name: str) -> LocalExecutor:
        """Runs steps of ``target`` with their folders under ``folder``."""
        device = f"{target.hardware}-{target.uuid}"
        return LocalExecutor(folder, self.session(name), device, self.settings.step_timeout_s)

    def crew(self, known: Known, campaign: Campaign, proposer: Proposer) -> LocalCrew:
        """The crew of a campaign on this machine."""
        folder = self.campaign_folder(campaign.task_name, campaign.tag)
        inbox = folder / "inbox"
        inbox.mkdir(parents=True, exist_ok=True)
        executor = self.executor(folder / "steps" / short(campaign.scope), campaign.target, short(campaign.scope))

        def request_for(step: Measure, candidate: Candidate, rival: Candidate) -> Request:
            return self.request(known, campaign.target, step, candidate, rival)

        def profile_for(step: Explain, candidate: Candidate) -> ProfileRequest:
            return profile_request(self, known, campaign.target, step, candidate)

        told = (known.loaded.folder, inbox, profile_for, campaign.asks)
        return LocalCrew(executor, proposer, request_for, self.blobs, *told)

    def proposer(self, name: str, place: Place | None = None) -> Proposer:
        """A proposer by name, at a place. Raises BadInput."""
        habits(name)
        module, _, attribute = PROPOSERS[name].partition(":")
        made: Proposer = getattr(import_module(module), attribute)(place)
        return made

    def place(
        self, known: Known, target: Target, asker: Asker | None = None, contract: tuple[str, ...] = ()
    ) -> Place | None:
        """What proposers may know beside the history; None for a task without kernels."""
        task = known.loaded.kernel
        if task is None:
            return None
        library = Library(self.home, self.root, self.blobs)
        measured = self.measured_ceilings(target)
        kept = (self.root, self.home)
        return Place(task, known.loaded.folder, self.blobs, self.settings, library, asker, measured, *kept, contract)

    def open_campaign(self, known: Known, target: Target, tag: str, proposer: str, budget: Budget) -> Campaign:
        """The campaign that the flags describe, on a calibrated device."""
        head, settings = known.loaded.head, self.settings
        own = HABITS.get(proposer, HABITS["sweep"])  # verbs that only measure ask nobody ("none")
        calibration = self.floor(known, target)
        return Campaign(
            tag=tag,
            task_name=head.name,
            task=known.loaded.digest,
            target=target,
            judge=VERSION,
            proposer=proposer,
            budget=budget,
            seed=settings.seed,
            baseline=known.baseline.id,
            entry=known.entry.id,
            peers={name: c.id for name, c in known.peers.items()},
            weights={w.name: w.weight for w in head.workloads},
            objective=head.objective,
            guardrails=head.guardrails,
            min_gain=head.gate.min_gain if settings.min_gain < 0 else settings.min_gain,
            noise_floor=calibration.noise_floor if calibration else 0.0,
            noise_comparisons=calibration.comparisons if calibration else 0,
            peak_flops_per_s=calibration.flops_per_s if calibration else None,
            batch=own.batch if settings.batch < 0 else settings.batch,
            asks=own.asks if settings.asks < 1 else settings.asks,
            beam=own.beam,
            fixes=own.fixes,
            attempts=settings.attempts,
            explain=settings.explain and explains(known),
        )

    def optimize(
        self,
        known: Known,
        tag: str,
        budget: Budget,
        watch: Watcher | None = None,
        recording: Recording | None = None,
        proposer: Proposer | None = None,
        contract: tuple[str, ...] = (),
    ) -> History:
        """Run or resume the campaign ``tag`` until its plan is empty.

        Args:
            known: The task.
            tag: Names the campaign.
            budget: When to stop asking.
            watch: Sees every event.
            recording: What becomes of asks and answers beside the ledger.
            proposer: Goes over that of the settings.
            contract: What a round of plan and review asks of the proposer, in paragraphs.
        """
        target = self.target(known)
        path = self.ledger(known.loaded.head.name, tag)
        if known.loaded.kernel is None and proposer is None and self.settings.proposer != "sweep":
            raise BadInput(
                f"--proposer {self.settings.proposer} writes kernels, and {known.loaded.head.name} has none.",
                "Use '--proposer sweep', and hand overlays in by 'warpsmith submit'.",
            )
        asker = asker_for(self.settings, path.parent, budget, recording or Recording())
        proposer = proposer or self.proposer(self.settings.proposer, self.place(known, target, asker, contract))
        with Ledger(path) as ledger:
            campaign = self.open_campaign(known, target, tag, proposer.name, budget)
            crew = self.crew(known, campaign, proposer)
            try:
                return optimize(campaign, crew, ledger, known.all, watch or (lambda event, history: None))
            finally:
                if asker is not None:
                    asker.close()
                crew.close()

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

    def calibrated(self, target: Target) -> Calibration:
        """What was measured of the device: from the last calibration, or measured now."""
        try:
            return Calibration.model_validate_json(self._calibration_file(target).read_bytes())
        except (OSError, ValidationError):
            return self.calibrate(target)

    def floor(self, known: Known, target: Target) -> Calibration | None:
        """The calibration that counts for a task's comparisons; None for one of a harness, whose noise is its own."""
        return None if isinstance(known.loaded.task, HarnessTask) else self.calibrated(target)

    def measured_ceilings(self, target: Target) -> dict[str, float]:
        """What a calibration measured of the device; nothing where there was none. Never measures."""
        try:
            return ceilings(Calibration.model_validate_json(self._calibration_file(target).read_bytes()))
        except (OSError, ValidationError):
            return {}

    def calibrate(self, target: Target) -> Calibration:
        """Measure the noise floor (identical candidates against each other), copy rates and peak, and keep them."""
        known = self.packaged(target.hardware)
        same = known.entry
        effects = []
        different = 0
        copies: dict[str, float] = {}
        for run in range(CALIBRATION_RUNS):
            evaluation = self.measure(known, target, same, same, Effort.confirm, name=f"calibrate-{run}")
            campaign = bare_campaign(known, target)
            answer = compare(evaluation, campaign)
            if answer is None:
                raise WarpsmithError(f"the calibration task failed: {evaluation.status}: {evaluation.detail}.")
            effects += [answer.overall]
            different += answer.verdict in (Verdict.faster, Verdict.slower)
            for result in evaluation.workloads:
                if result.ceiling is not None:
                    ceiling = result.ceiling
                    rate = ceiling.bytes / sorted(ceiling.seconds)[len(ceiling.seconds) // 2]
                    copies[str(ceiling.bytes)] = max(rate, copies.get(str(ceiling.bytes), 0.0))
        calibration = Calibration(
            target=target.key,
            noise_floor=noise_floor(effects),
            comparisons=len(effects),
            different=different,
            copy_bytes_per_s=copies,
            flops_per_s=self._peak(target),
            at=time.time(),
        )
        write_atomic(self._calibration_file(target), calibration.model_dump_json(indent=1))
        return calibration

    def packaged(self, name: str) -> Known:
        """A task that comes with the package, to measure the machine or the judge with."""
        loaded = load_task(CALIBRATION / name)
        same = load_candidate(loaded.folder / loaded.head.baseline, self.blobs, loaded.head)
        return Known(loaded, same, same, {}, admission=False)

    def _peak(self, target: Target) -> float:
        """Single-precision operations per second of what one launch, or one core, can use at most."""
        known = self.packaged(f"{target.hardware}-peak")
        evaluation = self.measure(known, target, known.entry, known.entry, Effort.screen, name="calibrate-peak")
        metric = evaluation.workloads[0].metric("time") if evaluation.passed else None
        task = known.loaded.kernel
        if metric is None or task is None:
            raise WarpsmithError(f"the calibration task failed: {evaluation.status}: {evaluation.detail}.")
        return task.work(task.workloads[0]) / min(metric.candidate + metric.rival)

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
        runs = executor or self.executor(self.home / "steps", target, name)
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

    def _calibration_file(self, target: Target) -> Path:
        return self.home / "devices" / f"{target.key[:16]}.json"
