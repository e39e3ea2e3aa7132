"""The mark that agents carry in their environment, and what a process that carries it may do.

An agent that warpsmith started may measure and hand in; a reviewer may only look. Neither can start the loop again:
whatever starts agents refuses inside one, and every surface offers only the verbs named here. The mark keeps honest
agents out of a loop in a loop; it is no fence against one that takes it off.
"""

from __future__ import annotations

import os
from typing import Literal

from warpsmith.errors import BadInput

MARK = "WARPSMITH_NESTED"
"""``ROLE:RUN:START`` in the environment of everything that an agent starts."""
PROJECT = "WARPSMITH_PROJECT"
"""The project whose tasks and ledgers count, whatever folder a process works in; see surface/workspace.py."""
AgentRole = Literal["implementer", "reviewer"]

_LOOKING = {
    "doctor", "gpu_list", "check", "history", "show", "diff", "report", "releases", "mcp",
    "knowledge", "knowledge_search", "knowledge_show",
}  # fmt: skip
_DOING = _LOOKING | {"bench", "profile", "explain", "submit", "regress"}
_PERMITTED: dict[str, set[str]] = {"reviewer": _LOOKING, "implementer": _DOING}
"""Verbs by role. One that is not named is refused, so a new verb is refused until somebody thought of it."""


def mark(role: AgentRole, run: str, start: str) -> dict[str, str]:
    """The environment variable that marks an agent; ``start`` tells one start of a run from every other."""
    return {MARK: f"{role}:{run}:{start}"}


def role() -> str:
    """The role of the agent that this process runs in; empty outside of any. An unknown mark is a reviewer's."""
    said = os.environ.get(MARK, "").partition(":")[0]
    return said if not said or said in _PERMITTED else "reviewer"


def permitted(verb: str) -> bool:
    """Whether this process may carry ``verb`` out."""
    return not role() or verb in _PERMITTED[role()]


def refuse(verb: str) -> None:
    """Raise BadInput where this process may not carry ``verb`` out."""
    if not permitted(verb):
        raise BadInput(
            f"'{verb.replace('_', ' ')}' is refused inside an agent's run (here: {role()}).",
            f"Allowed: {', '.join(sorted(_PERMITTED[role()]))}. The loop that started this agent does the rest.",
        )


def refuse_loop() -> None:
    """Raise BadInput inside any agent's run: a loop never starts within a loop."""
    if role():
        raise BadInput(
            f"no agent is started inside an agent's run (here: {role()}).",
            "Hand in with 'submit'; the loop that started this agent goes on by itself.",
        )
