"""What an agent is told: the card of a task, and the plan that recovers K (semantics), R (oracle), W (workloads).

The words are Jinja templates under ``agents/``. Nothing here is taken from the environment, so no key can be in it.
"""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from warpsmith.analyse.standing import Standing, standing
from warpsmith.model.base import short
from warpsmith.model.candidate import Candidate
from warpsmith.model.harness import CommandTask, HarnessTask, ServingTask
from warpsmith.model.task import RELATIVE_RMS_LIMIT, KernelTask
from warpsmith.propose import harness
from warpsmith.propose.plateau import Directive, directives
from warpsmith.store.history import History

TEMPLATES = Path(__file__).parent / "agents"
LONGEST_ABOUT = 160
"""Characters of names and values that a candidate chose itself."""
LISTED = 40
"""Mutable files that a card names."""
TRIED = 20
"""Attempts that a card lists, the newest."""


def say(template: str, /, **values: Any) -> str:
    """A template of ``agents/`` with its values, as Markdown."""
    return _environment().get_template(template).render(**values).strip() + "\n"


def approach(task: KernelTask | CommandTask | ServingTask) -> str:
    """How the first plan goes about it."""
    name = "approach_harness.md" if isinstance(task, HarnessTask) else "approach.md"
    return (TEMPLATES / name).read_text(encoding="utf-8")


def facts(
    task: KernelTask | CommandTask | ServingTask, folder: Path, start: Candidate, h: History | None
) -> dict[str, Any]:
    """K, R and W of a task, what was tried, and what the history asks for. ``start`` is the candidate to begin with."""
    head = {
        "name": task.name, "title": task.title, "description": task.description, "hardware": task.hardware,
        "gate": f"{task.gate.min_gain:.1%}", "start": short(start.id), **_standing(h),
    }  # fmt: skip
    if isinstance(task, HarnessTask):
        return {**head, "krw": "krw_harness.md.j2", "overlay": True, **_overlaid(task, folder)}
    return {**head, "krw": "krw.md.j2", "overlay": False, **_kernel(task, folder, start)}


def _overlaid(task: CommandTask | ServingTask, folder: Path) -> dict[str, Any]:
    """How overlays are measured, and which files they may replace."""
    files = harness.mutable(folder, task)
    named = [f"{path} ({p.stat().st_size} bytes)" for path, p in files.items()]
    more = [f"and {len(named) - LISTED} more"] if len(named) > LISTED else []
    texts = [n for n in ("program.md", "prompt.md", "interface.md") if (folder / n).is_file()]
    return {**harness.contract(task), "workspace": task.workspace, "files": (*named[:LISTED], *more), "texts": texts}


def _kernel(task: KernelTask, folder: Path, start: Candidate) -> dict[str, Any]:
    oracle = folder / task.reference
    return {
        "contract": task.contract, "entry": start.entry, "toolchain": start.toolchain, "alignment": task.alignment,
        "arguments": [{**a.model_dump(mode="json"), "shape": a.shape} for a in task.arguments],
        "varied": sorted(task.shapes), "families": task.drawn,
        "reference": oracle.read_text(encoding="utf-8").rstrip(), "reference_name": task.reference,
        "tolerance": _tolerance(task),
        "workloads": [{"name": w.name, "weight": w.weight, "axes": json.dumps({**w.axes, **w.scalars})}
                      for w in task.workloads],
    }  # fmt: skip


def _standing(h: History | None) -> dict[str, Any]:
    """What the history adds; nothing where there is none."""
    if h is None or h.campaign is None:
        return {"baseline": "of the task", "rival": "", "speedup": "", "tried": [], "directives": []}
    s = standing(h)
    best = f"{math.exp(-s.estimates[s.best]):.3f}x" if s.best != h.campaign.baseline else ""
    apart = {h.campaign.baseline, *h.campaign.peers.values()}
    tried = [_attempt(x, h, s.failed, s.estimates, s.leaders) for x in h.candidates if x not in apart]
    return {
        "baseline": short(h.campaign.baseline),
        "rival": short(s.best),
        "speedup": best,
        "tried": tried[-TRIED:],
        "directives": told(directives(h, s)),
    }


def told(found: tuple[Directive, ...], *, tools: bool = True) -> list[dict[str, Any]]:
    """Directives as templates take them; ``tools`` where the reader can profile by itself."""
    return [
        {"what": d.what, "candidates": [short(x) for x in d.candidates], "landed": short(d.landed),
         "gain": f"{d.gain:.0%}", "profiled": d.profiled,
         "about": " ".join(d.about.split())[:LONGEST_ABOUT], "tools": tools, "overlay": d.overlay}
        for d in found
    ]  # fmt: skip


def asked_for(h: History, s: Standing | None = None, *, tools: bool = True) -> tuple[str, ...]:
    """What the shape of the history asks for in words, the most pressing first; see propose.plateau. Markdown items;
    ``tools`` where the reader can profile by itself.
    """
    found = directives(h, s)
    return tuple(say("directives.md.j2", directives=told((d,), tools=tools)).strip() for d in found)


def _attempt(
    x: str, h: History, failed: dict[str, str], estimates: dict[str, float], leaders: tuple[str, ...]
) -> dict[str, str]:
    if x in failed:
        outcome = failed[x].splitlines()[0][:120]
    elif x in estimates:
        outcome = f"{math.exp(-estimates[x]):.3f}x" + (" (led)" if x in leaders else "")
    else:
        outcome = "not measured yet"
    memo = " ".join(h.candidates[x].memo.split()) or h.origins.get(x, "")
    return {"id": short(x), "outcome": outcome, "memo": memo[:200]}


def _tolerance(task: KernelTask) -> str:
    outputs = [a for a in task.arguments if a.role == "output"]
    limits = [
        f"{a.name}: relative RMS at most {task.tolerance.relative_rms or RELATIVE_RMS_LIMIT.get(str(a.dtype), 0.0):g}"
        for a in outputs
    ]
    return "; ".join(limits) + " over the tensor and over each row (integers exact)"


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
