"""What is said of a profile that is kept: the one source of ``explain`` and of the pages that quote it.

Opinions are of today: the rules, their record on the device and the measured ceilings are those that ``explain`` has.
"""

from __future__ import annotations

from collections.abc import Callable

from warpsmith.analyse.rates import Rate, rate
from warpsmith.analyse.rules import AT_THE_ROOF
from warpsmith.knowledge.library import Library
from warpsmith.knowledge.skill import load_for
from warpsmith.model.profile import Diagnosis, Profile
from warpsmith.model.target import Target
from warpsmith.store.history import History
from warpsmith.surface import render_explain
from warpsmith.surface.answers import NOTHING_GAINED, YES, ExplainAnswer
from warpsmith.surface.calibrating import measured_ceilings
from warpsmith.surface.diagnoses import diagnoses
from warpsmith.surface.harness_profiles import buckets
from warpsmith.surface.workspace import Known, Workspace

Explanations = Callable[[History, str], str]
"""What is said of a candidate's profile in a history, as text; empty where the history holds none."""


def explained(space: Workspace, known: Known, target: Target, found: Profile, library: Library) -> ExplainAnswer | None:
    """What the rules say of a profile that was kept; None where it holds no kernel with metrics.

    ``library`` has each rule's record, which ranks the findings.
    """
    made = diagnoses(found, target, measured_ceilings(space, target), library.trust(target.device))
    if not made:
        return None
    first = made[0]
    return ExplainAnswer(
        exit_status=NOTHING_GAINED if first.edit.rule == AT_THE_ROOF else YES,
        task=known.loaded.head.name,
        candidate=found.candidate,
        profile=found,
        reused=True,
        diagnoses=made,
        edit=first.edit,
        records=_records(made, library, target.device),
        skills=tuple(skill.id for skill in load_for(made, library.skills).skills),
    )


def explanations(space: Workspace, known: Known) -> Explanations:
    """What ``explain`` prints of the profiles of a task's histories, but for the paths of reports and the notices."""
    library = Library(space.home, space.root, space.blobs)

    def told(h: History, candidate: str) -> str:
        found = h.profiles.get(candidate)
        if found is None or h.campaign is None:
            return ""
        if known.loaded.kernel is None:
            return render_explain.text(buckets(space, known, h, found))
        answer = explained(space, known, h.campaign.target, found, library)
        return render_explain.text(answer) if answer is not None else ""

    return told


def _records(made: tuple[Diagnosis, ...], library: Library, device: str) -> dict[str, Rate]:
    named = dict.fromkeys(f.rule for one in made for f in one.findings)
    known = {rule: seen for (rule, where), seen in library.hit_rates.items() if where == device}
    return {rule: rate(known[rule].hits, known[rule].tries) for rule in named if rule in known}
