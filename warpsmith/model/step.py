"""Steps: the only things that cross a process or machine boundary, and what comes back from them.

``execute`` and ``judge`` never import each other: they meet here, as the files ``request.json`` (:class:`Request`) and
``result.json`` (:class:`Result`) in a step's folder.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from warpsmith.model.asks import AskRecord
from warpsmith.model.base import Digest, Record, digest
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Effort, Evaluation
from warpsmith.model.profile import Profile, ProfileEffort
from warpsmith.model.target import Target
from warpsmith.model.task import Task


class Propose(Record):
    """Ask the proposer for ``count`` candidates."""

    kind: Literal["propose"] = "propose"
    round: int
    parent: Digest
    """What to begin at: a candidate to be improved, or one that failed and is to be mended."""
    count: int
    role: Literal["propose", "fix"] = "propose"
    attempt: int = 0


class Measure(Record):
    """Verify and time ``candidate`` beside ``rival``."""

    kind: Literal["measure"] = "measure"
    candidate: Digest
    rival: Digest
    effort: Effort
    round: int
    attempt: int = 0


class Explain(Record):
    """Profile ``candidate`` and say what limits it."""

    kind: Literal["explain"] = "explain"
    candidate: Digest
    round: int
    attempt: int = 0


Step = Annotated[Propose | Measure | Explain, Field(discriminator="kind")]


def step_key(step: Propose | Measure | Explain) -> str:
    """The identity of a step whatever its attempt: Started and Finished match by it, and so does a resume."""
    return digest(step.model_dump(mode="json", exclude={"attempt"}))


class Draft(Record):
    """One reply of a model, and what became of it."""

    reply: Digest
    """The blob of its text."""
    candidate: Digest | None = None
    """What it became; None where it was told back."""
    problems: tuple[str, ...] = ()
    """Why it was told back to the model, and asked for again."""
    notes: tuple[str, ...] = ()
    """What was mended in it without asking."""


class Compacted(Record):
    """Older attempts in a few words, by a model; the attempts themselves stay in their ledgers."""

    of: Literal["past", "run"]
    """Past campaigns, or this one."""
    covers: tuple[Digest, ...]
    """Candidates whose attempts it stands for."""
    text: str


class Fault(Record):
    """The step itself failed: worker killed from outside, judge died, host lost. It says nothing of the candidate."""

    kind: Literal["fault"] = "fault"
    what: str
    detail: str = ""
    final: bool = False
    """Trying again cannot help: the task itself is at fault."""
    asks: tuple[AskRecord, ...] = ()
    """What models were asked for it, and what that cost all the same."""


class Proposal(Record):
    """What a proposer returned."""

    kind: Literal["proposal"] = "proposal"
    candidates: tuple[Candidate, ...]
    exhausted: bool = False
    """Nothing is left to try: the campaign stops asking."""
    notes: str = ""
    short_of: Literal["money", "tokens", "calls"] | None = None
    """Which limit of the budget left no room for a further request: nothing more is asked for in this process."""
    asks: tuple[AskRecord, ...] = ()
    """What models were asked for it, in order."""
    drafts: tuple[Draft, ...] = ()
    """Every reply of a model, in the order in which they came."""
    compacted: tuple[Compacted, ...] = ()
    """Memory that was compacted for this ask."""

    @model_validator(mode="before")
    @classmethod
    def _without_old_cost(cls, said: Any) -> Any:
        """Ledgers from before asks were recorded say that a sweep cost nothing."""
        return {k: v for k, v in said.items() if k != "cost"} if isinstance(said, dict) else said


Outcome = Annotated[Fault | Proposal | Evaluation | Profile, Field(discriminator="kind")]


class Request(Record):
    """What travels to the judge in a step's folder, with ``task/``, ``candidate/``, ``rival/`` and ``baseline/``
    beside it.
    """

    step: Measure
    task: Task
    task_digest: Digest
    candidate: Candidate
    rival: Candidate
    baseline: Candidate | None = None
    """The task's baseline, whose errors set limits; None where the rule of twice the baseline is not asked for."""
    admission: bool = True
    """Whether the task must show that no lazy answer passes it, where that is asked: not for tasks that measure the
    machine.
    """
    target: Target
    configuration: Literal["release", "debug"] = "release"
    cold: bool = True
    timeout_s: float = 20.0
    """Longest time one call may take."""
    limit_s: float = 600.0
    """Longest time the whole step may take: the executor ends it then, and the judge before that (deadline.py)."""
    sanitizers: tuple[str, ...] = ()
    """Tools that a check runs the candidate under; see judge/sanitize.py."""
    cache: str
    """Folder of the build cache on the machine that runs the step."""
    fixtures: str = ""
    """Folder of the fixtures there, for tasks that have some."""


class ProfileRequest(Record):
    """What travels to a session for an Explain step, with ``task/``, ``candidate/`` and ``baseline/`` beside it."""

    step: Explain
    task: Task
    task_digest: Digest
    candidate: Candidate
    baseline: Candidate | None = None
    """The original of a captured kernel, beside which calls are verified."""
    target: Target
    tool: Literal["ncu", "nsys", "cpu"] = "ncu"
    effort: ProfileEffort = ProfileEffort.quick
    workload: str = ""
    """Empty: the one with the most weight, and of those the one with the most traffic."""
    cold: bool = True
    timeout_s: float = 20.0
    """Longest time one call may take without a profiler."""
    limit_s: float = 120.0
    """Longest time the profiler may take: it is ended then, with all that it started."""
    cache: str
    """Folder of the build cache on the machine that runs the step."""
    fixtures: str = ""
    """Folder of the fixtures there, for captured kernels."""


DONE = "done"
"""The line that a session answers a step with, once its result is there. Other lines say what it is doing."""
KEPT = "kept"
"""The folder of a step's folder whose files belong to its result, such as a profiler's reports."""


class Result(Record):
    """What a session leaves in the step's folder, with ``kept/`` beside it."""

    outcome: Outcome
    seconds: float
    """Wall time of the step in the judge."""
    phases: dict[str, float] = {}
    """Where the seconds went: ``build``, ``admit``, ``start``, ``verify``, ``hidden``, ``sanitize``, ``time``."""
