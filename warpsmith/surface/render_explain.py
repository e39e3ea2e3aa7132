"""Answers of ``profile`` and ``explain`` as text for a terminal; importing this registers them with :mod:`render`."""

from __future__ import annotations

import io

from rich.console import Console
from rich.table import Table
from rich.text import Text

from warpsmith.analyse.rates import Rate
from warpsmith.model.base import short
from warpsmith.model.metrics import METRICS, show
from warpsmith.model.profile import Activity, Diagnosis, Finding, KernelProfile, Profile, SourceLine
from warpsmith.surface import answers
from warpsmith.surface.answers_profile import BucketsAnswer
from warpsmith.surface.render import WIDTH, render, render_evaluation

MOST_LINES, MOST_ACTIVITIES = 8, 15
LEAST_OF_A_LINE = 0.001
"""Share below which a line is not shown: it would read 0.0 %."""
INSTRUCTIONS = "cpu_instructions"


@render.register
def _(answer: answers.ProfileAnswer, out: Console) -> None:
    if answer.evaluation is not None:
        render_evaluation(answer.evaluation, out)
    found = answer.profile
    if found is None:
        return
    what = f"{short(answer.candidate)} on {found.workload}" if answer.candidate else found.workload
    out.print(Text(f"{what}: {found.tool}, {found.effort}, {found.seconds:.1f} s"), soft_wrap=True)
    functions = tuple(k for k in found.kernels if set(k.metrics) == {INSTRUCTIONS} and not k.lines)
    for kernel in found.kernels:
        if kernel not in functions:
            _kernel(kernel, out)
    _functions(functions, out)
    if found.timeline is not None:
        _timeline(found, out)
    _footer(found, answer.reports, out)


@render.register
def _(answer: answers.ExplainAnswer, out: Console) -> None:
    for kernel in answer.diagnoses:
        _diagnosis(kernel, answer.records, out)
    _footer(answer.profile, answer.reports, out)
    if answer.skills:
        out.print(Text(f"skills (warpsmith knowledge show NAME): {', '.join(answer.skills)}"), soft_wrap=True)
    for said in answer.rhythm:
        out.print(Text(f"escalate: {said}"), soft_wrap=True)
    edit = answer.edit
    gain = f"at most {edit.gain:.0%} of the time" if edit.gain > 0 else "nothing to gain"
    gain += _record(edit.rule, answer.records)
    out.print(Text(f"\nnext edit ({edit.rule}, {gain}): {edit.edit}"), soft_wrap=True)
    _lines(edit.lines, out)
    goal = f" to {show(edit.check.metric, edit.check.to)}" if edit.check.to is not None else ""
    label = METRICS[edit.check.metric].label if edit.check.metric in METRICS else edit.check.metric
    out.print(Text(f"checked by: {label} goes {edit.check.direction}{goal}, and the judge calls it faster"))


@render.register
def _(answer: BucketsAnswer, out: Console) -> None:
    found = answer.profile
    if found is None:
        out.print(Text(f"{short(answer.candidate)}: {answer.lacking}"), soft_wrap=True)
        out.print(Text(answer.remedy), soft_wrap=True)
    else:
        out.print(Text(f"{short(answer.candidate)} on {found.workload}: {found.tool}"), soft_wrap=True)
        what = "time goes" if found.timeline is not None else "instructions go"
        table = Table(f"where the {what}", "share", *([f"in {short(answer.beside)}"] if answer.beside else []))
        for one in answer.buckets:
            before = [] if one.before is None else [f"{one.before:.1%}"]
            table.add_row(Text(one.name), f"{one.share:.1%}", *before)
        out.print(table)
        if not answer.buckets:
            out.print("the profile has no times: nothing of the device, or no line, was seen")
        if answer.unchanged:
            out.print(Text(f"the largest is what it was in {short(answer.beside)}: go for it"), soft_wrap=True)
        _footer(found, answer.reports, out)
    for said in answer.rhythm:
        out.print(Text(f"escalate: {said}"), soft_wrap=True)


def text(answer: answers.ExplainAnswer | BucketsAnswer) -> str:
    """What a terminal shows of it, without colours."""
    page = io.StringIO()
    render(answer, Console(file=page, width=WIDTH, force_terminal=False, color_system=None))
    return page.getvalue()


