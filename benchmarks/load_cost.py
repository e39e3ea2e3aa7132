#!/usr/bin/env python3
"""What does the load generator itself add to a latency, and does another tool see the same? Needs two cores and wrk.

    python benchmarks/load_cost.py --output load-cost

Cost: an open loop of 500 requests/s against a server whose sockets stamp, by the same clock, when each request arrived
and when its first token and its end were written. What the client says of a request (from the planned time) less what
the server says of the same one (joined by X-Request-Id) is what the client adds, lateness of sending included. Twice:
against a server that does nothing but keep the time, and against the shim with the mock backend.

Agreement: a closed loop by our client and by wrk, in turns, of the same bytes to the same server: latencies and
requests per second; and the time to first token, of which wrk knows nothing, against the server's log.

The server has a core of its own, and what loads it has the others. Medians over the runs count. OUTPUT.json and
OUTPUT.md go to benchmarks/results. Ends with 1 where a limit is missed: then look at what else ran (the load average
and the scheduling policy are written down; ``chrt -r 10 python ...`` keeps others off where that is allowed).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from warpsmith.judge.load import Answer, find, identity, observe, report
from warpsmith.judge.loadplan import asks, request_bytes
from warpsmith.model.harness import Scenario
from warpsmith.serving.health import health

RESULTS = Path(__file__).parent / "results"
FIRST_S, NEXT_S = 0.020, 0.005
"""Of the keeper, as in load_servers.py."""
SERVERS = Path(__file__).parent / "load_servers.py"
RATE = 500.0
LIMIT_S = 1e-3
AGREEMENT = 0.03
CONCURRENCY = 16
TOKENS = {"keeper": 8, "mock": 4}
MOCK = {"max_batch": 64, "step_ms": 4.0, "request_ms": 0.05, "prefill_tok_s": 0.0}
Row = dict[str, Any]


class Stamped:
    """A server at work, and its stamps once it has ended."""

    def __init__(self, kind: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="load-cost-"))
        self._log, port = self.folder / "log.json", self.folder / "port"
        argv = [sys.executable, str(SERVERS), kind, str(port), str(self._log), json.dumps(MOCK)]
        self._process = subprocess.Popen(argv)
        deadline = time.monotonic() + 60
        while not port.exists() and self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        self.url = f"http://127.0.0.1:{int(port.read_text())}"
        while kind == "mock" and not health(self.url)[0] and time.monotonic() < deadline:
            time.sleep(0.02)

    def stamps(self) -> dict[str, tuple[float, float, float]]:
        """End it: by request, when it was read, its first token written, its end written."""
        self._process.terminate()
        self._process.wait()
        return {name: (read, first, end) for name, read, first, end in json.loads(self._log.read_text())}

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.folder)


@contextmanager
def serving(kind: str, cores: set[int]) -> Iterator[Stamped]:
    """A server that has the last core to itself; whatever this process starts has the others."""
    os.sched_setaffinity(0, cores)
    server = Stamped(kind)
    try:
        os.sched_setaffinity(0, cores - {max(cores)} or cores)
        yield server
    finally:
        os.sched_setaffinity(0, cores)
        server.close()


def joined(scenario: Scenario, seen: Sequence[Answer], stamps: dict[str, tuple[float, float, float]]) -> Row:
    """What was added to each answered request, and what both say of the time to first token."""
    answered = [one for one in seen if not one.cause]
    pairs = [(one, stamps[identity(scenario, "counted", one.number)]) for one in answered]
    open_loop = scenario.rate is not None
    whole = [one.end - one.since(open_loop) - (end - read) for one, (read, _, end) in pairs]
    first = [one.times[0] - one.since(open_loop) - (wrote - read) for one, (read, wrote, _) in pairs]
    return {
        "answered": len(answered),
        "failed": len(seen) - len(answered),
        "late_p99_s": report(scenario, seen).late,
        **{f"added_e2e_{name}_s": value for name, value in spread(whole).items()},
        **{f"added_ttft_{name}_s": value for name, value in spread(first).items()},
        "ttft_mean_s": statistics.fmean(one.times[0] - one.since(open_loop) for one in answered),
        "ttft_mean_server_s": statistics.fmean(wrote - read for _, (read, wrote, _) in pairs),
    }


def spread(times: Sequence[float]) -> dict[str, float]:
    p50, p90, p99 = (float(value) for value in np.percentile(times, (50, 90, 99)))
    return {"mean": statistics.fmean(times), "p50": p50, "p90": p90, "p99": p99, "max": max(times)}


def cost(kind: str, cores: set[int], seconds: float, run: int) -> Row:
    """One open loop."""
    scenario = Scenario(
        name="cost", requests=int(RATE * seconds), warmup=int(RATE / 2), rate=RATE, seed=run, chat=False,
        output_tokens=(TOKENS[kind], TOKENS[kind]),
    )  # fmt: skip
    with serving(kind, cores) as server:
        seen = observe(server.url, "model", scenario, timeout_s=60)
        return joined(scenario, seen, server.stamps())


def closed(run: int, requests: int) -> Scenario:
    return Scenario(
        name="closed", requests=requests, warmup=2 * CONCURRENCY, concurrency=CONCURRENCY, seed=run, chat=False,
        output_tokens=(TOKENS["keeper"], TOKENS["keeper"]),
    )  # fmt: skip


def ours(url: str, run: int, requests: int) -> tuple[Row, list[Answer]]:
    scenario = closed(run, requests)
    seen = list(observe(url, "model", scenario, timeout_s=60))
    said = report(scenario, seen)
    assert not said.errors, said.errors
    return {**said.latencies["e2e"].model_dump(), "req_s": said.requests / said.seconds}, seen


def wrk(url: str, run: int, seconds: float, folder: Path) -> Row:
    """The same requests by wrk, without our ids, for as long."""
    place = find(url, chat=False)
    asked = asks(closed(run, 256), "model")
    texts = [request_bytes(ask, place.host, place.path, f"wrk-{i}").decode("ascii") for i, ask in enumerate(asked)]
    script = folder / "load.lua"
    script.write_text(
        "local r = {" + ",".join(json.dumps(text) for text in texts) + "}\nlocal i = 0\n"
        "function request() i = i % #r + 1; return r[i] end\n"
        "function done(s, l, q) local e = s.errors; print(string.format("
        '"RESULT %.9f %.9f %.9f %.9f %d %d %d", l.mean/1e6, l:percentile(50)/1e6, l:percentile(90)/1e6,'
        " l:percentile(99)/1e6, s.requests, s.duration, e.connect+e.read+e.write+e.status+e.timeout)) end\n"
    )
    argv = ["wrk", "-t1", f"-c{CONCURRENCY}", f"-d{seconds:.0f}s", "-s", str(script), url]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    numbers = [float(word) for word in re.search(r"^RESULT (.*)$", said, re.M)[1].split()]  # type: ignore[index]
    assert not numbers[6], said
    return {**dict(zip(("mean", "p50", "p90", "p99"), numbers, strict=False)), "req_s": numbers[4] / numbers[5] * 1e6}


def agreement(cores: set[int], runs: int, seconds: float) -> Row:
    """Both tools in turns, against one server each time anew."""
    pairs: list[dict[str, Row]] = []
    for run in range(runs):
        found: dict[str, Row] = {}
        for tool in ("ours", "other") if run % 2 else ("other", "ours"):
            with serving("keeper", cores) as server:
                if tool == "other":
                    found[tool] = wrk(server.url, run, seconds, server.folder)
                    continue
                requests = int(CONCURRENCY * seconds / (FIRST_S + (TOKENS["keeper"] - 1) * NEXT_S))
                found[tool], seen = ours(server.url, run, requests)
                log = joined(closed(run, requests), seen, server.stamps())
        found["ours"]["ttft_mean"], found["other"]["ttft_mean"] = log["ttft_mean_s"], log["ttft_mean_server_s"]
        pairs.append(found)
    names = pairs[0]["ours"]
    apart = {name: statistics.median(pair["ours"][name] / pair["other"][name] - 1 for pair in pairs) for name in names}
    return {"pairs": pairs, "differences": apart}


def medians(rows: Sequence[Row]) -> Row:
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def conditions() -> Row:
    policy = {os.SCHED_OTHER: "normal", os.SCHED_RR: "round robin", os.SCHED_FIFO: "first in, first out"}
    version = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    return {
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}",
        "python": platform.python_version(),
        "tool": version.partition(" Copyright")[0].strip(),
        "scheduling": policy.get(os.sched_getscheduler(0), "other"),
        "load_average_before": os.getloadavg()[0],
    }


def markdown(found: Row) -> str:
    lines = ["# What the load generator costs, and whether wrk sees the same\n", f"`{' '.join(found['command'])}`\n"]
    told = ("date", "machine", "python", "tool", "scheduling", "load_average_before", "load_average_after")
    lines += ["; ".join(f"{name.replace('_', ' ')}: {found[name]}" for name in told) + "\n"]
    lines += [f"Added to a request at {RATE:.0f} requests/s, open loop, medians of the runs, in ms (limit: p99 < 1):\n"]
    lines += [
        "| server | requests | failed | mean | p50 | p90 | p99 | max | to the first token, p99 | sent late, p99 |"
    ]
    lines += ["|" + "---|" * 10]
    for kind, seen in found["cost"].items():
        row = seen["median"]
        times = [row[f"added_e2e_{which}_s"] for which in ("mean", "p50", "p90", "p99", "max")]
        times += [row["added_ttft_p99_s"], row["late_p99_s"]]
        said = " | ".join(f"{value * 1e3:.3f}" for value in times)
        lines.append(f"| {kind} | {row['answered']:.0f} | {row['failed']:.0f} | {said} |")
    lines += [f"\nOurs beside wrk, closed loop of {CONCURRENCY}, and beside the server's log (limit: 3 %):\n"]
    lines += ["| measure | ours | other | difference, median of pairs |", "|---|---|---|---|"]
    for name, difference in found["agreement"]["differences"].items():
        sides = [
            statistics.median(pair[side][name] for pair in found["agreement"]["pairs"]) for side in ("ours", "other")
        ]
        texts = [f"{side:.2f}" if name == "req_s" else f"{side * 1e3:.3f} ms" for side in sides]
        lines.append(f"| {name} | {texts[0]} | {texts[1]} | {difference:+.2%} |")
    missed = found["missed"]
    return "\n".join([*lines, "", f"Missed: {', '.join(missed)}." if missed else "All limits are held.", ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load")
    parser.add_argument("--output", default="", help="name of the files in benchmarks/results, after the date")
    asked = parser.parse_args()
    cores = os.sched_getaffinity(0)
    command = ["python", "benchmarks/load_cost.py", *sys.argv[1:]]
    if os.sched_getscheduler(0) == os.SCHED_RR:
        command = ["chrt", "-r", str(os.sched_getparam(0).sched_priority), *command]
    found: Row = {"command": command, **conditions(), "cost": {}}
    for kind in TOKENS:
        rows = [cost(kind, cores, asked.seconds, run) for run in range(asked.runs)]
        found["cost"][kind] = {"median": medians(rows), "runs": rows}
    found["agreement"] = agreement(cores, asked.runs, asked.seconds)
    found["load_average_after"] = os.getloadavg()[0]
    added = {f"cost at {kind}": seen["median"]["added_e2e_p99_s"] for kind, seen in found["cost"].items()}
    apart = {f"agreement of {name}": abs(of) for name, of in found["agreement"]["differences"].items()}
    found["missed"] = [name for name, value in added.items() if value >= LIMIT_S]
    found["missed"] += [name for name, value in apart.items() if value > AGREEMENT]
    print(markdown(found))
    if asked.output:
        stem = RESULTS / f"{found['date']}-{asked.output}"
        stem.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
        stem.with_suffix(".md").write_text(markdown(found))
    return 1 if found["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
