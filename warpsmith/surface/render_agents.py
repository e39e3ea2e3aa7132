"""Answers of the verbs for agents as text; importing this registers them with :mod:`render`."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from warpsmith.surface.answers_agents import LaunchAnswer, Launched, McpAnswer
from warpsmith.surface.render import render


@render.register
def _(answer: McpAnswer, out: Console) -> None:
    """Nothing: what stood on standard output was the protocol's."""


@render.register
def _(answer: LaunchAnswer, out: Console) -> None:
    for one in answer.launched:
        for line in _lines(one):
            out.print(Text(line), soft_wrap=True)


def _lines(one: Launched) -> list[str]:
    lines = [f"{one.task}: worktree {one.worktree}, branch {one.branch} from {one.base[:10]}"]
    lines += [f"  note: {note}" for note in one.notes]
    if not one.ended:
        return [*lines, f"  card: {one.card}", *(f"  {agent}: {said}" for agent, said in one.commands.items())]
    lines += [f"  round {r.number}: {r.verdict}: {r.reason}" for r in one.rounds]
    lines += [f"  {one.ended}", f"  best: {one.best}", f"  kept: {one.kept}"]
    return [*lines, f"  asked: {one.spent}"] if one.spent else lines
