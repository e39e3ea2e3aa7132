"""What is written for a kind of task: how a candidate is shown to a model, and how a reply becomes a candidate.

The conversation (proposer.py) is the same for all kinds. Kernels are in kernels.py, overlays in overlays.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from warpsmith.model.campaign import Campaign
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Evaluation, Status
from warpsmith.model.harness import HarnessTask
from warpsmith.propose.llm.asking import Block
from warpsmith.propose.llm.prompt import Part
from warpsmith.propose.llm.reply import Reply
from warpsmith.store.history import History

if TYPE_CHECKING:
    from warpsmith.analyse.standing import Standing
    from warpsmith.propose import Place
    from warpsmith.propose.llm.fixing import Failure


class Writing(Protocol):
    """What a model writes for one task."""

    def files(self, candidate: Candidate) -> dict[str, str]:
        """The texts that a reply may change, by path, as they are with this candidate; its manifest is not one."""

    def system(self, entry: Candidate, c: Campaign, past: tuple[str, ...], *, tunes: bool) -> tuple[Block, ...]:
        """The cached blocks of a run: ``past`` is what earlier campaigns found, ``tunes`` whether a search follows."""

    def source(self, candidate: Candidate, where: str, *, fix: bool) -> Part:
        """The candidate as it is shown, whole; ``where`` says where it stands."""

    def results(self, h: History, candidate: str) -> Part:
        """What was measured of a candidate."""

    def order(self, told: Mapping[str, object]) -> str:
        """What is asked, where nothing is to be mended; ``told`` is what the template wants."""

    def candidate(self, reply: Reply, parent: Candidate) -> tuple[Candidate, tuple[str, ...]]:
        """The candidate that a reply describes, with its sources kept, and notes on what was mended in it. Raises
        BadInput for the model to read.
        """

    def mended(self, files: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
        """Files of a reply without what is beyond doubt wrong with them, and a note for each that was changed."""

    def problems(self, reply: Reply, parent: Candidate, given: Candidate | None) -> list[str]:
        """What is wrong with a reply before anything is built, in sentences; ``given`` where one could be made."""

    def failure(self, h: History, s: Standing, candidate: str) -> Failure:
        """Why a candidate failed, as a model reads it."""

    def key(self, candidate: Candidate) -> str:
        """Equal for candidates of which one is enough."""


def writing(place: Place) -> Writing:
    """What is written for the task of ``place``."""
    if isinstance(place.task, HarnessTask):
        from warpsmith.propose.llm.overlays import Overlays

        return Overlays(place)
    from warpsmith.propose.llm.kernels import Kernels

    return Kernels(place)


def failed_evaluation(h: History, candidate: str) -> Evaluation | None:
    """The evaluation in which a candidate failed itself."""
    mine = (e for (c, _, _), e in h.evaluations.items() if c == candidate and e.rival_status is Status.passed)
    return next((e for e in mine if e.status is not Status.passed), None)
