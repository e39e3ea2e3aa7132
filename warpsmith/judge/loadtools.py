"""Other people's load generators: aiperf, guidellm and ``vllm bench serve``, in environments of their own.

Each is a program that is run as its users run it, and a document of its own that is read. They draw their own prompts
(of the stated number of tokens by the tokenizer that they are given), and take their own view of what a latency is;
docs/load.md says where that differs. What they report is not what judges: it is a second opinion.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warpsmith.errors import BadInput, Missing, WarpsmithError
from warpsmith.judge.load import find
from warpsmith.model.harness import LATENCIES, PERCENTILES, Distribution, LoadReport, Scenario, ScenarioReport

START_S = 300.0
"""Longest time that a tool may take beside its requests: importing, and making its prompts."""
PASSED = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "HF_HOME", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "VIRTUAL_ENV")
"""What a tool sees of the environment; never a key."""


class ToolFailed(WarpsmithError):
    """Another load generator that ended without its document, or with one that cannot be read."""

    exit_status = 4


@dataclass(frozen=True)
class Job:
    """One scenario for a tool."""

    url: str
    model: str
    scenario: Scenario
    tokenizer: str
    folder: Path
    """Where its documents go."""
    timeout_s: float


@dataclass(frozen=True)
class Tool:
    """How a tool is called, and how it is read."""

    program: str
    arguments: Callable[[Job], Sequence[str]]
    read: Callable[[Job], ScenarioReport]


def load_by(
    tool: str, places: str, url: str, model: str, scenarios: Sequence[Scenario], *, tokenizer: str, timeout_s: float
) -> LoadReport:
    """Load a server with each scenario in turn, by another tool.

    Args:
        tool: One of :data:`TOOLS`.
        places: Folders that its program is looked for in, with colons between, as in PATH; empty: PATH.
        url: Where the server listens: ``http://host:port``.
        model: The name under which it serves the model.
        scenarios: What is asked of it; a range of lengths becomes its middle, since no two tools draw alike.
        tokenizer: Folder or name of the tokenizer that prompts are measured by.
        timeout_s: Longest time of one scenario's requests.

    Raises:
        BadInput: for a URL that is none, or no tokenizer.
        Missing: where its program is not there.
        ToolFailed: where it fails.
    """
    chosen, program = TOOLS[tool], program_of(tool, places, tokenizer)
    for scenario in scenarios:
        find(url, chat=scenario.chat)
    reports = []
    for scenario in scenarios:
        with tempfile.TemporaryDirectory(prefix=f"warpsmith-{tool}-") as folder:
            job = Job(url, model, scenario, tokenizer, Path(folder), timeout_s)
            _run([program, *chosen.arguments(job)], job, tool)
            reports.append(_read(chosen, job, tool))
    return LoadReport(model=model, url=url, tool=f"{tool} {_version(program)}".strip(), scenarios=tuple(reports))


def program_of(tool: str, places: str, tokenizer: str) -> str:
    """Where a tool's program lies. Raises BadInput and Missing as :func:`load_by` does."""
    program = shutil.which(TOOLS[tool].program, path=places or None)
    if program is None:
        where = f"in {places}" if places else "on PATH"
        raise Missing(
            f"{TOOLS[tool].program} is not {where}.",
            f"Install {tool} into an environment of its own, and name its bin folder: load_tools (docs/load.md).",
        )
    if not tokenizer:
        raise BadInput(f"{tool} makes prompts by a tokenizer.", "Name one: load_tokenizer, a folder or a name.")
    return program


