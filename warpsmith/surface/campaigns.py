"""A campaign on this machine: the record that the settings describe, who proposes in it, and the crew that runs it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from warpsmith.campaign import Watcher, optimize
from warpsmith.crew import LocalCrew
from warpsmith.judge import VERSION
from warpsmith.knowledge.library import Library
from warpsmith.model.base import short
from warpsmith.model.campaign import Budget, Campaign
from warpsmith.model.candidate import Candidate
from warpsmith.model.harness import HarnessTask
from warpsmith.model.step import Explain, Measure, ProfileRequest, Request
from warpsmith.model.target import Target
from warpsmith.propose import HABITS, PROPOSERS, Place, Proposer, habits
from warpsmith.store.history import History
from warpsmith.store.ledger import Ledger
from warpsmith.surface.asked import Recording, asker_for
from warpsmith.surface.calibrating import calibration_of, measured_ceilings
from warpsmith.surface.profiling import explains, profile_request
from warpsmith.surface.workspace import Known, Workspace

if TYPE_CHECKING:
    from warpsmith.propose.llm.asking import Asker


def run_campaign(
    space: Workspace,
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
        space: The project and its settings.
        known: The task.
        tag: Names the campaign.
        budget: When to stop asking.
        watch: Sees every event.
        recording: What becomes of asks and answers beside the ledger.
        proposer: Goes over that of the settings.
        contract: What a round of plan and review asks of the proposer, in paragraphs.
    """
    settings = space.settings
    target = space.target(known)
    path = space.ledger(known.loaded.head.name, tag)
    asker = asker_for(settings, path.parent, budget, recording or Recording())
    proposer = proposer or proposer_at(settings.proposer, place_for(space, known, target, asker, contract))
    with Ledger(path) as ledger:
        campaign = open_campaign(space, known, target, tag, proposer.name, budget)
        crew = crew_for(space, known, campaign, proposer)
        try:
            return optimize(campaign, crew, ledger, known.all, watch or (lambda event, history: None))
        finally:
            if asker is not None:
                asker.close()
            crew.close()


def open_campaign(space: Workspace, known: Known, target: Target, tag: str, proposer: str, budget: Budget) -> Campaign:
    """The campaign that the settings describe, on a calibrated device."""
    head, settings = known.loaded.head, space.settings
    own = HABITS.get(proposer, HABITS["sweep"])  # verbs that only measure ask nobody ("none")
    harness = isinstance(known.loaded.task, HarnessTask)  # whose noise is its own
    calibration = None if harness else calibration_of(space, target)
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


def proposer_at(name: str, place: Place | None) -> Proposer:
    """A proposer by name, at a place. Raises BadInput."""
    habits(name)
    module, _, attribute = PROPOSERS[name].partition(":")
    made: Proposer = getattr(import_module(module), attribute)(place)
    return made


def place_for(
    space: Workspace, known: Known, target: Target, asker: Asker | None = None, contract: tuple[str, ...] = ()
) -> Place:
    """What proposers may know beside the history."""
    task = known.loaded.task
    library = Library(space.home, space.root, space.blobs)
    measured = measured_ceilings(space, target)
    kept = (space.root, space.home)
    return Place(task, known.loaded.folder, space.blobs, space.settings, library, asker, measured, *kept, contract)


def crew_for(space: Workspace, known: Known, campaign: Campaign, proposer: Proposer) -> LocalCrew:
    """The crew of a campaign on this machine."""
    folder = space.campaign_folder(campaign.task_name, campaign.tag)
    inbox = folder / "inbox"
    inbox.mkdir(parents=True, exist_ok=True)
    executor = space.executor(folder / "steps" / short(campaign.scope), campaign.target, short(campaign.scope))

    def request_for(step: Measure, candidate: Candidate, rival: Candidate) -> Request:
        return space.request(known, campaign.target, step, candidate, rival)

    def profile_for(step: Explain, candidate: Candidate) -> ProfileRequest:
        return profile_request(space, known, campaign.target, step, candidate)

    told = (known.loaded.folder, inbox, profile_for, campaign.asks)
    return LocalCrew(executor, proposer, request_for, space.blobs, *told)
