"""The command line of Nsight Compute, and what is tried where it cannot do all."""

from __future__ import annotations

from pathlib import Path

import pytest

from warpsmith.errors import BadReport, ProfilerFailed
from warpsmith.model.metrics import wanted
from warpsmith.model.profile import ProfileEffort
from warpsmith.profilers import ncu
from warpsmith.profilers.tools import Tool

TOOL = Tool("ncu", "/opt/ncu", (2025, 3, 1))
ASK = ncu.Ask(kernels=("_Z1kPf", "plain"), skip=2, count=2)


def option(said: tuple[str, ...], name: str) -> str:
    return said[said.index(name) + 1]


def test_quick_asks_for_what_the_rules_need() -> None:
    said = ncu.command(TOOL, ASK, Path("/tmp/report"), Path("/tmp/log"))
    assert said[0] == "/opt/ncu" and "--set" not in said
    assert option(said, "--metrics").split(",") == list(wanted(90, quick=True))
    assert option(said, "--kernel-name") == "regex:^(_Z1kPf|plain)$"
    assert option(said, "--kernel-name-base") == "mangled"
    assert (option(said, "--launch-skip"), option(said, "--launch-count")) == ("2", "2")
    assert option(said, "--clock-control") == "none"
    assert (option(said, "--export"), option(said, "--log-file")) == ("/tmp/report", "/tmp/log")


def test_full_asks_for_everything_with_the_source() -> None:
    said = ncu.command(TOOL, ncu.Ask(effort=ProfileEffort.full), Path("/tmp/report"))
    assert option(said, "--set") == "full" and option(said, "--import-source") == "yes"
    assert set(option(said, "--metrics").split(",")) >= set(wanted(90, quick=True))
    assert "--kernel-name" not in said and "--launch-count" not in said


@pytest.mark.parametrize(("cold", "control"), [(True, "all"), (False, "none")])
def test_caches_are_as_in_timed_calls(cold: bool, control: str) -> None:
    said = ncu.command(TOOL, ncu.Ask(cold=cold), Path("/tmp/report"))
    assert option(said, "--cache-control") == control


def test_names_of_kernels_are_no_patterns() -> None:
    said = ncu.command(TOOL, ncu.Ask(kernels=("a.b$c",)), Path("/tmp/report"))
    assert option(said, "--kernel-name") == "regex:^(a\\.b\\$c)$"


def test_unknown_metrics_are_left_out_once() -> None:
    name = wanted(90, quick=True)[3]
    unknown = ncu.complaint(f"==ERROR== Failed to find metric regex:^{name}\\.(sum|min|max)", ASK)
    assert isinstance(unknown, ncu.UnknownMetrics) and unknown.names == (name,)
    fewer = ncu.without(ASK, unknown)
    assert fewer is not None and name not in ncu.metrics(fewer)
    assert ncu.without(fewer, unknown) is None
    assert ncu.without(ASK, ncu.UnknownMetrics(())) is None


@pytest.mark.parametrize(
    ("printed", "kind"),
    [
        ("==ERROR== An out of memory error occurred while saving memory for kernel replay", ncu.OutOfMemory),
        ("==WARNING== No kernels were profiled.", BadReport),
        ("==ERROR== ERR_NVGPUCTRPERM", ProfilerFailed),
        ("==ERROR== LibraryNotLoaded", ProfilerFailed),
        ("==PROF== Disconnected from process 17\n==WARNING== Note: unmodified clocks", type(None)),
        ("", type(None)),
    ],
)
def test_complaints(printed: str, kind: type[object]) -> None:
    assert type(ncu.complaint(printed, ASK)) is kind


def test_one_pass_gives_times_and_launches() -> None:
    said = ncu.command(TOOL, ncu.Ask(only=ncu.TIMES), Path("/tmp/report"))
    names = option(said, "--metrics").split(",")
    assert "gpu__time_duration.sum" in names and all(n.startswith(("gpu__time", "launch__", "device__")) for n in names)
    assert "--section" not in said and "--replay-mode" not in said


def test_every_pass_can_be_a_run_of_the_program() -> None:
    said = ncu.command(TOOL, ncu.Ask(rerun=True), Path("/tmp/report"))
    assert option(said, "--replay-mode") == "application" and option(said, "--section") == "SourceCounters"
