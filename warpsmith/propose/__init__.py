"""What to try next: history in, candidates out. A proposer never measures.

A proposer is a function of the step and the history: asked twice with equal ones it answers the same, so that a
campaign killed in between resumes as if nothing had happened. (A model is not; what it answered is kept, see llm/.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from warpsmith.errors import BadInput
from warpsmith.model.step import Proposal, Propose
from warpsmith.store.history import History

if TYPE_CHECKING:
    from warpsmith.knowledge.library import Library
    from warpsmith.model.harness import CommandTask, ServingTask
    from warpsmith.model.task import KernelTask
    from warpsmith.propose.llm.asking import Asker
    from warpsmith.settings import Settings
    from warpsmith.store.blobs import Blobs


class Proposer(Protocol):
    """The one protocol of this layer."""

    name: str

    def propose(self, step: Propose, history: History) -> Proposal:
        """At most ``step.count`` candidates that the history does not hold. Raises WarpsmithError where it cannot."""


@dataclass(frozen=True)
class Place:
    """What a proposer may know beside the history."""

    task: KernelTask | CommandTask | ServingTask
    folder: Path
    """The task's, with its texts for people and models."""
    blobs: Blobs
    settings: Settings
    library: Library
    """What is known of this and other campaigns."""
    asker: Asker | None = None
    """Whoever asks language models; None where none is asked."""
    ceilings: Mapping[str, float] = field(default_factory=dict)
    """Measured rates of the device, by the names of analyse.ceilings."""
    root: Path = Path()
    """The project's folder."""
    home: Path = Path()
    """Where ledgers, blobs and logs lie."""
    contract: tuple[str, ...] = ()
    """What the present round of a plan and review loop asks for, in paragraphs; empty outside of one."""


@dataclass(frozen=True)
class Habits:
    """How a campaign with a proposer goes where nothing else is said."""

    rounds: int
    batch: int
    patience: int
    asks: int = 1
    beam: int = 1
    """Kernels that asks begin at; see model.campaign."""
    fixes: int = 0
    """Asks that a failed candidate may take to be mended."""
    models: bool = False
    """Whether language models are asked."""


PROPOSERS = {
    "sweep": "warpsmith.propose.sweep:made",
    "llm": "warpsmith.propose.llm.proposer:made",
    "sweep+llm": "warpsmith.propose.llm.tuned:made",
    "agent": "warpsmith.propose.agent:made",
}
"""Name on the command line to ``module:function``, imported when chosen; it makes the proposer of a place."""
HABITS = {
    "sweep": Habits(rounds=12, batch=8, patience=4),
    "llm": Habits(rounds=6, batch=1, patience=4, asks=2, beam=3, fixes=8, models=True),
    "sweep+llm": Habits(rounds=24, batch=8, patience=8, asks=2, beam=3, fixes=8, models=True),
    "agent": Habits(rounds=6, batch=1, patience=3),
}


def habits(name: str) -> Habits:
    """The habits of a proposer. Raises BadInput for an unknown one."""
    if name not in HABITS:
        raise BadInput(f"--proposer: {name!r} is not known.", f"Choose one of: {', '.join(sorted(HABITS))}.")
    return HABITS[name]
