"""Answers of ``integrate``, ``intake`` and ``run`` as text; importing this registers them with :mod:`render`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from warpsmith.model.app import Integration
from warpsmith.model.base import short
from warpsmith.surface import answers_integrate as answers
from warpsmith.surface.numbers import seconds_text
from warpsmith.surface.render import render

SAID = {"kept": "kept", "rolled_back": "rolled back", "short_circuit": "not tried"}


@render.register
def _(answer: answers.IntegrateAnswer, out: Console) -> None:
    if answer.integration is None:
        out.print(Text(answer.recovered or "nothing was left to be finished"), soft_wrap=True)
        return
    _integration(answer.integration, out)
    if answer.ledger:
        out.print(Text(f"in the ledger: {answer.ledger}"), soft_wrap=True)


@render.register
def _(answer: answers.IntakeAnswer, out: Console) -> None:
    table = Table("name", "files", "taken in", "origin", "not as it was")
    for row in answer.intakes:
        told = [
            f"{len(paths)} {what}: {', '.join(paths[:3])}"
            for what, paths in (
                ("changed at the origin", row.changes.origin_changed),
                ("gone from the origin", row.changes.origin_gone),
                ("new at the origin", row.changes.origin_new),
                ("changed in the copy", row.changes.copy_changed),
            )
            if paths
        ]
        taken = row.intake
        where = [f"{s} {short(taken.revisions[s])}" if s in taken.revisions else s for s in taken.sources]
        table.add_row(taken.name, str(len(taken.files)), taken.at, Text("\n".join(where)), Text("\n".join(told) or "-"))
    out.print(table)


@render.register
def _(answer: answers.RunAnswer, out: Console) -> None:
    table = Table("stage", "state", "took", "what")
    for stage in answer.stages:
        took = seconds_text(stage.seconds) if stage.seconds else "-"
        table.add_row(stage.name, stage.state.replace("_", " "), took, Text(stage.said))
    out.print(table)
    if answer.integration is not None:
        _integration(answer.integration, out)


def _integration(made: Integration, out: Console) -> None:
    said = f"{made.app}: {short(made.candidate)} of {made.of} was {SAID[made.outcome]}: {made.reason}"
    out.print(Text(said), soft_wrap=True)
    if made.gains:
        table = Table("metric", "weight", "baseline", "optimised", "speed-up", "interval")
        for one in made.gains:
            ends = "-" if one.low is None or one.high is None else f"{one.low:.3f} to {one.high:.3f}"
            middle = [
                f"{sorted(x)[len(x) // 2]:.6g} {one.metric.unit}" for x in (one.metric.rival, one.metric.candidate)
            ]
            table.add_row(one.metric.name, f"{one.weight:g}", *middle, f"{one.speedup:.3f}x", ends)
        out.print(table)
    if made.outcome == "rolled_back":
        proved = "every file is as it was" if made.proved else "the tree is NOT as it was"
        out.print(f"{proved}; the application was {'' if made.rebuilt else 'NOT '}rebuilt from it")
    for note in made.notes:
        out.print(Text(f"  {note}"), soft_wrap=True)
    out.print(Text(f"evidence: {made.evidence}"), soft_wrap=True)
