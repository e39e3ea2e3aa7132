"""Answers as text for a terminal: what each class of answer looks like. The other ``render_*`` register theirs here."""

from __future__ import annotations

import sys
from functools import singledispatch

from rich.console import Console
from rich.table import Table
from rich.text import Text

from warpsmith.analyse.rates import Rate
from warpsmith.model.base import short
from warpsmith.model.evaluation import Evaluation, Trust
from warpsmith.surface import answers
from warpsmith.surface.asked import sentence
from warpsmith.surface.labelled import LabelledRun
from warpsmith.surface.metric_charts import amount
from warpsmith.surface.numbers import parameters, power_text, ratio_text, settings
from warpsmith.surface.reported import REPORTED, metrics, reported
from warpsmith.surface.view import Row, View

WIDTH = 140
"""Columns of tables where standard output is no terminal."""


def show(answer: answers.Answer) -> None:
    """Print an answer on standard output."""
    from warpsmith.surface import (  # noqa: F401 (register their answers)
        render_agents,
        render_app,
        render_explain,
        render_export,
        render_gpu,
        render_install,
        render_integrate,
        render_knowledge,
        render_load,
        render_notify,
        render_serving,
        render_ship,
    )

    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    render(answer, console)


@singledispatch
def render(answer: answers.Answer, out: Console) -> None:
    """Print an answer to ``out``; every class of answer registers its own."""
    raise TypeError(f"no text for {type(answer).__name__}")


@render.register
def _(answer: answers.DoctorAnswer, out: Console) -> None:
    table = Table("what", "works", "detail", "remedy")
    for check in answer.checks:
        table.add_row(check.name, "yes" if check.works else "no", Text(check.detail), Text(check.remedy))
    out.print(table)
    for calibration in answer.calibrations:
        out.print(
            f"{calibration['device']}: noise floor {calibration['noise_floor']:.2%}"
            f" over {calibration['comparisons']} A/A comparisons; copies "
            + ", ".join(f"{int(b) / 1e6:.0f} MB {r / 1e9:.1f} GB/s" for b, r in calibration["copy_bytes_per_s"].items())
        )
        wrong = Rate.model_validate(calibration["different"])
        out.print(f"  identical candidates called faster or slower: {wrong.said} at 95 % confidence", highlight=False)
    if answer.plants and answer.misjudged:
        _render_plants(answer.plants, answer.misjudged, out)


def _render_plants(plants: tuple[answers.PlantCheck, ...], misjudged: Rate, out: Console) -> None:
    table = Table("device", "planted", "what it does", "expected", "given", "right", "detail")
    for p in plants:
        right = "yes" if p.right else "NO"
        table.add_row(p.hardware, p.name, Text(p.what), p.expected, p.given, right, Text(p.detail))
    out.print(table)
    seconds = sum(p.seconds for p in plants)
    found = f"found all {len(plants)}: " if not misjudged.seen else ""
    out.print(f"the judge {found}misjudged {misjudged.said} at 95 % confidence ({seconds:.0f} s)", highlight=False)
    if missing := sorted({"cpu", "cuda"} - {p.hardware for p in plants}):
        out.print(f"not run, for want of a device: {', '.join(missing)}", highlight=False)


@render.register
def _(answer: answers.NewAnswer, out: Console) -> None:
    out.print(f"made {answer.folder}:", highlight=False)
    for file in answer.files:
        out.print(f"  {file}", highlight=False)
    out.print(f"next: warpsmith check {answer.task}", highlight=False)


@render.register
def _(answer: answers.CheckAnswer, out: Console) -> None:
    render_evaluation(answer.evaluation, out)


