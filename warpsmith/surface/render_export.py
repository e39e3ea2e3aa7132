"""Answers of the verbs of exports as text for a terminal; importing this registers them with :mod:`render`."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from warpsmith.ship.export.document import said
from warpsmith.ship.export.guards import Row
from warpsmith.surface import answers_export as answers
from warpsmith.surface.render import render


@render.register
def _(answer: answers.ExportAnswer, out: Console) -> None:
    named = f"{answer.kind}/{answer.name}"
    if answer.against:
        out.print(Text(f"{named} was not exported"))
        for one in answer.against:
            out.print(Text(f"  {one.reason}: {one.message} {one.remedy}"), soft_wrap=True)
        return
    if answer.reverted:
        left = f"{named} holds {', '.join(answer.export.now.releases)} again" if answer.export else f"{named} is gone"
        out.print(Text(left))
        return
    table = Table("release", "architecture", "shapes", "over the baseline", "dispatched")
    for row in answer.rows:
        table.add_row(row.release, row.architecture, Text(shapes(row)), said(row.gain), _dispatched(row))
    out.print(table)
    for note in answer.notes:
        out.print(Text(note), soft_wrap=True)
    out.print(Text(f"dispatch adds {cost_text(answer.added_cost)}"), soft_wrap=True)
    for line in path_lines(answer.installed_path):
        out.print(Text(f"where it is called: {line}"), soft_wrap=True)
    out.print(Text(answer.path), soft_wrap=True)


@render.register
def _(answer: answers.ExportsAnswer, out: Console) -> None:
    if not answer.exports:
        out.print("nothing has been exported here")
        return
    table = Table("export", "at", "releases", "compiled only", "before it", "problem")
    for row in answer.exports:
        e = row.export
        before = str(len(e.generations) - 1)
        also = ", ".join(e.now.also) or "none"
        table.add_row(e.path, e.now.at, Text(", ".join(e.now.releases)), also, before, row.problem or "none")
    out.print(table)


def shapes(row: Row) -> str:
    """``M 1..4096, N 1024``; alternatives with ``or``."""
    boxes = []
    for box in row.boxes:
        parts = [f"{a} {b.low}" if b.low == b.high else f"{a} {b.low}..{b.high}" for a, b in box.items()]
        boxes.append(", ".join(parts))
    return " or ".join(boxes) or "any"


def cost_text(cost: Any) -> str:
    """Nanoseconds with their interval, or why they are not known."""
    if not isinstance(cost, dict):
        return str(cost)
    return f"{cost['ns']:.0f} ns [{cost['low_ns']:.0f}, {cost['high_ns']:.0f}] to a call of {cost['direct_ns']:.0f} ns"


def path_lines(path: Any) -> list[str]:
    """What arrives, a line for each way of timing; or why that is not known."""
    if not isinstance(path, list):
        return [str(path)]
    return [
        f"{p['workload']} ({p['how']}) {p['speedup']:.3f}x [{p['low']:.3f}, {p['high']:.3f}] {_of(p)}"
        f"{'' if p['shown'] else ', unclear'}"
        for p in path
    ]


def _of(path: dict[str, Any]) -> str:
    if path["beside"] == "direct":
        return "as fast as the kernel's own binding"
    return f"of {path['wanted']:.3f}x {'on the bench' if path['wanted_of'] == 'bench' else 'by its own binding'}"


def _dispatched(row: Row) -> str:
    return "yes" if row.measured else "only where allowed"
