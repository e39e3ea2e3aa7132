"""What may be said of a harness task to whoever writes overlays for it, models and coding agents alike. Facts only.

Also the one place that reads the mutable files of a workspace: what an overlay replaces.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from warpsmith.errors import BadInput
from warpsmith.model.harness import (
    SCORES,
    STEERING,
    STEERING_PREFIXES,
    CommandTask,
    HarnessTask,
    Parity,
    Scenario,
    ServingTask,
)
from warpsmith.model.head import PINNED, Direction, TaskHead
from warpsmith.store.folders import workspace_files

LARGEST_TEXT = 256 << 10
"""Bytes beyond which a file is not read as text: it is listed by name and size."""
WORDS = {Direction.minimize: "smaller is better", Direction.maximize: "larger is better"}


def must_be_writable(task: TaskHead, who: str) -> None:
    """Raises BadInput where no candidate of ``task`` can be written; ``who`` wanted to."""
    if isinstance(task, ServingTask) and task.server.url:
        raise BadInput(
            f"{who}: the server at {task.server.url} runs already, and no candidate can change it.",
            "Give the task a [server] with backend or command, or only measure it: 'warpsmith load'.",
        )


def mutable(folder: Path, task: HarnessTask) -> dict[str, Path]:
    """The files of the workspace of the task in ``folder`` that candidates may replace: those of the first pattern of
    ``mutable`` first, and the smallest of each first.
    """
    if not task.workspace:
        return {}
    root = folder / task.workspace
    named = [(p.relative_to(root).as_posix(), p) for p in workspace_files(root)]
    found = [(_pattern(path, task), p.stat().st_size, path, p) for path, p in named if task.may_change(path)]
    return {path: p for _, _, path, p in sorted(found)}


def text_of(content: bytes) -> str | None:
    """A file as text; None where it is none, or too large to be read."""
    if len(content) > LARGEST_TEXT or b"\0" in content:
        return None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return None


def contract(task: CommandTask | ServingTask) -> dict[str, Any]:
    """Everything that a template wants to know of how overlays are measured."""
    return {
        "kind": task.kind,
        "runs": _runs(task),
        "mutable": task.mutable,
        "metrics": _metrics(task),
        "right": _right(task),
        "loads": tuple(_scenario(s) for s in task.scenarios) if isinstance(task, ServingTask) else _workloads(task),
        "tunables": tuple(
            f"{name}: one of {', '.join(map(str, t.values))}; {t.default} where nothing is said" + _doc(t.doc)
            for name, t in task.tunables.items()
        ),
        "constraints": task.constraints,
        "environment": tuple(f"{name}={value}" for name, value in sorted(task.environment.items())),
        "forbidden": (*sorted({*STEERING, *PINNED} - set(task.environment)), *(f"{p}*" for p in STEERING_PREFIXES)),
    }


def _pattern(path: str, task: HarnessTask) -> int:
    """Which pattern of ``mutable`` allows the file, by position."""
    alone = (task.model_copy(update={"mutable": (pattern,)}) for pattern in task.mutable)
    return next(n for n, one in enumerate(alone) if one.may_change(path))


def _runs(task: CommandTask | ServingTask) -> tuple[str, ...]:
    if isinstance(task, CommandTask):
        said = (f"prepared once by `{line(task.prepare)}`",) if task.prepare else ()
        repeats = f", the median of {task.repeats} runs" if task.repeats > 1 else ""
        return (*said, f"measured by `{line(task.command)}`{repeats}, each within {task.timeout_s:g} s")
    server = task.server
    if server.command:
        started = f"`{line(server.command)}`"
    else:
        started = f"the OpenAI-compatible server over the backend {server.backend}"
    options = ", ".join(f"{k} = {v}" for k, v in server.options.items())
    gpu = f", and on the GPU by {server.gpu_growth_bytes >> 20} MiB" if task.hardware == "cuda" else ""
    return (
        f"served by {started}, ready within {server.ready_s:g} s" + (f"; options: {options}" if options else ""),
        f"its resident memory may grow by {server.growth_bytes >> 20} MiB while it is loaded{gpu}",
        f"each scenario is done within {task.timeout_s:g} s",
    )


def line(argv: Iterable[str]) -> str:
    """A command as people write it: places in braces are filled in later, and stay as they are."""
    return " ".join(word if re.fullmatch(r"[\w./{}=:+@%,\-]+", word) else shlex.quote(word) for word in argv)


def _metrics(task: CommandTask | ServingTask) -> tuple[str, ...]:
    """The objective, then the guardrails, then what else is reported."""
    objective = task.objective
    lines = [f"{objective.metric}: THE OBJECTIVE, {unit_of(task, objective.metric)}, {WORDS[objective.direction]}"]
    for g in task.guardrails:
        worse = f"at most {g.limit:.1%} worse" if g.limit else "no worse"
        unit = unit_of(task, g.metric)
        lines.append(f"{g.metric}: guardrail, {unit}, {WORDS[g.direction]}: {worse} than the rival and the baseline")
    if isinstance(task, CommandTask):
        decided = {named.metric for named in task.decided_by}
        rest = [n for n in task.metrics if n not in decided]
        return (*lines, *(f"{n}: reported, {unit_of(task, n)}" for n in rest))
    return (*lines, f"also reported, for each scenario: {', '.join(SCORES)}")


def unit_of(task: CommandTask | ServingTask, metric: str) -> str:
    """The unit of a metric."""
    if isinstance(task, CommandTask):
        return task.metrics[metric].unit
    return SCORES[metric.partition(".")[2]][0]


def _right(task: CommandTask | ServingTask) -> tuple[str, ...]:
    if isinstance(task, ServingTask):
        return (
            _parity(task.parity),
            "four answers of each load, chosen in secret, equal the baseline's to the character",
        )
    found = tuple(f"`{place}` in the document is {value!r}" for place, value in task.expect.items())
    return (*found, "every run ends with status 0, and prints one JSON document with every metric, above 0")


def _parity(p: Parity) -> str:
    share = "every token" if p.matched == 1 else f"{p.matched:.0%} of the tokens"
    logs = f", and its log-probability is within {p.tolerance:g} nats" if p.mode == "logprobs" else ""
    return (
        f"before each load, {p.prompts} unseen prompts of {p.prompt_tokens} tokens are decoded greedily to "
        f"{p.output_tokens}, one by one and at once: {share} equals the baseline's{logs}"
    )


def _workloads(task: CommandTask) -> tuple[str, ...]:
    named = []
    for w in task.workloads:
        axes = ", ".join(f"{k} = {v}" for k, v in {**w.axes, **w.scalars}.items())
        named.append(f"{w.name} (weight {w.weight:g})" + (f": {axes}" if axes else ""))
    return tuple(named)


def _scenario(s: Scenario) -> str:
    loop = f"{s.concurrency} at a time" if s.concurrency else f"{s.rate:g} per second ({s.arrivals})"
    tokens = f"prompts of {_length(s.prompt_tokens)}, answers of {_length(s.output_tokens)} tokens"
    return f"{s.name}: {s.requests} requests, {loop}, {tokens}, {'chat' if s.chat else 'plain completions'}"


def _length(span: Iterable[int]) -> str:
    least, most = span
    return str(least) if least == most else f"{least} to {most}"


def _doc(doc: str) -> str:
    return f" ({doc})" if doc else ""