def _middle(lengths: tuple[int, int]) -> str:
    return str(sum(lengths) // 2)


def _run(command: Sequence[str], job: Job, tool: str) -> None:
    said = job.folder / "said.txt"
    kept = {name: value for name, value in os.environ.items() if name in PASSED}
    with said.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=job.folder, env=kept, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
        try:
            status = process.wait(job.timeout_s + START_S)
        except subprocess.TimeoutExpired:
            raise ToolFailed(f"{tool} did not end in time.", "Give it longer, or fewer requests.") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if status:
        tail = said.read_text(errors="replace").strip()[-1500:]
        raise ToolFailed(f"{tool} ended with status {status}: {tail}", "Run it by hand with the same arguments.")


def _read(chosen: Tool, job: Job, tool: str) -> ScenarioReport:
    try:
        return chosen.read(job)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise ToolFailed(f"{tool} wrote no document that is understood: {why}.", "Is it a newer version?") from None


def _version(program: str) -> str:
    """As it says it is; empty where it does not."""
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=120, check=False)
        if found := re.search(r"\d+\.\d+(\.\w+)*", done.stdout + done.stderr):
            return found[0]
    return ""


def _distribution(mean: float, percentiles: Mapping[str, float], unit_s: float = 1e-3) -> Distribution:
    return Distribution(mean=mean * unit_s, **{which: percentiles[which] * unit_s for which in PERCENTILES})


def _aiperf(job: Job) -> Sequence[str]:
    one = job.scenario
    pace = ["--concurrency", str(one.concurrency)]
    if one.rate is not None:
        pattern = "poisson" if one.arrivals == "poisson" else "constant"
        pace = ["--request-rate", str(one.rate), "--arrival-pattern", pattern]
    return (
        "profile", "--model", job.model, "--url", job.url, "--endpoint-type", "chat" if one.chat else "completions",
        "--streaming", "--tokenizer", job.tokenizer, "--use-server-token-count", "--use-legacy-max-tokens",
        "--request-count", str(one.requests), *pace,
        *(("--warmup-request-count", str(one.warmup)) if one.warmup else ()),
        "--synthetic-input-tokens-mean", _middle(one.prompt_tokens), "--synthetic-input-tokens-stddev", "0",
        "--output-tokens-mean", _middle(one.output_tokens), "--output-tokens-stddev", "0",
        "--extra-inputs", '{"ignore_eos": true, "temperature": 0}', "--random-seed", str(one.seed),
        "--request-timeout-seconds", str(job.timeout_s), "--artifact-dir", str(job.folder),
        "--ui-type", "none", "--no-gpu-telemetry", "--no-server-metrics",
    )  # fmt: skip


AIPERF = {
    "ttft": "time_to_first_token",
    "tpot": "inter_token_latency",
    "itl": "inter_chunk_latency",
    "e2e": "request_latency",
}
"""By our names: what it calls inter-token latency is a request's mean, our TPOT."""


def _read_aiperf(job: Job) -> ScenarioReport:
    said = json.loads((job.folder / "profile_export_aiperf.json").read_text())
    causes: Counter[str] = Counter()
    for one in said["error_summary"]:
        why = one["error_details"]
        causes[f"status_{why['code']}" if why["code"] else str(why["type"])] += int(one["count"])
    answered = int(said["request_count"]["avg"]) if said.get("request_count") else 0
    measured = {ours: said[its] for ours, its in AIPERF.items() if said.get(its)}
    return ScenarioReport(
        scenario=job.scenario.name,
        requests=answered,
        errors=dict(causes),
        seconds=answered / said["request_throughput"]["avg"] if answered else 0.0,
        input_tokens=int(said["total_isl"]["avg"]) if answered else 0,
        output_tokens=int(said["total_osl"]["avg"]) if answered else 0,
        latencies={name: _distribution(seen["avg"], seen) for name, seen in measured.items()},
    )


def _vllm(job: Job) -> Sequence[str]:
    one = job.scenario
    pace = ["--max-concurrency", str(one.concurrency)]
    if one.rate is not None:
        pace = ["--request-rate", str(one.rate), "--burstiness", "1.0" if one.arrivals == "poisson" else "inf"]
    chat = ("openai-chat", "/v1/chat/completions") if one.chat else ("openai", "/v1/completions")
    return (
        "bench", "serve", "--backend", chat[0], "--endpoint", chat[1], "--base-url", job.url, "--model", job.model,
        "--tokenizer", job.tokenizer, "--dataset-name", "random", "--random-input-len", _middle(one.prompt_tokens),
        "--random-output-len", _middle(one.output_tokens), "--num-prompts", str(one.requests),
        "--num-warmups", str(one.warmup), *pace, "--ignore-eos", "--temperature", "0", "--seed", str(one.seed),
        "--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "50,90,99", "--disable-tqdm",
        "--save-result", "--result-dir", str(job.folder), "--result-filename", "vllm.json",
    )  # fmt: skip