def render_evaluation(evaluation: Evaluation, out: Console) -> None:
    """One evaluation: what was verified of each workload, what tools found, what was built."""
    out.print(Text(f"{short(evaluation.candidate)}  {evaluation.status}  {evaluation.detail}".rstrip()))
    if evaluation.trust is Trust.harness_reported:
        reported(evaluation, out)
        return
    table = Table("workload", "status", "calls verified", "worst row", "limit", "beside the baseline", "detail")
    for result in evaluation.workloads:
        worst = max((e.worst_row for e in result.errors), default=0.0)
        limit = max((e.limit for e in result.errors), default=0.0)
        shares = [e.baseline.share for e in result.errors if e.baseline]
        beside = f"{max(shares):.0%} of the limit" if shares else "-"
        numbers = (str(result.calls), f"{worst:.2g}", f"{limit:.2g}", beside)
        table.add_row(result.workload, result.status.value, *numbers, Text(result.detail))
    if evaluation.workloads:
        out.print(table)
    for tool in evaluation.sanitizers:
        out.print(Text(f"{tool.tool}: {tool.status}{f' ({tool.reason})' if tool.reason else ''}"))
        for finding in tool.findings:
            out.print(Text(f"  {finding.said}"))
    for kernel in evaluation.build.kernels if evaluation.build else ():
        counts = (kernel.registers, kernel.spill_bytes, kernel.shared_bytes)
        registers, spilled, shared = ("?" if count is None else count for count in counts)
        out.print(f"{kernel.name}: {registers} registers, {spilled} B spilled, {shared} B shared", highlight=False)


@render.register
def _(answer: answers.BenchAnswer, out: Console) -> None:
    power = "gain found 9 times in 10"
    table = Table("candidate", "id", "status", "verdict", f"speed-up over {answer.against}", power, "regressed")
    for entry in answer.entries:
        table.add_row(
            entry.name, short(entry.candidate.id), entry.status, entry.verdict or "-", ratio_text(entry.ratio),
            power_text(entry.ratio), ", ".join((*entry.regressed, *entry.broken)),
        )  # fmt: skip
    out.print(table)
    for entry in answer.entries:
        for workload, ratio in entry.workloads.items():
            out.print(f"  {entry.name}  {workload}: {ratio_text(ratio)}", highlight=False)
        if entry.evaluation.trust is Trust.harness_reported:
            reported(entry.evaluation, out)
        if entry.detail:
            out.print(Text(f"  {entry.name}: {entry.detail}"))
    out.print(f"report: {answer.report}", highlight=False, soft_wrap=True)
    for what, path in answer.files.items():
        out.print(Text(f"{what}: {path}"), soft_wrap=True)
    if answer.note:
        out.print(Text(answer.note), soft_wrap=True)


@render.register
def _(answer: answers.OptimizeAnswer, out: Console) -> None:
    seen = answer.view
    _render_workloads(seen, out)
    for peer in seen.peers:
        out.print(f"peer {peer.name}: {ratio_text(peer.best_over_peer)} (best over peer)", highlight=False)
    if seen.ratio is None:
        out.print(f"no candidate was proved faster than the baseline ({seen.measured} measurements)")
    else:
        gate = "promotable" if seen.promotable else f"not promotable (gate {seen.min_gain:.1%})"
        out.print(f"candidate: {short(seen.best)}  {parameters(seen.best_parameters)}", highlight=False, soft_wrap=True)
        out.print(f"speed-up:  {ratio_text(seen.ratio)} over the baseline, {seen.verdict}, {gate}", highlight=False)
        out.print(f"power:     a gain of {power_text(seen.ratio)} is found 9 times in 10", highlight=False)
    if seen.trust == Trust.harness_reported:
        out.print(f"trust:     {REPORTED}", highlight=False)
    out.print(f"stopped:   {seen.stopped_because or 'the plan is empty'}", highlight=False)
    _render_rhythm(seen.rhythm, out)
    out.print(f"report:    {answer.report}", highlight=False, soft_wrap=True)


def _render_labelled(runs: tuple[LabelledRun, ...], out: Console) -> None:
    if not runs:
        return
    table = Table("at", "label", "candidate", "beside", "status", "verdict", "over it", "metrics (candidate, rival)")
    for run in runs:
        over = f"{run.speedup:.3f}x" if run.speedup else "-"
        seen = "\n".join(f"{m.name}: {m.candidate:.4g}, {m.rival:.4g} {m.unit}" for m in run.metrics)
        status = f"{run.status} {run.detail}".strip()
        table.add_row(
            run.at, Text(run.label), short(run.candidate), short(run.rival), Text(status), run.verdict or "-", over,
            Text(seen),
        )  # fmt: skip
    out.print(table)


