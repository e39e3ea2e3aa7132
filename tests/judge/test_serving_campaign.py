"""A campaign on served models: the knob with the known optimum is found, the tempting one is rejected, bad servers are
named, and a kill costs nothing.

The backend is the mock with padded batches: a step takes 2 ms for each of SLOTS + 6, whoever is in it. So tokens per
second grow with SLOTS (16 is best by a quarter), and so does the time to the first token when nobody else asks: at 8 it
is about 1.4 times the baseline's, at 16 more than twice.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.judge.test_serving import left_behind
from warpsmith.analyse.compare import Verdict
from warpsmith.analyse.standing import standing
from warpsmith.model.campaign import Budget, Finished, Submitted
from warpsmith.model.evaluation import Evaluation
from warpsmith.model.step import step_key
from warpsmith.store.files import write_atomic
from warpsmith.store.ledger import read_events
from warpsmith.surface.campaigns import run_campaign
from warpsmith.surface.view import view
from warpsmith.surface.workspace import Workspace

ROOT = Path(__file__).parent.parent.parent
TASK = """
name = "my/served"
title = "padded batches"
kind = "serving"
hardware = "cpu"
workspace = "workspace"
objective = { metric = "batch.tok_s", direction = "maximize" }
timeout_s = 20

[[guardrails]]
metric = "single.ttft_p50"
limit = 0.7

[server]
backend = "padded:make"
ready_s = 20
drain_s = 2

[parity]
prompts = 2
prompt_tokens = 4
output_tokens = 3

[[scenarios]]
name = "single"
requests = 3
warmup = 1
concurrency = 1
prompt_tokens = [8, 8]
output_tokens = [2, 2]

[[scenarios]]
name = "batch"
requests = 48
warmup = 2
concurrency = 32
prompt_tokens = [8, 8]
output_tokens = [4, 4]

[tunables]
SLOTS = { values = [2, 4, 8, 16], default = 4 }
"""
BACKEND = """
from dataclasses import replace

from warpsmith.serving.mock import Mock


def make(given):
    slots = int(given.environment["SLOTS"])
    knobs = {"max_batch": slots, "step_ms": 2.0 * (6 + slots), "request_ms": 0.0, "prefill_tok_s": 0.0}
    return Mock(replace(given, options=knobs))
"""
FAULTS = {"crash": "crashed", "wrong_tokens": "wrong_values", "never_ready": "not_ready", "hang": "timed_out"}
RUN = "import sys; from tests.judge.test_serving_campaign import run; run(sys.argv[1])"


def project(folder: Path) -> Path:
    task = folder / "tasks/my/served"
    (task / "workspace").mkdir(parents=True)
    (task / "task.toml").write_text(TASK)
    (task / "workspace/padded.py").write_text(BACKEND)
    return folder


def run(folder: str) -> None:
    space = Workspace(Path(folder), {"seed": 3})
    run_campaign(space, space.task("my/served"), "main", Budget(rounds=3, patience=3))


def hand_in_bad_ones(space: Workspace) -> dict[str, str]:
    """Candidates whose server is bad, into the inbox; their ids by the fault."""
    entry = space.task("my/served").entry
    inbox = space.campaign_folder("my/served", "main") / "inbox"
    inbox.mkdir(parents=True)
    ids = {}
    for fault in FAULTS:
        bad = entry.model_copy(update={"environment": {"MOCK_FAULT": fault}, "memo": fault})
        write_atomic(inbox / f"{fault}.json", Submitted(candidate=bad, by="test", at=0.0).model_dump_json())
        ids[fault] = bad.id
    return ids


def measured(ledger: Path) -> list[Finished]:
    events = read_events(ledger) if ledger.exists() else []
    return [e for e in events if isinstance(e, Finished) and isinstance(e.outcome, Evaluation)]


def killed_after(folder: Path, ledger: Path, count: int) -> None:
    """Run the campaign in a process of its own and kill it within a measurement, once so many were made."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    campaign = subprocess.Popen([sys.executable, "-c", RUN, str(folder)], cwd=ROOT, env=environment)
    while (len(measured(ledger)) < count or not left_behind(folder)) and campaign.poll() is None:
        time.sleep(0.05)
    assert campaign.poll() is None, "it was to be killed while servers are up"
    campaign.send_signal(signal.SIGKILL)
    campaign.wait()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_best_knob_is_found_the_tempting_one_rejected_and_bad_servers_are_named(tmp_path: Path) -> None:
    space = Workspace(project(tmp_path), {"seed": 3})
    bad = hand_in_bad_ones(space)
    ledger = space.ledger("my/served", "main")
    killed_after(tmp_path, ledger, 2)
    until = time.monotonic() + 30
    while left_behind(tmp_path) and time.monotonic() < until:
        time.sleep(0.1)
    assert not left_behind(tmp_path), "what was running went with the campaign that was killed"
    run(str(tmp_path))

    done = [step_key(e.step) for e in measured(ledger)]
    assert len(set(done)) == len(done), "measured twice"
    h = space.history("my/served", "main")
    s = standing(h)
    assert h.candidates[s.best].parameters == {"SLOTS": 8}
    assert s.published[s.best].comparison.verdict is Verdict.faster
    by_slots = {c.parameters["SLOTS"]: x for x, c in h.candidates.items() if not c.environment}
    tempting = by_slots[16]
    assert s.estimates[tempting] < s.estimates[s.best], "it wins by the objective"
    assert tempting not in s.leaders
    rows = {row.id: row for row in view(h, None).rows}
    assert "breaks suite/single.ttft_p50" in rows[tempting].why
    assert "kept" in rows[s.best].why
    for fault, status in FAULTS.items():
        assert s.failed[bad[fault]].startswith(f"{status}: "), s.failed[bad[fault]]
        assert "http://127.0.0.1:" in s.failed[bad[fault]] or status == "wrong_values", "its log is told"
    assert not left_behind(tmp_path)
