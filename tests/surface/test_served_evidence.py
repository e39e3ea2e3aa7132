"""A served model measured by hand: what is said meanwhile, what an interruption leaves, a profile of its server."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.profilers.test_nsys import export
from tests.profilers.tools import VERSIONS
from warpsmith.judge.serving import KeptLoad
from warpsmith.surface import api
from warpsmith.surface.answers_profile import BucketsAnswer
from warpsmith.surface.explaining import explain

TASK = """
name = "my/served"
kind = "serving"
title = "Served"
hardware = "cpu"
workspace = "workspace"
mutable = ["*"]
objective = {{ metric = "single.tok_s", direction = "maximize" }}
server = {{ backend = "glue:make", options = {{ step_ms = {step_ms} }}, ready_s = 120 }}
parity = {{ prompts = 2, output_tokens = 4 }}
scenarios = [{{ name = "single", requests = 8, concurrency = 1, output_tokens = [8, 8] }}]
"""
GLUE = """
import atexit, os
from pathlib import Path
from warpsmith.serving import mock

def make(given):
    if place := given.environment.get("OF_A_TOOL"):
        keeper = Path(f"/proc/{os.getppid()}/environ").read_bytes()
        atexit.register(lambda: Path(place).write_text(f"served, keeper traced: {b'OF_A_TOOL' in keeper}"))
    return mock.make(given)
"""
NSYS = """#!/bin/sh
case $1 in --version) echo '{version}'; exit 0 ;; esac
for word; do case $word in --output=*) report=${{word#--output=}} ;; esac; done
if [ "$1" = export ]; then cp {made} $report; exit; fi
shift; while [ "${{1#--}}" != "$1" ]; do shift; done
export OF_A_TOOL={place}
"$@" && cat {place} > $report.nsys-rep
"""
"""What stands for nsys: it gets into programs by a variable, and what it saw is written where they end in order."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tasks/my/served"
    (folder / "workspace").mkdir(parents=True)
    (folder / "workspace/glue.py").write_text(GLUE)
    (folder / "task.toml").write_text(TASK.format(step_ms=1.0))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_who_waits_is_told_and_an_interruption_leaves_the_loads(project: Path) -> None:
    (project / "tasks/my/served/task.toml").write_text(TASK.format(step_ms=20.0))
    argv = [sys.executable, "-m", "warpsmith.surface.cli", "bench", "my/served", "--effort", "screen"]
    with subprocess.Popen(argv, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as bench:
        assert bench.stderr is not None
        seen: list[str] = []
        for line in bench.stderr:
            seen.append(line)
            if "pair 2 of 3" in line:
                break
        bench.send_signal(signal.SIGTERM)
        bench.communicate(timeout=60)
    told = "".join(seen)
    assert bench.returncode == -signal.SIGTERM
    assert "baseline: a server of its own" in told and "pair 1 of 3: candidate" in told and " s so far)" in told
    (place,) = re.findall(r"each load is kept as it ends, in (\S+)", told)
    loads = [KeptLoad.model_validate_json(line) for line in Path(place).read_text().splitlines()]
    assert {(one.side, one.pair) for one in loads} >= {("candidate", 1), ("rival", 1)}
    until = time.monotonic() + 30
    while (left := below(project)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not left


def below(folder: Path) -> list[str]:
    """Processes that run in a folder of a step."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and os.readlink(process / "cwd").startswith(str(folder / ".warpsmith")):
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_a_server_that_a_traced_program_starts_is_traced_and_ends_in_order(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(project / "made.sqlite", [("attention", 0, 6000), ("norm", 7000, 11000)])
    nsys = project / "bin/nsys"
    nsys.parent.mkdir()
    said = {"version": VERSIONS["nsys"], "made": project / "made.sqlite", "place": project / "seen"}
    nsys.write_text(NSYS.format(**said))
    nsys.chmod(0o755)
    monkeypatch.setenv("PATH", f"{nsys.parent}:/usr/bin:/bin")
    load = (sys.executable, "-m", "warpsmith.surface.cli", "load", "my/served", "entry", "--scenario", "single")
    made = api.profile("my/served", "entry", tool="nsys", application=load)
    assert Path(made.reports[0]).read_text() == "served, keeper traced: False"
    found = explain("my/served", "entry")
    assert isinstance(found, BucketsAnswer)
    assert [b.name for b in found.buckets] == ["attention", "norm"]
