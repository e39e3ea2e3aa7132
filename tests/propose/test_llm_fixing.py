"""Failures as a model reads them: real compilers' messages, the failing workload, the worst row, what was expected."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fakes import KERNEL, TARGET
from warpsmith.model.evaluation import Evaluation, Status, TensorError, WorkloadResult
from warpsmith.propose.llm.fixing import classify, failure
from warpsmith.toolchains.compiler import first_errors

NVCC = """k.cu(7): warning #177-D: variable "a" was declared but never referenced
k.cu(12): error: identifier "tile" is undefined
      sum += tile[i];
             ^
k.cu(20): error: no instance of overloaded function "max" matches the argument list

2 errors detected in the compilation of "k.cu".
"""
PYTHON = """Traceback (most recent call last):
  File "/somewhere/loader.py", line 30, in load
  File "/candidate/kernel.py", line 3, in k
    y[:] = scale(x)
NameError: name 'scale' is not defined
"""


def evaluation(status: Status, detail: str, workloads: tuple[WorkloadResult, ...] = ()) -> Evaluation:
    same = "a" * 64
    return Evaluation(
        task=same, candidate=same, rival=same, target=TARGET.key, judge="j", effort="check",
        status=status, detail=detail, workloads=workloads,
    )  # fmt: skip


def compiled(text: str, folder: Path) -> str:
    """What gcc says of a file, as the judge puts it into an evaluation."""
    (folder / "k.c").write_text(text)
    argv = ["gcc", "-Wall", "-c", "k.c", "-o", "/dev/null"]
    said = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False).stderr
    return f"gcc ended with status 1: x\n{first_errors(said)}"


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        ("y[0] = zero;", "structural", "undeclared"),
        ("y[0] = 1.0f", "structural", "expected"),
        ("y[0] = *n;", "semantic", "invalid type"),
        ('_Static_assert(sizeof(int) == 8, "eight"); y[0] = 1;', "semantic", "static assertion"),
    ],
)
def test_a_compilers_complaint_is_classified_and_shown_with_its_lines(
    line: str, kind: str, said: str, tmp_path: Path
) -> None:
    many = "\n".join(f"    int unused{i};" for i in range(60))
    text = f"void k(const float *x, float *y, long n)\n{{\n{many}\n    {line}\n}}\n"
    found = failure(evaluation(Status.build_failed, compiled(text, tmp_path)), KERNEL, {"k.c": text})
    assert found.what == kind
    assert said in found.places[0].said
    assert found.places[0].path == "k.c" and ">" in found.places[0].shown
    assert line.split(";")[0][:6] in found.places[0].shown
    assert len(found.places) <= 3 and "\n" not in found.summary


def test_nvcc_and_python_are_read_too() -> None:
    cu = "\n".join(f"line {n}" for n in range(1, 30))
    found = failure(evaluation(Status.build_failed, "nvcc ended\n" + NVCC), KERNEL, {"k.cu": cu})
    assert [(p.path, p.line) for p in found.places] == [("k.cu", 12), ("k.cu", 20)]
    assert ">   12 line 12" in found.places[0].shown
    python = "def k(x, y, n):\n    # scaled\n    y[:] = scale(x)\n"
    crashed = failure(evaluation(Status.crashed, PYTHON), KERNEL, {"kernel.py": python})
    assert [(p.path, p.line, p.said) for p in crashed.places] == [
        ("kernel.py", 3, "NameError: name 'scale' is not defined")
    ]


def test_a_wrong_value_comes_with_workload_row_and_limit() -> None:
    detail = "y: relative RMS 0.00123, worst row 17 of 64 at 0.0432; limit 1e-05"
    error = TensorError(tensor="y", relative_rms=0.00123, worst_row=0.0432, limit=1e-5, matched=0.5)
    results = (
        WorkloadResult(workload="small", status=Status.passed),
        WorkloadResult(workload="large", status=Status.wrong_values, detail=detail, errors=(error,)),
    )
    found = failure(evaluation(Status.wrong_values, "large: wrong", results), KERNEL, {})
    assert (found.workload, found.summary) == ("large", detail)
    assert "worst row 17" in found.summary
    assert "1e-05" in found.expected and "y" in found.expected


OTHERS = set(Status) - {Status.passed, Status.cheated, Status.build_failed}
OF_A_HARNESS = {Status.not_ready, Status.leaked, Status.bad_report}
"""No kernel ends so, and models mend kernels only."""


@pytest.mark.parametrize("status", sorted(OTHERS - OF_A_HARNESS))
def test_every_other_failure_says_what_was_expected(status: Status) -> None:
    assert failure(evaluation(status, "it failed"), KERNEL, {}).expected


def test_the_first_errors_of_a_long_log_are_kept() -> None:
    log = "note: something\n" * 200 + "k.c:3:1: error: first\n" + "k.c:9:1: error: later\n" * 500
    kept = first_errors(log)
    assert kept.startswith("k.c:3:1: error: first") and len(kept) == 1500
    assert first_errors("nothing wrong here\n" * 200).endswith("nothing wrong here\n")
    assert classify("the cubin has no kernel 'k'; it has: none") == "structural"
