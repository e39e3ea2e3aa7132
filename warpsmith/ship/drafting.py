"""The manifest of a release from what was measured, with the bytes of its files."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from warpsmith.analyse.compare import Comparison, Effect
from warpsmith.errors import WarpsmithError
from warpsmith.model.base import digest_bytes
from warpsmith.model.campaign import Campaign
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Evaluation
from warpsmith.model.release import (
    BENCHMARK,
    FileRole,
    Gain,
    Guard,
    Manifest,
    ReleasedFile,
    ReleasedWorkload,
    Variant,
)
from warpsmith.model.task import KernelTask, Role
from warpsmith.ship.evidence import Examined

INSIDE_BYTES = 512 << 10
"""A profiler's report that is larger goes to the evidence store."""
SUFFIXES = {"c": ".so", "cuda": ".cubin", "ptx": ".cubin", "tvm-ffi": ".so"}
"""Toolchain to the suffix of its artefact."""


@dataclass(frozen=True)
class Gathered:
    """All that a manifest is made from."""

    version: str
    at: str
    task: KernelTask
    campaign: Campaign
    candidate: Candidate
    baseline: Candidate
    evaluation: Evaluation
    comparison: Comparison
    sanitized: Evaluation
    compiler: str
    artefact: bytes
    benchmark: bytes
    reports: Sequence[Examined]
    profiles: Mapping[str, bytes]
    """What was read from the reports, as JSON by role."""
    sources: Mapping[str, bytes]
    task_files: Mapping[str, bytes]
    fixtures: Mapping[str, str]
    said: Mapping[str, Any]
    """What only the caller knows: warpsmith, command, notes, trade_offs, signer, commit, sandbox."""


def contents(g: Gathered) -> tuple[tuple[ReleasedFile, ...], dict[str, bytes]]:
    """The files of the release, as the manifest names them, and their bytes."""
    found: dict[str, tuple[FileRole, bytes]] = {
        artefact_path(g.candidate): ("artefact", g.artefact),
        BENCHMARK: ("benchmark", g.benchmark),
    }
    found.update({e.report.path: ("report", e.content) for e in g.reports})
    found.update({f"profiles/{role}.json": ("profile", content) for role, content in g.profiles.items()})
    found.update({f"candidate/{path}": ("source", content) for path, content in g.sources.items()})
    found.update({f"task/{path}": ("task", content) for path, content in g.task_files.items()})
    files = tuple(
        ReleasedFile(
            path=path,
            role=role,
            sha256=digest_bytes(content),
            bytes=len(content),
            stored=role in ("report", "profile") and len(content) > INSIDE_BYTES,
        )
        for path, (role, content) in sorted(found.items())
    )
    return files, {path: content for path, (_, content) in found.items()}


def manifest(g: Gathered, files: tuple[ReleasedFile, ...]) -> Manifest:
    """The manifest; its parent is filled in when it is published. Raises WarpsmithError for what cannot be one."""
    build = g.evaluation.build
    if build is None:
        raise WarpsmithError("the evaluation that passed holds no build.")
    return Manifest.model_validate(
        {
            **g.said,
            "name": g.task.name,
            "version": g.version,
            "at": g.at,
            "judge": g.evaluation.judge,
            "task": g.campaign.task,
            "title": g.task.title,
            "hardware": g.task.hardware,
            "fixtures": dict(g.fixtures),
            "candidate": g.candidate,
            "candidate_id": g.candidate.id,
            "baseline": g.baseline,
            "baseline_id": g.baseline.id,
            "target": g.campaign.target,
            "compiler": g.compiler,
            "build": build.model_copy(update={"cached": False}),
            "gain": gain_of(g.comparison.overall),
            "min_gain": g.campaign.min_gain,
            "noise_floor": g.campaign.noise_floor,
            "workloads": _workloads(g),
            "verdict": g.comparison.verdict.value,
            "status": g.evaluation.status,
            "sanitizers": g.sanitized.sanitizers,
            "conditions": g.evaluation.conditions,
            "reports": tuple(e.report for e in g.reports),
            "variants": (_variant(g, build.binary),),
            "files": files,
            "trade_offs": (*g.said["trade_offs"], *_trade_offs(g.comparison)),
        }
    )


def artefact_path(candidate: Candidate) -> str:
    """Where the artefact lies in its release."""
    return f"artefact/{candidate.entry}{SUFFIXES.get(candidate.toolchain, '.bin')}"


def gain_of(found: Effect) -> Gain:
    """An effect as a manifest says it."""
    low, high = found.interval
    return Gain(speedup=found.speedup, low=low, high=high, pairs=found.pairs, confidence=found.confidence)


def _workloads(g: Gathered) -> tuple[ReleasedWorkload, ...]:
    said = {w.name: w for w in g.task.workloads}
    rows = []
    for result in g.evaluation.workloads:
        metric = result.metric(g.campaign.objective.metric)
        assert metric is not None, "a comparison was made of it"
        workload = said[result.workload]
        rows.append(
            ReleasedWorkload(
                name=result.workload,
                weight=workload.weight,
                axes=workload.axes,
                scalars=workload.scalars,
                gain=gain_of(g.comparison.workloads[result.workload]),
                candidate_s=statistics.median(metric.candidate),
                baseline_s=statistics.median(metric.rival),
                calls=result.calls,
                errors=result.errors,
            )
        )
    return tuple(rows)


def _variant(g: Gathered, binary: str) -> Variant:
    axes: dict[str, tuple[int, int]] = {}
    for workload in g.task.workloads:
        for name, extent in workload.axes.items():
            low, high = axes.get(name, (extent, extent))
            axes[name] = (min(low, extent), max(high, extent))
    guard = Guard(
        hardware=g.task.hardware,
        architecture=g.campaign.target.architecture,
        dtypes={a.name: str(a.dtype) for a in g.task.arguments if a.role in (Role.input, Role.output)},
        axes=axes,
        alignment=g.task.alignment,
    )
    return Variant(
        candidate=g.candidate.id, artefact=artefact_path(g.candidate), binary=binary, guard=guard, proof="measured"
    )


def _trade_offs(answer: Comparison) -> tuple[str, ...]:
    """Workloads for which no gain was shown: whoever adopts the release must know them."""
    flat = [name for name, e in answer.workloads.items() if e.high >= -answer.margin]
    return tuple(
        f"no gain was shown on {name}: {gain_of(answer.workloads[name]).speedup:.3f}x" for name in sorted(flat)
    )
