"""An application as ``app.toml`` describes it, and what an integration of a kernel into it found. Reads no files."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from warpsmith.model.base import Digest, Name, Record
from warpsmith.model.evaluation import Metric
from warpsmith.model.head import Direction, Variable

Inside = Annotated[str, Field(min_length=1, max_length=400)]
"""A path relative to the application's root, which does not leave it."""
Command = str | Annotated[tuple[str, ...], Field(min_length=1)]
"""A line for ``sh -c``, or a program with its arguments."""
Mode = Literal["wall", "regex", "json"]
Outcome = Literal["kept", "rolled_back", "short_circuit"]
FIXES = 8
"""Times that one kind of failure may be mended."""


def _inside(path: str) -> str:
    if path.startswith(("/", "~")) or ".." in path.split("/"):
        raise ValueError(f"{path!r} must be a relative path that stays inside the application's root")
    return path.rstrip("/")


class AppMetric(Record):
    """One end-to-end number of a run: its wall time, or what its standard output says."""

    name: Name = "wall"
    source: Mode = "wall"
    find: str = ""
    """``regex``: a pattern whose first group is the number. ``json``: a path such as ``times.0.seconds``."""
    unit: str = "s"
    direction: Direction = Direction.minimize
    weight: Annotated[float, Field(gt=0)] = 1.0
    run: Command | None = None
    """The run that prints it; None: the application's own."""

    @model_validator(mode="after")
    def _says_where(self) -> Self:
        if self.source != "wall" and not self.find:
            raise ValueError(f"metric {self.name!r}: find is missing; say where in the output the number stands")
        if self.source == "wall" and (self.find or self.direction is not Direction.minimize):
            raise ValueError(f"metric {self.name!r}: wall time is minimised, and nothing is looked for in the output")
        if self.source == "regex":
            try:
                groups = re.compile(self.find).groups
            except re.error as error:
                raise ValueError(f"metric {self.name!r}: {self.find!r} is no regular expression: {error}") from None
            if groups != 1:
                raise ValueError(f"metric {self.name!r}: {self.find!r} needs exactly one group, has {groups}")
        return self


class Limits(Record):
    """Seconds after which a command of the application is ended, and counts as failed."""

    build_s: Annotated[float, Field(gt=0)] = 1800.0
    run_s: Annotated[float, Field(gt=0)] = 600.0
    verify_s: Annotated[float, Field(gt=0)] = 600.0


