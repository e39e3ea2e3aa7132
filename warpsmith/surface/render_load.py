"""Answers of the verb ``load`` as text for a terminal; importing this registers them with :mod:`render`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from warpsmith.model.base import short
from warpsmith.model.harness import LATENCIES, PERCENTILES
from warpsmith.surface import answers_load as answers
from warpsmith.surface.numbers import seconds_text
from warpsmith.surface.render import render


@render.register
def _(answer: answers.LoadAnswer, out: Console) -> None:
    which = f" with {short(answer.candidate)}" if answer.candidate else ""
    report = answer.report
    out.print(Text(f"{answer.task}{which} at {report.url}, loaded by {report.tool}"), soft_wrap=True)
    table = Table("scenario", "requests", "token/s", "request/s", "failed", "sent late")
    times = Table("scenario", "latency", "mean", *PERCENTILES)
    for one in report.scenarios:
        rates = [f"{one.scores[rate]:.1f}" if rate in one.scores else "-" for rate in ("tok_s", "req_s")]
        failed = ", ".join(f"{count} {cause}" for cause, count in one.errors.items()) or "-"
        failed += f"; {one.short} answers too short" if one.short else ""
        late = seconds_text(one.late) if one.late else "-"
        table.add_row(one.scenario, str(one.requests), *rates, Text(failed), late)
        for of in (of for of in LATENCIES if of in one.latencies):
            seen = one.latencies[of]
            times.add_row(one.scenario, of, *(seconds_text(getattr(seen, which)) for which in ("mean", *PERCENTILES)))
    out.print(table)
    if times.row_count:
        out.print(times)
    if answer.failed:
        out.print(Text(f"more failed than the task allows: {', '.join(answer.failed)}"))
    if answer.crashed:
        out.print(Text(answer.crashed), soft_wrap=True)
    out.print(Text(f"kept in {answer.file}"), soft_wrap=True)