def _read_vllm(job: Job) -> ScenarioReport:
    said = json.loads((job.folder / "vllm.json").read_text())
    answered, failed = int(said["completed"]), job.scenario.requests - int(said["completed"])
    names = {name: "e2el" if name == "e2e" else name for name in LATENCIES} if answered else {}
    measured = {
        name: _distribution(said[f"mean_{its}_ms"], {which: said[f"{which}_{its}_ms"] for which in PERCENTILES})
        for name, its in names.items()
    }
    return ScenarioReport(
        scenario=job.scenario.name,
        requests=answered,
        errors={"failed": failed} if failed else {},
        seconds=said["duration"],
        input_tokens=said["total_input_tokens"],
        output_tokens=said["total_output_tokens"],
        latencies={name: seen for name, seen in measured.items() if seen.p99 > 0},
    )


def _guidellm(job: Job) -> Sequence[str]:
    one = job.scenario
    profile: dict[str, Any] = {"kind": "concurrent", "streams": one.concurrency}
    if one.rate is not None:
        profile = {"kind": "poisson" if one.arrivals == "poisson" else "constant", "rate": one.rate}
    if one.warmup:
        profile["warmup"] = {"value": one.warmup, "mode": "requests"}
    form = f"/v1/{'chat/' if one.chat else ''}completions"
    backend = {"kind": "openai_http", "target": job.url, "model": job.model, "request_format": form}
    data = {
        "kind": "synthetic_text",
        "prompt_tokens": int(_middle(one.prompt_tokens)),
        "output_tokens": int(_middle(one.output_tokens)),
    }
    return (
        "run", "--backend", json.dumps({**backend, "timeout": job.timeout_s}), "--profile", json.dumps(profile),
        "--constraint", f"kind=max_requests,count={one.requests + one.warmup}",
        "--tokenizer", json.dumps({"kind": "hf_auto", "model": job.tokenizer}), "--data", json.dumps(data),
        "--seed", f"kind=static,value={one.seed}",
        "--output", json.dumps({"kind": "json", "path": str(job.folder / "guidellm.json")}), "--disable-console",
    )  # fmt: skip


GUIDELLM = {"ttft": "time_to_first_token_ms", "tpot": "inter_token_latency_ms", "e2e": "request_latency"}
"""By our names: its inter-token latency is that of whole requests, our TPOT; single gaps it does not tell."""


def _read_guidellm(job: Job) -> ScenarioReport:
    (said,) = json.loads((job.folder / "guidellm.json").read_text())["benchmarks"]
    seen = {name: said["metrics"][its]["successful"] for name, its in GUIDELLM.items() if said["metrics"].get(its)}
    counts = said["metrics"]["request_totals"]
    tokens = {
        which: int(said["metrics"][f"{which}_token_count"]["successful"]["total_sum"]) for which in ("prompt", "output")
    }
    return ScenarioReport(
        scenario=job.scenario.name,
        requests=counts["successful"],
        errors={cause: counts[cause] for cause in ("errored", "incomplete") if counts[cause]},
        seconds=said["duration"],
        input_tokens=tokens["prompt"],
        output_tokens=tokens["output"],
        latencies={
            name: _distribution(its["mean"], its["percentiles"], 1.0 if name == "e2e" else 1e-3)
            for name, its in seen.items()
            if its["count"]
        },
    )


TOOLS = {
    "aiperf": Tool("aiperf", _aiperf, _read_aiperf),
    "guidellm": Tool("guidellm", _guidellm, _read_guidellm),
    "vllm": Tool("vllm", _vllm, _read_vllm),
}
