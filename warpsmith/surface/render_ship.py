"""Answers of the verbs of releases as text for a terminal; importing this registers them with :mod:`render`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from warpsmith.model.base import short
from warpsmith.model.release import Gain
from warpsmith.ship.seal import Check
from warpsmith.surface import answers_ship as answers
from warpsmith.surface.regressing import number, percent
from warpsmith.surface.render import render


def gain_text(gain: Gain) -> str:
    """``1.84x [1.81, 1.87]``."""
    ends = "" if gain.low is None or gain.high is None else f" [{gain.low:.3f}, {gain.high:.3f}]"
    return f"{gain.speedup:.3f}x{ends}"


@render.register
def _(answer: answers.PromoteAnswer, out: Console) -> None:
    if answer.manifest is None:
        out.print(Text(f"{answer.task}@{answer.version} was not released: {short(answer.candidate)}"))
        for refusal in answer.refusals:
            out.print(Text(f"  {refusal.reason}: {refusal.message} {refusal.remedy}"), soft_wrap=True)
        return
    made = answer.manifest
    out.print(Text(f"{made.spec}: {gain_text(made.gain)} over the baseline, {short(made.candidate_id)}"))
    for workload in made.workloads:
        out.print(Text(f"  {workload.name}: {gain_text(workload.gain)}"))
    for said in made.trade_offs:
        out.print(Text(f"  trade-off: {said}"), soft_wrap=True)
    signed = f"signed by {made.signer[:16]}" if made.signer else "unsigned"
    out.print(Text(f"{answer.folder} ({len(made.files)} files, {signed})"), soft_wrap=True)


@render.register
def _(answer: answers.VerifyAnswer, out: Console) -> None:
    _checks("index", answer.index, out)
    for one in answer.releases:
        _checks(one.release, one.checks, out)
        for why in one.stale:
            out.print(Text(f"  stale: {why}"), soft_wrap=True)


def _checks(title: str, checks: tuple[Check, ...], out: Console) -> None:
    table = Table("check", "result", "detail", "remedy", title=title, title_justify="left")
    for check in checks:
        result = check.result.upper() if check.result == "failed" else check.result
        table.add_row(check.name, result, Text(check.detail), Text(check.remedy))
    out.print(table)


@render.register
def _(answer: answers.RejectAnswer, out: Console) -> None:
    out.print(Text(f"kept: {short(answer.candidate)} is rejected; claimed: {answer.claim}; {answer.why}"))
    if answer.next_blocker:
        out.print(Text(f"next blocker: {answer.next_blocker}"))


@render.register
def _(answer: answers.ReleasesAnswer, out: Console) -> None:
    if not answer.releases:
        out.print("nothing has been released here")
        return
    table = Table("release", "at", "architecture", "over the baseline", "signed", "stale")
    for row in answer.releases:
        e = row.entry
        gain = gain_text(Gain(speedup=e.speedup, low=e.low, high=e.high, pairs=0))
        state = row.problem or "; ".join(row.stale) or "no"
        table.add_row(e.spec, e.at, e.architecture, gain, e.signer[:16] or "no", Text(state))
    out.print(table)


@render.register
def _(answer: answers.HandOffAnswer, out: Console) -> None:
    handed = answer.handed
    out.print(Text(f"{handed.name}@{handed.version} to {handed.consumer}: {gain_text(handed.gain)}"))
    out.print(Text(answer.written), soft_wrap=True)


@render.register
def _(answer: answers.RegressAnswer, out: Console) -> None:
    table = Table("kernel", "workload", "metric", "baseline", "current", "change", "interval", "outcome")
    for c in answer.changes:
        values = (number(c.metric, c.baseline), number(c.metric, c.current), percent(c.change))
        ends = f"{percent(c.low)} to {percent(c.high)}"
        table.add_row(Text(c.kernel), Text(c.workload), c.metric, *values, ends, Text(f"{c.outcome} {c.detail}"))
    out.print(table)
    for note in answer.notes:
        out.print(Text(f"note: {note}"), soft_wrap=True)
    out.print(Text(f"report: {answer.report}"), soft_wrap=True)
