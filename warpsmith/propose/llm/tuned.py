"""The proposer ``sweep+llm``: a model writes kernels with tunables, and the sweep tunes the best of them.

While the model thinks, the sweep answers the other asks, so the device has work. Who answers follows from the history.
"""

from __future__ import annotations

from warpsmith.analyse.lines import beam, kernel
from warpsmith.analyse.standing import standing
from warpsmith.model.candidate import Candidate
from warpsmith.model.step import Proposal, Propose
from warpsmith.propose import Place
from warpsmith.propose.llm.proposer import Llm, with_models
from warpsmith.propose.sweep import LARGEST, Sweep
from warpsmith.store.history import History, Round

TUNED = 24
"""Points of one kernel after which it counts as tuned: then only a new kernel helps."""


def made(place: Place | None) -> Tuned:
    """The proposer of a place. Raises BadInput where no models can be asked."""
    return Tuned(with_models(place))


class Tuned:
    """Both, by turns."""

    name = "sweep+llm"

    def __init__(self, place: Place) -> None:
        self.llm = Llm(place, tunes=True)
        self.sweep = Sweep()

    def propose(self, step: Propose, history: History) -> Proposal:
        """Points of a kernel that is not tuned yet, or one new kernel. Raises AskError where no model can be asked."""
        others = len(history.asks) > 1
        last = history.proposed[-1] if history.proposed else None
        due = others or (last is not None and not _swept(last, history))
        if step.role == "propose" and due and (base := to_tune(history)) is not None:
            return self.sweep.around(base, step, history).model_copy(update={"exhausted": False})
        return self.llm.answer(step, history, 1)


def to_tune(h: History) -> Candidate | None:
    """The fastest kernel of the beam that has points left and was tried at few, as it was written; None without one."""
    c = h.campaign
    assert c is not None
    for x in beam(h, standing(h), c.beam):
        best = h.candidates[x]
        mine = [y for y in h.candidates.values() if kernel(y) == kernel(best) and y.space == best.space]
        space = best.space
        if 1 < space.size <= LARGEST and len(mine) < min(TUNED, sum(1 for _ in space.points())):
            return mine[0]
    return None


def _swept(answered: Round, h: History) -> bool:
    return bool(answered.candidates) and all(h.candidates[x].memo.startswith("[sweep]") for x in answered.candidates)
