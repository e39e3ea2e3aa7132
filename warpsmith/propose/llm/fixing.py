"""What a model needs to mend a failure: what kind it is, the first errors with their lines, the worst row.

Reads evaluations only: whether it is mended shows when the campaign measures the answer.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Literal

from warpsmith.model.base import Record
from warpsmith.model.evaluation import Evaluation, Status
from warpsmith.model.harness import CommandTask, ServingTask
from warpsmith.model.task import RELATIVE_RMS_LIMIT, KernelTask

MOST_ERRORS = 3
AROUND = 2
"""Lines of source shown before and after an erroneous one."""
LONGEST = 1500
"""Characters of what a tool said where no error could be read in it."""
_ERROR = re.compile(
    r"^(?P<path>[^\s:()][^:()\n]*?)(?::(?P<line>\d+)(?::\d+)?:|\((?P<nvcc>\d+)\)\s*:)\s*(?:fatal |catastrophic )?"
    r"error:?\s*(?:#\S+:\s*)?(?P<said>.*)$",
    re.MULTILINE,
)
_TRACE = re.compile(r'File "(?P<path>[^"]+)", line (?P<line>\d+)')
_QUOTED = re.compile(r"""\bends ('(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")""")
_STRUCTURAL = re.compile(
    r"expected |stray |untermin|undeclared|not declared|is undefined|has not been declared|unknown type|no such file"
    r"|redefinition|previously defined|already been defined|undefined (reference|symbol)|has no kernel|has no function"
    r"|conflicting types|missing terminating|does not name a type|SyntaxError|IndentationError|NameError"
    r"|leaves? no |no \.cu file|does not export",
    re.IGNORECASE,
)

Class = Literal["structural", "semantic"]


class Place(Record):
    """One complaint of a compiler with the lines around it."""

    path: str
    line: int
    said: str
    shown: str
    """Lines of the source with their numbers; empty where the file is not the candidate's."""


class Failure(Record):
    """Why a candidate failed, as a model reads it."""

    status: Status | Literal["guardrail"]
    """``guardrail``: it is right, better by the objective, and worse than a guardrail allows."""
    what: Class | None
    """Of a build: the text does not hold together, or it says something that is not allowed. None for the rest."""
    summary: str
    places: tuple[Place, ...] = ()
    workload: str = ""
    expected: str = ""
    """What would have been right: the limit of the tensor, or that two calls agree."""


def failure(evaluation: Evaluation, task: KernelTask | CommandTask | ServingTask, texts: Mapping[str, str]) -> Failure:
    """What an evaluation that did not pass says; ``texts`` are the candidate's sources by path."""
    if evaluation.status is Status.build_failed:
        said = _spread(evaluation.detail)
        places = _places(said, texts)
        summary = said.splitlines()[0] if places else said[:LONGEST]
        return Failure(status=evaluation.status, what=classify(said), summary=summary, places=places)
    wrong = next((w for w in evaluation.workloads if w.status is not Status.passed), None)
    detail = _spread(wrong.detail if wrong else evaluation.detail)
    return Failure(
        status=evaluation.status,
        what=None,
        summary=detail[:LONGEST],
        places=_places(detail, texts),
        workload=wrong.workload if wrong else "",
        expected=_expected(evaluation, task) if isinstance(task, KernelTask) else _of_harness(evaluation, task),
    )


def classify(detail: str) -> Class:
    """``structural``: pieces are missing or do not fit together. ``semantic``: they do, and mean something wrong."""
    errors = [m["said"] for m in _ERROR.finditer(detail)] or detail.splitlines()[:3]
    return "structural" if any(_STRUCTURAL.search(e) for e in errors[:MOST_ERRORS]) else "semantic"


def _spread(detail: str) -> str:
    """A message of a harness with what its commands printed in lines again: the judge quotes it on one."""

    def lines(quoted: re.Match[str]) -> str:
        try:
            return f"ends:\n{ast.literal_eval(quoted[1])}"
        except (ValueError, SyntaxError):  # a stranger's words that look alike
            return quoted[0]

    return _QUOTED.sub(lines, detail)


def _places(detail: str, texts: Mapping[str, str]) -> tuple[Place, ...]:
    found: dict[tuple[str, int], Place] = {}
    for m in [*_ERROR.finditer(detail)][:20]:
        key = (_own(m["path"], texts), int(m["line"] or m["nvcc"]))
        found.setdefault(key, Place(path=key[0], line=key[1], said=m["said"][:300], shown=_shown(texts, *key)))
    if not found:
        last = detail.strip().splitlines()[-1:] or [""]
        for m in _TRACE.finditer(detail):
            key = (_own(m["path"], texts), int(m["line"]))
            if key[0] in texts:
                found[key] = Place(path=key[0], line=key[1], said=last[0][:300], shown=_shown(texts, *key))
    return tuple(found.values())[:MOST_ERRORS]


def _own(path: str, texts: Mapping[str, str]) -> str:
    """The candidate's name of a file that a tool names by another path."""
    return next((p for p in texts if path == p or path.endswith(f"/{p}")), path.rpartition("/")[2])


def _shown(texts: Mapping[str, str], path: str, line: int) -> str:
    lines = texts.get(path, "").splitlines()
    span = range(max(1, line - AROUND), min(len(lines), line + AROUND) + 1)
    return "\n".join(f"{'>' if n == line else ' '} {n:4} {lines[n - 1]}" for n in span) if line <= len(lines) else ""


def _expected(evaluation: Evaluation, task: KernelTask) -> str:
    outputs = [a for a in task.arguments if a.role.value == "output"]
    match evaluation.status:
        case Status.wrong_values:
            limits = {
                a.name: task.tolerance.relative_rms or RELATIVE_RMS_LIMIT.get(a.element.value, 0.0) for a in outputs
            }
            said = ", ".join(f"{n}: {v:g}" if v else f"{n}: equal" for n, v in limits.items())
            return f"relative RMS error against float64 over the tensor and over every row at most ({said})"
        case Status.nondeterministic:
            return "two calls on the same inputs agree to the bit"
        case Status.timed_out:
            return "every call ends; a hang is usually a barrier that not all threads reach, or a loop without end"
        case Status.crashed:
            return "no access outside of a buffer, for any shape: empty, one, prime and odd extents are tried too"
        case Status.wrong_shape | Status.wrong_dtype:
            return "outputs as the task declares them: " + ", ".join(f"{a.name} {a.element}" for a in outputs)
    return ""


def _of_harness(evaluation: Evaluation, task: CommandTask | ServingTask) -> str:
    match evaluation.status:
        case Status.wrong_values if isinstance(task, CommandTask):
            return "; ".join(f"{place} is {value!r} in every run's document" for place, value in task.expect.items())
        case Status.wrong_values | Status.wrong_shape:
            return "the answers of the baseline's server to the same requests, however many ask at once"
        case Status.bad_report if isinstance(task, CommandTask):
            return f"one JSON document at the end of standard output, with {', '.join(task.metrics)} above 0"
        case Status.timed_out:
            return f"done within {task.timeout_s:g} s"
        case Status.not_ready if isinstance(task, ServingTask):
            return f"ready within {task.server.ready_s:g} s"
        case Status.leaked if isinstance(task, ServingTask):
            gpu = f", and on the GPU by {task.server.gpu_growth_bytes >> 20} MiB" if task.hardware == "cuda" else ""
            return f"resident memory that grows by at most {task.server.growth_bytes >> 20} MiB under load{gpu}"
        case Status.crashed:
            return "a run that ends with status 0" if isinstance(task, CommandTask) else "a server that stays up"
    return ""
