"""Adapters to other load generators: what they are asked for, and what is read of what they said.

The documents of aiperf and guidellm are those of real runs (aiperf 0.13.0, guidellm 0.8.1) against the mock backend,
cut to what is read here; that of vLLM was composed after the source of its ``bench serve``, which writes it.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from warpsmith.errors import BadInput, Missing
from warpsmith.judge.loadtools import TOOLS, ToolFailed, load_by
from warpsmith.model.harness import Scenario, ScenarioReport

GOLDEN = Path(__file__).parent.parent / "golden/load"
CLOSED = Scenario(name="closed", requests=24, warmup=4, concurrency=4)
OPEN = Scenario(name="open", requests=24, warmup=0, rate=20.0, chat=False, prompt_tokens=(20, 31), seed=5)
URL = "http://127.0.0.1:9"
WRITES = {"aiperf": "profile_export_aiperf.json", "guidellm": "guidellm.json", "vllm": "vllm.json"}
PROGRAM = """#!{python}
import json, os, pathlib, sys
if sys.argv[1:] == ["--version"]:
    print("the tool, version 7.8.9")
    raise SystemExit
told = pathlib.Path({told!r})
told.write_text(json.dumps([sys.argv[1:], dict(os.environ)]))
pathlib.Path({writes!r}).write_text(pathlib.Path({golden!r}).read_text())
{more}
"""


def program(folder: Path, tool: str, golden: str, more: str = "") -> Path:
    """A program that writes what a tool once wrote, and notes how it was called."""
    place = folder / "bin" / tool
    place.parent.mkdir(exist_ok=True)
    told = folder / "told.json"
    text = PROGRAM.format(
        python=sys.executable, told=str(told), writes=WRITES[tool], golden=str(GOLDEN / golden), more=more
    )
    place.write_text(text)
    place.chmod(place.stat().st_mode | stat.S_IXUSR)
    return told


def seen(folder: Path, tool: str, scenario: Scenario, golden: str) -> tuple[ScenarioReport, list[str]]:
    told = program(folder, tool, golden)
    places = f"/nowhere:{folder / 'bin'}"
    report = load_by(tool, places, URL, "m", [scenario], tokenizer="tok", timeout_s=9)
    assert report.tool == f"{tool} 7.8.9"
    arguments, environment = json.loads(told.read_text())
    assert not {name for name in environment if "KEY" in name}
    return report.scenarios[0], arguments


def test_aiperf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    report, arguments = seen(tmp_path, "aiperf", CLOSED, "aiperf-closed.json")
    raw = json.loads((GOLDEN / "aiperf-closed.json").read_text())
    assert (report.requests, report.errors, report.input_tokens, report.output_tokens) == (24, {}, 1176, 384)
    assert report.scores["req_s"] == pytest.approx(raw["request_throughput"]["avg"])
    assert report.latencies["ttft"].p99 == pytest.approx(raw["time_to_first_token"]["p99"] / 1e3)
    assert report.latencies["tpot"].mean == pytest.approx(raw["inter_token_latency"]["avg"] / 1e3)
    assert report.latencies["itl"].p90 == pytest.approx(raw["inter_chunk_latency"]["p90"] / 1e3)
    assert report.latencies["e2e"].p50 == pytest.approx(raw["request_latency"]["p50"] / 1e3)
    said = " ".join(arguments)
    assert "--endpoint-type chat --streaming" in said
    assert "--request-count 24 --concurrency 4 --warmup-request-count 4" in said
    assert "--synthetic-input-tokens-mean 32 --synthetic-input-tokens-stddev 0 --output-tokens-mean 16" in said


def test_aiperf_in_an_open_loop(tmp_path: Path) -> None:
    report, arguments = seen(tmp_path, "aiperf", OPEN, "aiperf-open.json")
    assert (report.scenario, report.requests, report.output_tokens) == ("open", 24, 384)
    said = " ".join(arguments)
    assert "--endpoint-type completions" in said
    assert "--request-rate 20.0 --arrival-pattern poisson --synthetic-input-tokens-mean 25" in said
    assert "--random-seed 5" in said


def test_aiperf_counts_what_failed(tmp_path: Path) -> None:
    report, _ = seen(tmp_path, "aiperf", CLOSED, "aiperf-errors.json")
    assert (report.requests, report.errors) == (12, {"status_500": 4})


def test_guidellm(tmp_path: Path) -> None:
    report, arguments = seen(tmp_path, "guidellm", CLOSED, "guidellm-closed.json")
    (raw,) = json.loads((GOLDEN / "guidellm-closed.json").read_text())["benchmarks"]
    assert (report.requests, report.errors, report.input_tokens, report.output_tokens) == (23, {}, 1127, 368)
    assert report.seconds == pytest.approx(raw["duration"])
    first = raw["metrics"]["time_to_first_token_ms"]["successful"]
    assert report.latencies["ttft"].p90 == pytest.approx(first["percentiles"]["p90"] / 1e3)
    assert report.latencies["e2e"].mean == pytest.approx(raw["metrics"]["request_latency"]["successful"]["mean"])
    assert report.latencies["tpot"].p50 == pytest.approx(0.0092, rel=0.02)
    assert "itl" not in report.latencies
    options = dict(zip(arguments[1::2], arguments[2::2], strict=False))
    assert json.loads(options["--profile"]) == {
        "kind": "concurrent", "streams": 4, "warmup": {"value": 4, "mode": "requests"},
    }  # fmt: skip
    assert options["--constraint"] == "kind=max_requests,count=28"
    assert json.loads(options["--data"]) == {"kind": "synthetic_text", "prompt_tokens": 32, "output_tokens": 16}


def test_vllm(tmp_path: Path) -> None:
    report, arguments = seen(tmp_path, "vllm", CLOSED, "vllm-closed.json")
    assert (report.requests, report.errors, report.output_tokens) == (23, {"failed": 1}, 368)
    assert report.latencies["e2e"].mean == pytest.approx(0.1625)
    assert report.latencies["itl"].p99 == pytest.approx(0.00916 * 1.3)
    said = " ".join(arguments)
    assert said.startswith("bench serve --backend openai-chat --endpoint /v1/chat/completions")
    assert "--num-prompts 24 --num-warmups 4 --max-concurrency 4 --ignore-eos" in said
    _, arguments = seen(tmp_path, "vllm", OPEN.model_copy(update={"arrivals": "uniform"}), "vllm-closed.json")
    assert "--request-rate 20.0 --burstiness inf" in " ".join(arguments)


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("written", ["", "{", "[]", "{}", '{"completed": "many"}', '{"benchmarks": [{}]}'])
def test_a_document_that_is_not_understood_is_named(tmp_path: Path, tool: str, written: str) -> None:
    (tmp_path / "odd.json").write_text(written)
    program(tmp_path, tool, str(tmp_path / "odd.json"))
    with pytest.raises(ToolFailed, match="no document that is understood"):
        load_by(tool, str(tmp_path / "bin"), URL, "m", [CLOSED], tokenizer="tok", timeout_s=9)


def test_a_tool_that_fails_shows_its_last_words(tmp_path: Path) -> None:
    program(tmp_path, "vllm", "vllm-closed.json", "print('no such model'); raise SystemExit(3)")
    with pytest.raises(ToolFailed, match=r"status 3: no such model"):
        load_by("vllm", str(tmp_path / "bin"), URL, "m", [CLOSED], tokenizer="tok", timeout_s=9)


def test_what_is_lacking_is_said(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="aiperf is not in"):
        load_by("aiperf", str(tmp_path), URL, "m", [CLOSED], tokenizer="tok", timeout_s=9)
    program(tmp_path, "aiperf", "aiperf-closed.json")
    with pytest.raises(BadInput, match="tokenizer"):
        load_by("aiperf", str(tmp_path / "bin"), URL, "m", [CLOSED], tokenizer="", timeout_s=9)


def test_what_a_tool_started_ends_with_it(tmp_path: Path) -> None:
    """A tool that leaves a process behind, and one that is interrupted."""
    left = tmp_path / "left"
    leave = (
        f"import subprocess; p = subprocess.Popen(['sleep', '600']); pathlib.Path({str(left)!r}).write_text(str(p.pid))"
    )
    program(tmp_path, "vllm", "vllm-closed.json", leave)
    load_by("vllm", str(tmp_path / "bin"), URL, "m", [CLOSED], tokenizer="tok", timeout_s=9)
    _gone(int(left.read_text()))
    left.unlink()
    program(tmp_path, "vllm", "vllm-closed.json", f"{leave}; import time; time.sleep(600)")

    def interrupt() -> None:
        while not (left.exists() and left.read_text()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        load_by("vllm", str(tmp_path / "bin"), URL, "m", [CLOSED], tokenizer="tok", timeout_s=9)
    _gone(int(left.read_text()))


def _gone(process: int) -> None:
    deadline = time.monotonic() + 60
    while Path(f"/proc/{process}").exists():
        state = subprocess.run(["ps", "-o", "stat=", str(process)], capture_output=True, text=True, check=False).stdout
        if state.startswith("Z"):
            return
        assert time.monotonic() < deadline
        time.sleep(0.01)