def _kernel(kernel: KernelProfile, out: Console) -> None:
    launch = f"{kernel.launches} launches of " if kernel.launches > 1 else ""
    geometry = "" if kernel.registers is None else f"  grid {kernel.grid} block {kernel.block}"
    out.print(Text(f"\n{launch}{kernel.kernel}{geometry}"), soft_wrap=True)
    table = Table("metric", "value", "group")
    for key, value in kernel.metrics.items():
        spec = METRICS.get(key)
        table.add_row(spec.label if spec else key, show(key, value), str(spec.group) if spec else "")
    out.print(table)
    if kernel.missing:
        out.print(Text(f"not given: {', '.join(kernel.missing)}"), soft_wrap=True)
    _lines(tuple(one for one in kernel.lines if one.samples >= LEAST_OF_A_LINE)[:MOST_LINES], out)


def _functions(functions: tuple[KernelProfile, ...], out: Console) -> None:
    """Of which nothing but the instructions was counted."""
    if not functions:
        return
    table = Table("function", METRICS[INSTRUCTIONS].label)
    for one in functions:
        table.add_row(Text(one.kernel), show(INSTRUCTIONS, one.metrics[INSTRUCTIONS]))
    out.print(table)


def _timeline(found: Profile, out: Console) -> None:
    timeline = found.timeline
    assert timeline is not None
    out.print(
        f"the device worked for {timeline.busy:.1%} of {timeline.seconds * 1e3:.3f} ms;"
        f" {timeline.gaps} gaps, the longest {timeline.longest_gap_s * 1e6:.1f} us",
        highlight=False,
    )
    table = Table("what", "name", "count", "in all", "median", "longest", "bytes")
    for one in _activities(timeline.activities):
        times = (f"{s * 1e6:.1f} us" for s in (one.seconds, one.median_s, one.longest_s))
        table.add_row(one.kind, Text(one.name), str(one.count), *times, str(one.bytes or ""))
    out.print(table)


def _activities(every: tuple[Activity, ...]) -> list[Activity]:
    """The leading ones of the device and of the calls."""
    device = [a for a in every if a.kind != "call"][:MOST_ACTIVITIES]
    return device + [a for a in every if a.kind == "call"][:MOST_ACTIVITIES]


def _diagnosis(found: Diagnosis, records: dict[str, Rate], out: Console) -> None:
    out.print(Text(f"\n{found.kernel}: {found.bottleneck}. {found.because}"), soft_wrap=True)
    if found.roofs:
        out.print(Text("of each ceiling: " + ", ".join(f"{n} {s:.0%}" for n, s in found.roofs.items())), soft_wrap=True)
    for finding in found.findings:
        _finding(finding, records, out)
    for advice in found.advice:
        gain = f" ({advice.speedup:.0%} {advice.scope})" if advice.speedup is not None else ""
        out.print(Text(f"  vendor, {advice.kind} {advice.rule}{gain}: {advice.message}"), soft_wrap=True)
    if found.not_evaluated:
        out.print(Text(f"not evaluated, for want of a metric: {', '.join(found.not_evaluated)}"), soft_wrap=True)


def _finding(finding: Finding, records: dict[str, Rate], out: Console) -> None:
    indent = "    because of it: " if finding.cause else "  "
    agreed = f" [also {', '.join(finding.agreed)}]" if finding.agreed else ""
    gain = f", at most {finding.gain:.0%}" if finding.gain > 0 else ""
    gain += _record(finding.rule, records)
    out.print(Text(f"{indent}{finding.severity} {finding.rule}{gain}: {finding.message}{agreed}"), soft_wrap=True)
    if not finding.cause:
        _lines(finding.lines, out)


def _record(rule: str, records: dict[str, Rate]) -> str:
    """How often the rule's advice was right, as the end of a clause; empty where nobody followed it."""
    seen = records.get(rule)
    return f", came true {seen.seen} of {seen.count} times on this device" if seen is not None else ""


def _lines(lines: tuple[SourceLine, ...], out: Console) -> None:
    for line in lines:
        why = f" {line.stall.removeprefix('stall_')}" if line.stall else ""
        out.print(Text(f"    {line.samples:6.1%}{why}  {line.file}:{line.line}  {line.text}"), soft_wrap=True)


def _footer(found: Profile, reports: tuple[str, ...], out: Console) -> None:
    for condition in found.conditions:
        out.print(Text(f"note: {condition}"), soft_wrap=True)
    for report in reports:
        out.print(f"report: {report}", highlight=False, soft_wrap=True)