def _render_rhythm(rhythm: tuple[str, ...], out: Console) -> None:
    for said in rhythm:
        out.print(Text(f"escalate:  {said}"), soft_wrap=True)


def _render_workloads(seen: View, out: Console) -> None:
    if not seen.workloads:
        return
    if seen.trust == Trust.harness_reported:
        metrics(seen, out)
        return
    table = Table("workload", "best", "baseline", "speed-up", "GB/s", "GFLOP/s", "share of copy rate")
    for w in seen.workloads:
        table.add_row(
            w.name,
            amount(w.candidate, w.unit),
            amount(w.rival, w.unit),
            ratio_text(w.ratio),
            f"{w.bytes_per_s / 1e9:.1f}" if w.bytes_per_s else "-",
            f"{w.flops_per_s / 1e9:.1f}" if w.flops_per_s else "-",
            f"{w.copy_share.speedup:.1%}" if w.copy_share else "-",
        )
    out.print(table)


@render.register
def _(answer: answers.StopAnswer, out: Console) -> None:
    out.print("stopping it" if answer.stopped else f"no campaign {answer.tag!r} of {answer.task} is running")


@render.register
def _(answer: answers.SubmitAnswer, out: Console) -> None:
    row = answer.row
    out.print(Text(f"{short(row.id)}  {row.status}  {row.verdict or '-'}  {ratio_text(row.ratio)}  {row.why}"))


@render.register
def _(answer: answers.HistoryAnswer, out: Console) -> None:
    table = Table("id", "from", "status", "verdict", "over its rival", "over baseline", "parameters or memo", "why")
    for row in answer.rows:
        over = f"{row.speedup:.3f}x" if row.speedup else "-"
        table.add_row(
            short(row.id), row.origin, row.status, row.verdict or "-", ratio_text(row.ratio), over, Text(_label(row)),
            Text(row.why),
        )  # fmt: skip
    out.print(table)
    if said := sentence(answer.costs):
        out.print(f"asked of models: {said}", highlight=False, soft_wrap=True)
    _render_labelled(answer.labelled, out)
    _render_rhythm(answer.rhythm, out)
    out.print(f"ledger: {answer.ledger} (sha256 {answer.ledger_sha256[:16]})", highlight=False, soft_wrap=True)
    for path in answer.exported:
        out.print(f"wrote {path}", highlight=False, soft_wrap=True)


@render.register
def _(answer: answers.ShowAnswer, out: Console) -> None:
    row = answer.row
    out.print(Text(f"{row.id}  {row.origin}  of {answer.task}"), soft_wrap=True)
    out.print(Text(f"{row.status}  {row.verdict or '-'}  {ratio_text(row.ratio)}  {row.why}"), soft_wrap=True)
    out.print(Text(f"parameters: {settings(row) or 'none'}\nmemo: {row.memo}"), soft_wrap=True)
    for evaluation in answer.evaluations:
        out.print(Text(f"-- {evaluation.effort} beside {short(evaluation.rival)}"))
        render_evaluation(evaluation, out)
        if evaluation.build:
            out.print(Text("built by: " + " ".join(evaluation.build.command)), soft_wrap=True)
    for path, text in answer.sources.items():
        out.print(Text(f"---- {path}\n{text}"), soft_wrap=True)


@render.register
def _(answer: answers.DiffAnswer, out: Console) -> None:
    for name, (before, after) in answer.parameters.items():
        out.print(f"{name}: {before} -> {after}", highlight=False)
    for name, pair in answer.fields.items():
        out.print(Text(f"{name}: {pair[0]} -> {pair[1]}"), soft_wrap=True)
    if answer.sources:
        out.print(Text(answer.sources), soft_wrap=True)
    out.print(f"{short(answer.b)} over {short(answer.a)}: {ratio_text(answer.ratio)} ({answer.how})", highlight=False)


@render.register
def _(answer: answers.ReportAnswer, out: Console) -> None:
    out.print(f"{answer.html}\n{answer.markdown}", highlight=False, soft_wrap=True)


def _label(row: Row) -> str:
    return row.memo if row.origin == "submitted" and row.memo else settings(row) or row.memo
