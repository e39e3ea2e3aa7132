"""What the verbs for agents answer."""

from __future__ import annotations

from warpsmith.model.base import Record
from warpsmith.propose.review import Round
from warpsmith.surface.answers import Answer


class McpAnswer(Answer):
    """The client closed the connection."""


class Launched(Record):
    """One task's worktree, and what came of it."""

    task: str
    run: str
    tag: str
    worktree: str
    branch: str
    base: str
    """The commit that the branch begins at."""
    card: str
    """The file with all that an agent is told."""
    commands: dict[str, str]
    """Agent to the command that starts it there, for a person at a terminal."""
    notes: tuple[str, ...] = ()
    """What a person should know before."""
    ended: str = ""
    """How the agent, or the loop, ended; empty where none was started."""
    rounds: tuple[Round, ...] = ()
    kept: str = ""
    """Folder with plan, contracts, summaries and reviews; empty where no agent was started."""
    spent: str = ""
    """What asking models and agents cost the campaign so far, in a sentence; empty where nothing was asked."""
    best: str = ""
    gained: bool = False
    """Whether the campaign's best is another one than before."""


class LaunchAnswer(Answer):
    """What was prepared or started, task by task."""

    launched: tuple[Launched, ...]
