"""The judge of serving tasks on real servers over the mock backend: what is measured, and every way to fail by name."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.judge.served import BASELINE, TASK, judged, overlay, result, step
from warpsmith.judge.__main__ import carry_out
from warpsmith.judge.failures import Kills
from warpsmith.judge.serving import KeptLoad, ServingHarness
from warpsmith.model.evaluation import Effort, Evaluation, Status, Trust
from warpsmith.model.harness import Parity, Server, ServingTask
from warpsmith.model.head import Direction
from warpsmith.model.step import KEPT, Fault, Request
from warpsmith.serving import ports

SERVED = f"exec {sys.executable} -P -m warpsmith.serving --backend mock --port ${{TAKEN:-{{port}}}}"
BY_COMMAND = TASK.model_copy(update={"server": Server(command=("sh", "-c", SERVED), ready_s=60, drain_s=2)})


def left_behind(folder: Path) -> list[str]:
    """Processes that run below the folder, and ports of its servers that are still taken."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and os.readlink(process / "cwd").startswith(str(folder)):
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    said = "".join(log.read_text() for log in folder.rglob("logs/*.log"))
    listened = {int(port) for port in re.findall(r"at http://127\.0\.0\.1:(\d+)/v1", said)}
    return [*found, *(str(port) for port in listened if not ports.free(port))]


def with_server(**changes: object) -> ServingTask:
    return TASK.model_copy(update={"server": TASK.server.model_copy(update=changes)})


def test_a_check_holds_a_server_against_the_baseline_and_leaves_nothing(tmp_path: Path) -> None:
    found = judged(tmp_path, TASK, overlay(step_ms="2"), effort=Effort.check)
    assert found.status is Status.passed and found.trust is Trust.harness_reported
    assert any(c.startswith("parity: 16 of 16 compared equal the baseline's (token ids)") for c in found.conditions)
    assert not left_behind(tmp_path)


@pytest.mark.slow
def test_a_screen_measures_every_scenario_and_keeps_what_it_saw(tmp_path: Path) -> None:
    found = judged(tmp_path, TASK, overlay(step_ms="12"))
    assert found.passed
    (suite,) = found.workloads
    assert {"single.tok_s", "single.ttft_p99", "batch.tok_s", "batch.itl_p50"} <= {m.name for m in suite.metrics}
    slower, first = suite.metric("batch.tok_s"), suite.metric("single.ttft_p50")
    assert slower is not None and slower.direction is Direction.maximize and slower.unit == "token/s"
    assert max(slower.candidate) < min(slower.rival)  # three times the step
    assert first is not None and first.unit == "s" and min(first.candidate) > min(first.rival)
    kept = tmp_path / "step" / KEPT
    assert set(found.kept) == {"loads.jsonl", "candidate.log", "rival.log", "baseline.log"}
    loads = [KeptLoad.model_validate_json(line) for line in (kept / "loads.jsonl").read_text().splitlines()]
    both = [(side, pair) for side in ("candidate", "rival") for pair in (1, 2, 3)]
    assert sorted((load.side, load.pair) for load in loads) == both
    assert "ready after" in (kept / "candidate.log").read_text()
    assert (kept / "candidate.log").read_text().count("--- start") == 1  # kept at a screen
    told = " ".join(found.conditions)
    for said in ("our shim over mock", "sandbox: none", "warm-up", "seeds", "resident bytes", "48 answers of loads"):
        assert said in told
    assert not left_behind(tmp_path)


@pytest.mark.parametrize(
    ("effort", "beside", "alone"),
    [(Effort.screen, False, True), (Effort.screen, True, False), (Effort.confirm, True, True)],
)
def test_on_a_gpu_both_sides_are_up_only_where_they_are_said_to_fit(
    tmp_path: Path, effort: Effort, beside: bool, alone: bool
) -> None:
    task = with_server(beside=beside).model_copy(update={"hardware": "cuda"})
    folder = step(tmp_path, task, overlay(), effort=effort)
    request = Request.model_validate_json((folder / "request.json").read_bytes())
    assert ServingHarness(request, folder).alone is alone


