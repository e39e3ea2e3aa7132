"""Measurements of harness tasks as text for a terminal: metric by metric, with what is known of how they came about."""

from __future__ import annotations

from statistics import median

from rich.console import Console
from rich.table import Table
from rich.text import Text

from warpsmith.analyse.compare import effect, logs
from warpsmith.model.base import short
from warpsmith.model.evaluation import Evaluation
from warpsmith.surface.metric_charts import amount
from warpsmith.surface.numbers import ratio_text
from warpsmith.surface.ratio import ratio_of
from warpsmith.surface.view import View

REPORTED = "harness_reported: the numbers are the harness's own word, taken in interleaved pairs"


def reported(evaluation: Evaluation, out: Console) -> None:
    """What a harness said, and what the judge knows of how it came about."""
    table = Table("workload", "status", "pairs", "metric", "candidate", "rival", "ratio", "detail")
    for result in evaluation.workloads:
        named = (result.workload, result.status.value, str(result.calls))
        for metric in result.metrics:
            medians = (amount(median(side), metric.unit) for side in (metric.candidate, metric.rival))
            ratio = ratio_text(ratio_of(effect(logs(metric))))
            table.add_row(*named, f"{metric.name} ({metric.direction})", *medians, ratio)
            named = ("", "", "")
        if not result.metrics:
            table.add_row(*named, "-", "-", "-", "-", Text(result.detail))
    if evaluation.workloads:
        out.print(table)
    for condition in evaluation.conditions:
        out.print(Text(f"  {condition}"), soft_wrap=True)
    for name, digest in evaluation.kept.items():
        out.print(f"  kept: {name}, blob {short(digest)}", highlight=False)


def metrics(seen: View, out: Console) -> None:
    """The proof of the best, metric by metric; a ratio above 1 is a gain whichever way is better."""
    table = Table("workload", "metric", "best", "baseline", "ratio", "guardrail")
    for w in seen.workloads:
        better = f"{seen.metric} ({seen.direction})"
        table.add_row(w.name, better, amount(w.candidate, w.unit), amount(w.rival, w.unit), ratio_text(w.ratio), "")
        for m in w.others:
            guard = "" if m.allowed is None else f"{'BROKEN' if m.broken else 'held'}, may lose {m.allowed:.1%}"
            sides = (amount(m.candidate, m.unit), amount(m.rival, m.unit))
            table.add_row("", f"{m.name} ({m.direction})", *sides, ratio_text(m.ratio), guard)
    out.print(table)