class App(Record):
    """A real application: how it is built, run and verified, and where the kernel's source lies."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_\-]{0,63}$")]
    root: str = "."
    """Folder of the application, relative to app.toml; every other path is relative to it."""
    source: Inside
    """The file that holds the kernel."""
    kernel: Annotated[str, Field(min_length=1)]
    """``name``, ``space::name``, ``name<float, 32>`` or ``name(int, float*)``: as much as tells it from others."""
    context: tuple[Inside, ...] = ()
    """Files that the kernel leans on: read, and looked through for launches of it."""
    defines: dict[Name, str | int] = Field(default_factory=dict)
    """Macros as the build sets them, for whoever reads the source alone."""
    build: Command
    run: Command
    verify: Command
    """Exit status 0 where what was built is right."""
    artefacts: tuple[Inside, ...] = ()
    """What the build makes and a run uses; none: the source itself is run, as in Python."""
    outputs: tuple[Inside, ...] = ()
    """Files and folders that builds and runs write: no part of the tree that is kept and proved."""
    environment: dict[Variable, str] = Field(default_factory=dict)
    library_paths: tuple[str, ...] = ()
    """Before what LD_LIBRARY_PATH holds; relative ones are relative to the root."""
    metrics: Annotated[tuple[AppMetric, ...], Field(min_length=1)] = (AppMetric(),)
    weights: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Workload of the task to its share of the real run: what the gate weighs, before anything is built."""
    axes: dict[Name, str] = Field(default_factory=dict)
    """Axis of the task to what it is called where the kernel is launched; for a candidate with its own geometry."""
    wrapper: str = ""
    """Host function that launches the kernel, for temporary prints where launches cannot be watched."""
    wrapper_source: Inside | None = None
    """The file of ``wrapper``; None: the source."""
    task: str = ""
    """The task that tunes the kernel: a folder relative to app.toml, or group/name."""
    hardware: Literal["cpu", "cuda"] = "cuda"
    pairs: Annotated[int, Field(ge=3, le=100)] = 10
    """Runs of baseline and candidate beside each other; fixed beforehand."""
    min_gain: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Below this share of the baseline's time (weighted over the metrics) nothing is kept."""
    limits: Limits = Limits()

    @field_validator("source", "wrapper_source")
    @classmethod
    def _one_stays_inside(cls, path: str | None) -> str | None:
        return None if path is None else _inside(path)

    @field_validator("context", "artefacts", "outputs")
    @classmethod
    def _all_stay_inside(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_inside(p) for p in paths)

    @field_validator("metrics")
    @classmethod
    def _told_apart(cls, metrics: tuple[AppMetric, ...]) -> tuple[AppMetric, ...]:
        names = [m.name for m in metrics]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"names of metrics repeat: {', '.join(twice)}")
        return metrics

    @field_validator("build", "run", "verify")
    @classmethod
    def _not_empty(cls, command: Any) -> Any:
        if not (command if isinstance(command, str) else command[0]).strip():
            raise ValueError("the command is empty")
        return command

    @model_validator(mode="after")
    def _source_is_no_output(self) -> Self:
        for path in (self.source, *self.context):
            if any(path == o or path.startswith(f"{o}/") for o in self.outputs):
                raise ValueError(f"{path!r} lies in outputs, which are not kept: a rollback could not restore it")
        return self

    @property
    def edited(self) -> tuple[str, ...]:
        """Files that an integration may write."""
        return (self.source, *self.context)


class AppFile(Record):
    """A file of a tree: what must be the same for the tree to be the same."""

    path: str
    sha256: Digest
    """Of the content; of the target where it is a link."""
    mode: int
    """Permission bits; 0 for a link."""


class RanCommand(Record):
    """One command of an application that was carried out."""

    what: Literal["build", "verify", "run"]
    status: int | None
    """None: ended by us after its time."""
    seconds: float
    said: str = ""
    """The end of what it wrote."""


class SideReport(Record):
    """One side in the real environment: what was built, and what its runs gave."""

    side: Literal["baseline", "optimised"]
    artefacts: dict[str, Digest]
    sources: dict[str, Digest]
    """Edited files to the digest of their content."""
    samples: dict[str, tuple[float, ...]]
    """Metric to one number per pair."""
    build: RanCommand | None
    verify: RanCommand
    environment: dict[str, str]
    """What was set beside the user's own environment."""
    machine: str


class MetricGain(Record):
    """One end-to-end metric: paired samples, and the gain that they show (baseline over optimised)."""

    metric: Metric
    weight: float
    speedup: float
    low: float | None
    high: float | None


class Mended(Record):
    """One failure that was handed to the fixer."""

    kind: Literal["compile", "verify", "run"]
    said: str
    answered: bool
    """Whether another section came back."""


class Integration(Record):
    """What became of one candidate in one application."""

    format: Literal[1] = 1
    id: str
    app: str
    root: str
    candidate: Digest
    of: str
    """The release, or the task, that the candidate is of."""
    outcome: Outcome
    reason: str
    at: str
    speedup: float | None = None
    """Weighted over the metrics; None where nothing was measured."""
    low: float | None = None
    high: float | None = None
    gains: tuple[MetricGain, ...] = ()
    mended: tuple[Mended, ...] = ()
    edited: tuple[str, ...] = ()
    """Files that the candidate was written into."""
    proved: bool = False
    """Where rolled back: every file of the tree has the content and mode that it had before."""
    rebuilt: bool = False
    """Where rolled back: the build of the restored tree succeeded."""
    notes: tuple[str, ...] = ()
    evidence: str = ""
    """Folder with the reports of both sides, the change as a patch, and the journal."""