@pytest.mark.slow
def test_servers_that_are_kept_take_turns_scenario_by_scenario_and_say_how_their_first_load_went(
    tmp_path: Path,
) -> None:
    told: list[str] = []
    made = step(tmp_path, TASK, overlay(cold_requests="18", cold_factor="8"))  # 4 of parity, 5 and 9 of a load
    outcome = carry_out(made, tell=told.append).outcome
    assert isinstance(outcome, Evaluation) and outcome.passed
    turns = [re.findall(r"pair (\d) of 3: (\w+), (\w+)", line)[0] for line in told if "pair" in line]
    wanted = [(str(pair), scenario) for pair in (1, 2, 3) for scenario in ("single", "batch") for _ in range(2)]
    assert [(pair, scenario) for pair, _, scenario in turns] == wanted
    sides = [side for _, side, _ in turns]
    assert all({one, other} == {"candidate", "rival"} for one, other in zip(sides[::2], sides[1::2], strict=True))
    (said,) = [c for c in outcome.conditions if c.startswith("first loads: batch.tok_s")]
    ratios = {side: float(ratio) for side, ratio in re.findall(r"(candidate|rival) ([\d.]+)", said)}
    assert ratios["candidate"] < 0.6 < ratios["rival"], said


@pytest.mark.slow
def test_from_confirm_on_each_pair_has_servers_of_its_own_and_questions_of_its_own(tmp_path: Path) -> None:
    found = judged(tmp_path, TASK, BASELINE, effort=Effort.confirm)
    assert found.passed
    log = (tmp_path / "step" / KEPT / "candidate.log").read_text()
    assert log.count("--- start") == log.count("ready after") == 10
    asked = json.loads((tmp_path / "step/request.json").read_text())
    assert "seed" not in asked["step"]  # the judge draws its own
    assert "in 20 verifications" in " ".join(found.conditions)
    assert not left_behind(tmp_path)


