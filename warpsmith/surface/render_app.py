"""Answers of the verbs of real applications as text; importing this registers them with :mod:`render`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from warpsmith.app.counts import Counts
from warpsmith.app.symbols import parts
from warpsmith.model.observed import Configuration, FunctionObservation, Observation, ObservedKernel, RunFacts
from warpsmith.surface import answers_app as answers
from warpsmith.surface.numbers import seconds_text
from warpsmith.surface.render import render

SHOWN = 20
"""Kernels of a table."""


@render.register
def _(answer: answers.ObserveAnswer, out: Console) -> None:
    if answer.reused:
        out.print(Text(f"not run again: {answer.reused} (--again runs it)"), soft_wrap=True)
    if answer.observation is not None:
        _observation(answer.observation, out)
    if answer.calls is not None:
        _calls(answer.calls, out)
    if answer.counts is not None:
        _counts(answer.counts, out)
    if answer.overhead:
        table = Table("watching", "wall", "ratio", "launches seen", "same output")
        for one in answer.overhead:
            same = "yes" if one.same else "no"
            table.add_row(one.way, seconds_text(one.seconds), f"{one.ratio:.3f}x", str(one.launches), same)
        out.print(table)
    if answer.files:
        out.print(Text(f"kept in {answer.folder}: {len(answer.files)} files"), soft_wrap=True)


def _observation(seen: Observation, out: Console) -> None:
    _run(seen.run, f"{seen.run.executions} kernels ran, {seconds_text(seen.run.device_s)} of device time", out)
    table = Table("share", "kernel", "grid", "block", "launches", "p25", "p50", "p95", "scalars")
    for kernel in seen.kernels[:SHOWN]:
        for at, one in enumerate(kernel.configurations):
            name = Text(parts(kernel.symbol).name if at == 0 else "")
            speed = "" if one.speed == "all" else f" {one.speed}"
            times = [seconds_text(t) for t in (one.p25_s, one.p50_s, one.p95_s)]
            shape = (_extents(one.grid), _extents(one.block) + speed)
            count = f"{one.launches} ({one.by_graphs} by graphs)" if one.by_graphs else str(one.launches)
            table.add_row(f"{one.share:.1%}", name, *shape, count, *times, _scalars(kernel, one))
        if kernel.configurations_seen > len(kernel.configurations):
            more = kernel.configurations_seen - len(kernel.configurations)
            table.add_row("", Text(f"  and {more} more, {1 - kernel.covered:.1%} of its time"))
    if seen.kernels:
        out.print(table)
    if len(seen.kernels) > SHOWN:
        rest = seen.kernels[SHOWN:]
        out.print(f"{len(rest)} more kernels, {sum(k.share for k in rest):.1%} of the device time")


def _scalars(kernel: ObservedKernel, one: Configuration) -> Text:
    said = []
    for scalar in one.scalars:
        more = f" ({scalar.distinct} values)" if scalar.distinct > 1 else ""
        said.append(f"{scalar.type or '?'} {scalar.value}{more}")
    return Text(", ".join(said) if kernel.parameters_known else "not known")


def _calls(seen: FunctionObservation, out: Console) -> None:
    _run(seen.run, f"{seen.run.launches} calls of {seen.function} returned", out)
    table = Table("share", "calls", "p50 (host)", "arguments", "result")
    for call in seen.calls[:SHOWN]:
        arguments = Text("\n".join(f"{name}: {said}" for name, said in call.arguments.items()))
        table.add_row(f"{call.share:.1%}", str(call.calls), seconds_text(call.p50_s), arguments, Text(call.results))
    if seen.calls:
        out.print(table)


def _counts(seen: Counts, out: Console) -> None:
    launches, graphs = (sum(p.launches for p in seen.processes), sum(p.graph_launches for p in seen.processes))
    said = f"{launches} kernel launches, {graphs} launches of graphs, in {seconds_text(seen.seconds)}"
    out.print(Text(f"{' '.join(seen.command)[:100]}: {said}"), soft_wrap=True)
    if not seen.processes:
        out.print("  no process of it that takes preloaded libraries started the CUDA driver")
    if len(seen.processes) > 1:
        table = Table("process", "program", "launches", "of graphs")
        for one in seen.processes:
            table.add_row(str(one.pid), Text(one.program), str(one.launches), str(one.graph_launches))
        out.print(table)
    if seen.status is None:
        out.print("  it was ended when its time was up")
    elif seen.status:
        out.print(f"  the application ended with status {seen.status}")


def _run(run: RunFacts, what: str, out: Console) -> None:
    where = f" on {', '.join(run.devices)}" if run.devices else ""
    out.print(Text(f"{' '.join(run.command)[:100]}: {what}{where}, in {seconds_text(run.seconds)}"), soft_wrap=True)
    for said in run.conditions:
        out.print(Text(f"  {said}"), soft_wrap=True)


def _extents(extents: tuple[int, int, int]) -> str:
    return "x".join(map(str, extents))


@render.register
def _(answer: answers.CaptureAnswer, out: Console) -> None:
    out.print(Text(f"{answer.kernel}: {answer.replay or 'not replayed'}"), soft_wrap=True)
    if answer.rows:
        out.print(Text(f"{answer.task}: {answer.covered:.1%} of its time, {answer.bytes / 2**20:.1f} MiB of fixtures"))
        table = Table("share", "launch", "launches", "in the application", "stand-alone, cold", "gap")
        for row in answer.rows:
            alone = "" if row.alone_s is None else seconds_text(row.alone_s)
            gap = "" if row.gap is None else f"{row.gap:.2f}x"
            table.add_row(f"{row.share:.1%}", row.workload, str(row.launches), seconds_text(row.real_s), alone, gap)
        out.print(table)
    for said in answer.notes:
        out.print(Text(f"  {said}"), soft_wrap=True)
    for what, place in (("task", answer.folder), ("harness", answer.harness)):
        if place:
            out.print(Text(f"{what}: {place}"), soft_wrap=True)


@render.register
def _(answer: answers.TrialAnswer, out: Console) -> None:
    made = answer.trial
    out.print(Text(f"{made.outcome.replace('_', ' ')}: {made.reason}"), soft_wrap=True)
    table = Table("", "original", "candidate", "speed-up", "interval", "verdict")
    for one in (c for c in (made.kernel, made.application) if c is not None):
        middle = [sorted(side)[len(side) // 2] for side in (one.original, one.candidate)]
        shown = [seconds_text(m) if one.unit == "s" else f"{m:.6g} {one.unit}" for m in middle]
        interval = f"{one.low or 0:.3f} to {one.high:.3f}" if one.high is not None else "not known"
        table.add_row(one.name, *shown, f"{one.speedup:.3f}x", interval, one.verdict.value)
    if made.application is not None:
        out.print(table)
    out.print(f"{made.covered:.1%} of the kernel's launches are replaced, by {made.rules} rules")
    for said in made.notes:
        out.print(Text(f"  {said}"), soft_wrap=True)
    out.print(Text(f"report: {answer.report}"), soft_wrap=True)
