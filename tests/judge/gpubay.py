"""What tests on a GPU measure in: a task that scales a tensor, and a folder of blobs, steps and a build cache."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, ClassVar, Literal

from warpsmith.crew import write_step
from warpsmith.judge.__main__ import make_bench
from warpsmith.judge.kernel import KernelJudge
from warpsmith.model.candidate import Candidate, SourceFile
from warpsmith.model.evaluation import Effort, Evaluation
from warpsmith.model.head import Workload
from warpsmith.model.step import Measure, Request
from warpsmith.model.target import Target
from warpsmith.model.task import Argument, Dtype, KernelTask, Role
from warpsmith.store.blobs import Blobs

REFERENCE = "def reference(xp, x, scale):\n    return x * scale\n"


def scaling(contract: Literal["device", "host"], *workloads: Workload, dtype: Dtype = Dtype.f32) -> KernelTask:
    """``y = x * scale`` over one axis."""
    return KernelTask(
        name="test/scale",
        title="scale",
        hardware="cuda",
        contract=contract,
        arguments=(
            Argument(name="x", role=Role.input, dtype=dtype, shape=("N",)),
            Argument(name="y", role=Role.output, dtype=dtype, shape=("N",)),
            Argument(name="N", role=Role.axis),
            Argument(name="scale", role=Role.scalar, dtype=Dtype.f32, value=1.5),
        ),
        bytes=f"{2 * dtype.itemsize} * N",
        workloads=workloads,
    )


@dataclass
class GpuBay(ABC):
    """Measures candidates in this process."""

    root: Path
    target: Target
    count: int = 0
    blobs: Blobs = field(init=False)
    task: ClassVar[KernelTask]
    """What is measured where a test names nothing else."""

    def __post_init__(self) -> None:
        self.blobs = Blobs(self.root / "blobs")
        (self.root / "task").mkdir()
        (self.root / "task" / "reference.py").write_text(REFERENCE)

    @abstractmethod
    def plain(self) -> Candidate:
        """The rival where a test names none."""

    def source(self, name: str, text: str) -> tuple[SourceFile]:
        return (SourceFile(path=name, content=self.blobs.put(text.encode())),)

    def request(self, candidate: Candidate, effort: Effort = Effort.screen, **options: Any) -> Request:
        rival = options.pop("rival", None) or self.plain()
        self.count += 1
        return Request(
            step=Measure(candidate=candidate.id, rival=rival.id, effort=effort, round=self.count),
            task=options.pop("task", self.task),
            task_digest="0" * 64,
            candidate=candidate,
            rival=rival,
            target=self.target,
            cache=str(self.root / "cache"),
            **{"timeout_s": 5.0, **options},
        )

    def judging(self, candidate: Candidate, effort: Effort = Effort.screen, **options: Any) -> KernelJudge:
        request = self.request(candidate, effort, **options)
        folder = self.root / f"step-{self.count}"
        write_step(folder, request, self.root / "task", self.blobs)
        return KernelJudge(request, folder, make_bench)

    def judge(self, candidate: Candidate, effort: Effort = Effort.screen, **options: Any) -> Evaluation:
        return self.judging(candidate, effort, **options).judge()


def times(evaluation: Evaluation, workload: int = 0) -> tuple[float, float]:
    """Median seconds of the candidate and of the rival."""
    metric = evaluation.workloads[workload].metric("time")
    assert metric is not None
    return median(metric.candidate), median(metric.rival)
