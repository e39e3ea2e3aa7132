"""Reports of compute-sanitizer 2025.3 on an H200, as it wrote them (planted.cu; shortened where records repeat)."""

from __future__ import annotations

import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from warpsmith.judge.failures import CandidateFailed, WorkerLost
from warpsmith.judge.sanitize import DEVICE_TOOLS, STATUS, failure, look
from warpsmith.judge.sanitize_device import parse
from warpsmith.model.evaluation import SanitizerFinding, SanitizerResult, Status

GOLDEN = Path(__file__).parent / "golden"
READ = "Invalid __global__ read of size 4 bytes is out of bounds"
REPORTS = {
    "memcheck": SanitizerFinding(kind=READ, kernel="planted_memcheck", location="planted.cu:5"),
    "memcheck-context-lost": SanitizerFinding(kind=READ, kernel="read_one_past", location="kernels.cu:5"),
    "initcheck": SanitizerFinding(
        kind="Uninitialized __global__ memory read of size 4 bytes",
        kernel="planted_initcheck",
        location="planted.cu:10",
    ),
    "racecheck": SanitizerFinding(
        kind="Race condition: write at planted.cu:16 and read at planted.cu:17",
        kernel="planted_racecheck",
        location="planted.cu:17",
        count=256,
    ),
    "racecheck-warning": SanitizerFinding(
        kind="Race condition: write at planted.cu:26 and read at planted.cu:26",
        kernel="warp_race",
        location="planted.cu:26",
        count=256,
    ),
    "synccheck": SanitizerFinding(
        kind="Barrier error: Divergent thread(s) in warp",
        kernel="planted_synccheck",
        location="planted.cu:22",
        count=3,
    ),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_is_read(name: str) -> None:
    assert parse((GOLDEN / f"{name}.xml").read_bytes()) == [REPORTS[name]]


def test_a_report_without_records_has_no_findings() -> None:
    assert parse((GOLDEN / "nothing.xml").read_bytes()) == []


@pytest.mark.parametrize("cut", [0, 1, 40, 300])
def test_half_a_report_is_none(cut: int) -> None:
    with pytest.raises(ElementTree.ParseError):
        parse((GOLDEN / "memcheck.xml").read_bytes()[:cut])


class Told:
    """A runner that reports what it is told to."""

    tools = ("memcheck",)

    def __init__(self, said: dict[str, tuple[SanitizerFinding, ...] | str] | Exception) -> None:
        self.said = said
        self.closed = 0

    def restart(self) -> None:
        pass

    def report(self) -> dict[str, tuple[SanitizerFinding, ...] | str]:
        if isinstance(self.said, Exception):
            raise self.said
        return self.said

    def close(self) -> None:
        self.closed += 1


def looked(said: dict[str, tuple[SanitizerFinding, ...] | str] | Exception, *meets: Exception) -> SanitizerResult:
    """The result of a run whose first calls end like that."""
    runner = Told(said)

    def meet(_: object, index: int) -> None:
        if index < len(meets):
            raise meets[index]

    (result,) = look(runner, 2, meet)  # type: ignore[arg-type]
    assert runner.closed == 1
    return result


CRASHED = CandidateFailed(Status.crashed, "it crashed")
FOUND = REPORTS["memcheck"]


@pytest.mark.parametrize(
    ("said", "meets", "status", "reason"),
    [
        ({"memcheck": ()}, (), "passed", ""),
        ({"memcheck": (FOUND,)}, (), "failed", ""),
        ({"memcheck": (FOUND,)}, (CRASHED,), "failed", ""),
        ({"memcheck": "blind"}, (), "unavailable", "blind"),
        ({}, (), "unavailable", "it left no report"),
        ({"memcheck": ()}, (CRASHED,), "unavailable", "it crashed"),
        ({"memcheck": ()}, (CandidateFailed(Status.timed_out, "slow"),), "unavailable", "slow"),
        ({"memcheck": ()}, (WorkerLost("gone"),), "unavailable", "gone"),
        (WorkerLost("stuck"), (), "unavailable", "stuck"),
        ({"memcheck": ()}, (CandidateFailed(Status.wrong_values, "it did less"),), "failed", ""),
    ],
)
def test_only_a_tool_that_looked_and_found_nothing_has_passed(
    said: dict[str, tuple[SanitizerFinding, ...] | str] | Exception,
    meets: tuple[Exception, ...],
    status: str,
    reason: str,
) -> None:
    result = looked(said, *meets)
    assert result.status == status
    assert reason in result.reason
    assert (failure([result]) is not None) == (status == "failed")


def test_without_time_no_tool_passes() -> None:
    def meet(_: object, index: int) -> None:
        raise AssertionError("called")

    (result,) = look(Told({"memcheck": ()}), 2, meet, until=time.monotonic() - 1)  # type: ignore[arg-type]
    assert result.status == "unavailable"
    assert "no time" in result.reason


def test_the_first_failed_tool_names_the_status() -> None:
    def failed(tool: str) -> SanitizerResult:
        return SanitizerResult(tool=tool, status="failed", findings=(FOUND,))

    for tool in DEVICE_TOOLS:
        told = failure([SanitizerResult(tool="memcheck", status="passed"), failed(tool), failed("synccheck")])
        assert told is not None
        assert told.status is STATUS[tool]
        assert told.detail == f"{tool}: {READ} in planted_memcheck at planted.cu:5"
