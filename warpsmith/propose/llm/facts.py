"""What a prompt says of a candidate: its times per workload, findings, advice, device. Facts in short lines."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path

from warpsmith.analyse.diagnose import diagnose
from warpsmith.analyse.hotspots import hotspots
from warpsmith.analyse.reasons import strongest
from warpsmith.analyse.standing import Standing
from warpsmith.model.base import short
from warpsmith.model.evaluation import Evaluation
from warpsmith.model.metrics import METRICS, show
from warpsmith.model.profile import Diagnosis, Finding, Profile, SourceLine
from warpsmith.model.target import Target
from warpsmith.model.task import KernelTask
from warpsmith.store.history import History

TEXTS = ("prompt.md", "interface.md")
"""Files of a task's folder that are for people and models."""
PLACES = 8
"""Parts of a profile that are named."""
TIMES = "Its times, by workload (cold caches)"


def diagnoses(
    profile: Profile | None, target: Target, ceilings: Mapping[str, float], trust: Mapping[str, float]
) -> tuple[Diagnosis, ...]:
    """One per kernel that was profiled, the longest first."""
    kernels = [k for k in profile.kernels if k.metrics] if profile else []
    kernels.sort(key=lambda k: -k.metrics.get("duration", 0.0) * k.launches)
    return tuple(diagnose(k, target, ceilings, trust) for k in kernels)


def task_texts(folder: Path) -> tuple[str, ...]:
    """What the task says for people and models."""
    return tuple(p.read_text(encoding="utf-8").strip() for n in TEXTS if (p := folder / n).is_file())


def stated(folder: Path) -> bool:
    """Whether the task's texts say what the arguments are."""
    return (folder / TEXTS[1]).is_file()


def timings(h: History, task: KernelTask, candidate: str) -> tuple[str, ...]:
    """A line per workload: time, rate, and what a plain copy of the traffic reaches; the heaviest first."""
    evaluation = strongest(h, candidate)
    if evaluation is None or not evaluation.passed:
        return ()
    rival = "itself" if evaluation.rival == candidate else short(evaluation.rival)
    weights = {w.name: w for w in task.workloads}
    results = sorted(evaluation.workloads, key=lambda r: -weights[r.workload].weight if r.workload in weights else 0.0)
    return tuple(said for r in results if (said := _timing(evaluation, task, r.workload, rival)))


def _timing(evaluation: Evaluation, task: KernelTask, name: str, rival: str) -> str:
    result = next(r for r in evaluation.workloads if r.workload == name)
    workload = next((w for w in task.workloads if w.name == name), None)
    metric = result.metric("time")
    if metric is None or workload is None:
        return ""
    seconds = statistics.median(metric.candidate)
    other = statistics.median(metric.rival) if metric.rival else seconds
    said = f"- {name} (weight {workload.weight:g}): {seconds * 1e6:.4g} us, {other / seconds:.3f}x over {rival}"
    said += f", {task.traffic(workload) / seconds / 1e9:.4g} GB/s of compulsory traffic"
    if work := task.work(workload):
        said += f", {work / seconds / 1e9:.4g} GFLOP/s"
    if result.ceiling is not None:
        said += f"; a plain copy of the traffic takes {statistics.median(result.ceiling.seconds) * 1e6:.4g} us"
    return said


def largest(profile: Profile | None) -> tuple[str, ...]:
    """Where the time of a profile without findings goes: a program's kernels and copies, the largest first."""
    shares = hotspots(profile) if profile else {}
    named = [(" ".join(name.split())[:160], share) for name, share in shares.items()]
    return tuple(f"- {share:.0%} of the time: {name}" for name, share in named[:PLACES])


def findings(found: tuple[Diagnosis, ...]) -> tuple[str, ...]:
    """The next edit, the bottleneck with its numbers, then every finding with its evidence, causes first."""
    lines = []
    for d in found:
        edit = d.edit
        lines.append(
            f"- next edit by {edit.rule} (at most {edit.gain:.0%} of the time): {edit.edit}{_where(edit.lines)}"
        )
        lines.append(f"- {d.kernel}: {d.bottleneck.value}. {d.because}")
        lines += [_finding(f) for f in d.findings]
    return tuple(lines)


def _finding(f: Finding) -> str:
    known = {k: v for k, v in f.evidence.items() if k in METRICS}
    evidence = ", ".join(f"{k} = {show(k, v)}" for k, v in known.items())
    cause = f", because of {f.cause}" if f.cause else ""
    goal = f"; expect {f.prediction.metric} {f.prediction.direction}"
    return (
        f"- {f.severity.value} {f.rule}{cause} (at most {f.gain:.0%}): {f.message} [{evidence}{goal}]{_where(f.lines)}"
    )


def _where(lines: tuple[SourceLine, ...]) -> str:
    return "".join(f" {line.file}:{line.line} ({line.samples:.0%}) `{line.text.strip()[:80]}`" for line in lines[:2])


def advice(found: tuple[Diagnosis, ...]) -> tuple[str, ...]:
    """What the vendor says that no finding of ours does, without repetition."""
    said = (
        f"- {a.rule}" + (f" ({a.speedup:.0%} {a.scope})" if a.speedup is not None else "") + f": {a.message[:300]}"
        for d in found
        for a in d.advice
    )
    return tuple(dict.fromkeys(said))


def device(target: Target) -> tuple[str, ...]:
    """What the kernel runs on."""
    facts = ", ".join(f"{k} = {v}" for k, v in sorted(target.facts.items()))
    software = ", ".join(x for x in (target.driver, target.toolkit) if x)
    return tuple(
        x
        for x in (
            f"Device: {target.device} ({target.hardware}, {target.architecture})",
            f"Facts: {facts}" if facts else "",
            f"Software: {software}" if software else "",
        )
        if x
    )


def place_of(h: History, s: Standing, candidate: str) -> str:
    """Where a candidate stands: its speed-up over the baseline, and the best's beside it."""
    import math

    def over(x: str) -> str:
        return f"{math.exp(-s.estimates[x]):.3f}x over the baseline" if x in s.estimates else "not timed"

    said = f"{short(candidate)} ({h.origins.get(candidate, '')}): {over(candidate)}"
    if candidate != s.best:
        memo = h.candidates[s.best].memo or h.origins.get(s.best, "")
        said += f". The best is {short(s.best)}, {over(s.best)}: {' '.join(memo.split())[:200]}"
    return said
