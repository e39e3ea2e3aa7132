"""What to try next: history in, candidates out. A proposer never measures.

A proposer is a function of the step and the history: asked twice with equal ones it answers the same, so that a
campaign killed in between resumes as if nothing had happened.
"""

from __future__ import annotations

from typing import Protocol

from warpsmith.model.step import Proposal, Propose
from warpsmith.store.history import History


class Proposer(Protocol):
    """The one protocol of this layer."""

    name: str

    def propose(self, step: Propose, history: History) -> Proposal:
        """At most ``step.count`` candidates that the history does not hold. Raises WarpsmithError where it cannot."""


PROPOSERS = {"sweep": "warpsmith.propose.sweep:Sweep"}
"""Name on the command line to ``module:class``, imported when chosen."""