BAD = {
    "crashes at start": (TASK, {"fault": "crash_at_start"}, Status.crashed, "ended by itself with status 70"),
    "crashes at parity": (TASK, {"fault": "crash", "fault_after": "2"}, Status.crashed, "parity, prompt"),
    "crashes under load": (
        TASK, {"fault": "crash", "fault_after": "9"}, Status.crashed, r"scenario .* requests failed .*status 70",
    ),
    "answers wrong": (TASK, {"fault": "wrong_tokens"}, Status.wrong_values, "asked alone: 4 of 8 tokens .*token id 3"),
    "answers wrong later": (
        TASK, {"fault": "wrong_tokens", "fault_after": "9"}, Status.wrong_values,
        "scenario batch, answers under load: .* request .: character 3 is",
    ),
    "breaks answers off": (TASK, {"fault": "error", "fault_after": "9"}, Status.crashed, "as told"),
    "never ready": (with_server(ready_s=5), {"fault": "never_ready"}, Status.not_ready, "not ready after 5 s"),
    "hangs at parity": (TASK.model_copy(update={"timeout_s": 3}), {"fault": "hang"}, Status.timed_out, "within 3 s"),
    "hangs under load": (
        TASK.model_copy(update={"timeout_s": 3}), {"fault": "hang", "fault_after": "9"}, Status.timed_out,
        r"scenario batch: 8 of 8 requests failed within 3 s .*timeout: 4",
    ),
    "stands still": (
        TASK.model_copy(update={"timeout_s": 3}), {"fault": "freeze", "fault_after": "9"}, Status.timed_out, "scenario",
    ),
    "leaks": (
        with_server(growth_bytes=64 << 20), {"fault": "leak", "fault_amount": "16"}, Status.leaked,
        "MiB more than before it was loaded, and 64 MiB may be",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("how", BAD)
def test_a_bad_server_has_a_name_a_log_and_leaves_nothing(tmp_path: Path, how: str) -> None:
    task, knobs, status, detail = BAD[how]
    found = judged(tmp_path, task, overlay(**knobs))
    assert found.status is status, found.detail
    assert re.search(detail, found.detail, re.DOTALL)
    assert found.rival_status is Status.passed and not any(w.metrics for w in found.workloads)
    assert b"INFO" in (tmp_path / "step" / KEPT / "candidate.log").read_bytes()
    if status is not Status.wrong_values:
        assert "its log ends:" in found.detail
    assert not left_behind(tmp_path)


@pytest.mark.slow
def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        candidate = BASELINE.model_copy(update={"environment": {"TAKEN": port}})
        found = judged(tmp_path, BY_COMMAND, candidate, effort=Effort.check)
    assert found.status is Status.crashed
    assert f"port {port} of 127.0.0.1 cannot be had: Address already in use" in found.detail
    assert not left_behind(tmp_path)


@pytest.mark.slow
def test_log_probabilities_are_compared_where_the_task_asks(tmp_path: Path) -> None:
    task = TASK.model_copy(update={"parity": Parity(mode="logprobs", prompts=2, prompt_tokens=6, output_tokens=4)})
    found = judged(tmp_path, task, overlay(step_ms="2"), effort=Effort.check)
    assert found.passed and any("log-probabilities at most 0 nats off" in c for c in found.conditions)


@pytest.mark.slow
def test_failures_that_the_task_allows_are_counted_only(tmp_path: Path) -> None:
    changes = {"max_queue": "1", "max_batch": "1", "step_ms": "20"}
    allowed = TASK.model_copy(update={"failures": 0.9, "parity": Parity(prompts=1, output_tokens=2)})
    strict = allowed.model_copy(update={"failures": 0.0})
    found = judged(tmp_path / "strict", strict, overlay(**changes))
    assert found.status is Status.crashed and "status_429" in found.detail
    found = judged(tmp_path / "allowed", allowed, overlay(**changes))
    assert found.passed
    loads = (tmp_path / "allowed/step" / KEPT / "loads.jsonl").read_text().splitlines()
    assert any(json.loads(line)["report"]["scenarios"][1]["errors"].get("status_429") for line in loads)


@pytest.mark.slow
def test_a_baseline_that_fails_beside_itself_is_a_verdict_and_beside_others_a_fault(tmp_path: Path) -> None:
    broken = with_server(options={"fault": "crash_at_start"})
    found = judged(tmp_path / "itself", broken, BASELINE)
    assert found.status is Status.crashed
    outcome = result(tmp_path / "other", broken, overlay(fault="")).outcome
    assert isinstance(outcome, Fault) and not outcome.final
    assert "the baseline, whose answers are the standard, failed" in outcome.detail


@pytest.mark.slow
def test_a_task_that_asks_for_what_the_server_cannot_do_is_at_fault(tmp_path: Path) -> None:
    nowhere = TASK.model_copy(update={"server": Server(command=("no-such-program", "{port}"))})
    outcome = result(tmp_path, nowhere, BASELINE).outcome
    assert isinstance(outcome, Fault) and outcome.final and "no-such-program" in outcome.detail


def server_of(side: str, folder: Path) -> int:
    """The server of a side, once it is there: the process whose keeper writes to that side's log."""
    place = {"candidate": "a", "rival": "b"}[side]
    while True:
        for process in Path("/proc").iterdir():
            try:
                here = process.name.isdigit() and os.readlink(process / "cwd") == str(folder / "step/sides" / place)
                if here and "warpsmith.serving\0" in (process / "cmdline").read_text().partition("keeper.py")[0]:
                    return int(process.name)
            except OSError:
                continue
        time.sleep(0.01)


@pytest.mark.slow
def test_a_server_killed_from_outside_is_a_fault_until_it_happens_every_time(tmp_path: Path) -> None:
    kills = Kills()
    outcomes: list[object] = []
    for number in range(3):
        folder = tmp_path / str(number)
        made = step(folder, TASK, overlay(step_ms="4"))
        killer = threading.Thread(target=lambda f=folder: os.kill(server_of("candidate", f), signal.SIGKILL))
        killer.start()
        outcomes.append(carry_out(made, kills).outcome)
        killer.join()
    assert all(isinstance(o, Fault) and "killed from outside" in o.detail for o in outcomes[:2]), outcomes
    assert isinstance(outcomes[2], Evaluation) and outcomes[2].status is Status.crashed


def test_nobody_can_change_a_server_that_runs_already() -> None:
    task = TASK.model_copy(update={"server": Server(url="http://127.0.0.1:1")})
    assert task.refuses(BASELINE) == ""
    assert "runs already" in task.refuses(overlay(step_ms="1"))
