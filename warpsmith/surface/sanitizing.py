"""Whether a candidate has passed the sanitizers: asked by ``check --sanitize`` and by whatever makes it a condition."""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationError

from warpsmith.errors import Missing
from warpsmith.judge import VERSION
from warpsmith.judge.sanitize import tools_for
from warpsmith.model.base import digest
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Effort, Evaluation
from warpsmith.store.files import write_atomic
from warpsmith.surface.workspace import Known, Workspace
from warpsmith.toolchains import Asked

Gate = Literal["passed", "failed", "unavailable"]


def sanitized(space: Workspace, known: Known, candidate: Candidate, configuration: Asked) -> Evaluation:
    """A check of the candidate under every sanitizer that applies to it. Raises Missing where none does.

    What tools found once is kept: they are not asked again about the same candidate, task, target and judge.
    """
    task = known.loaded.kernel
    tools = tools_for(task, candidate) if task is not None else ()
    if not tools:
        raise Missing(
            f"no sanitizer knows {candidate.toolchain} candidates of {known.loaded.head.name}.",
            "Sanitizers look at C, and at what is launched under the device contract.",
        )
    target = space.target(known)
    key = digest([known.loaded.digest, candidate.id, target.key, VERSION, tools, configuration])
    kept = space.home / "sanitized" / f"{key[:32]}.json"
    try:
        return Evaluation.model_validate_json(kept.read_bytes())
    except (OSError, ValidationError):
        pass
    evaluation = space.measure(
        known, target, candidate, candidate, Effort.check, "check", configuration, sanitizers=tools
    )
    if verdict(evaluation) != "unavailable":
        write_atomic(kept, evaluation.model_dump_json(indent=1))
    return evaluation


def verdict(evaluation: Evaluation) -> Gate:
    """Passed where every tool looked and found nothing; unavailable where none found anything and one did not look."""
    if not evaluation.passed:
        return "failed"
    looked = evaluation.sanitizers and all(s.status == "passed" for s in evaluation.sanitizers)
    return "passed" if looked else "unavailable"
