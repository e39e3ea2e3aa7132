"""How often is the judge wrong? Identical candidates (A/A), and gains of known size, through the whole judge.

    python benchmarks/study/judge_study.py --hardware cpu --same 300 --two 50 --five 50 > table.json

Each comparison is one measurement at confirm effort (ten pairs in fresh processes), decided with the 0.5 % margin alone
(a noise floor of zero), so that the rates are those of the statistics and not of a generous floor. Rates carry their
count and the 95 % upper bound on the true rate (Clopper-Pearson, one-sided: exact for zero as 1 - 0.05^(1/n)).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import Counter
from pathlib import Path

from warpsmith.analyse.compare import compare
from warpsmith.crew import write_step
from warpsmith.judge import VERSION
from warpsmith.judge.machine import detect
from warpsmith.model.base import digest
from warpsmith.model.campaign import Budget, Campaign
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Effort, Evaluation
from warpsmith.model.step import Measure, Result
from warpsmith.store.folders import load_candidate, load_task
from warpsmith.surface.workspace import CALIBRATION, Known, Workspace

HERE = Path(__file__).parent


class Study:
    """One task through one warm session."""

    def __init__(self, folder: Path, hardware: str) -> None:
        self.space = Workspace(Path.cwd())
        loaded = load_task(folder)
        entry = load_candidate(folder / loaded.head.entry, self.space.blobs, loaded.head)
        self.known = Known(loaded, entry, entry, {})
        self.target = detect(hardware)
        self.executor = self.space.executor(self.space.home / "study", self.target, "study")
        self.campaign = Campaign(
            tag="study", task_name=loaded.head.name, task=loaded.digest, target=self.target, judge=VERSION,
            proposer="none", budget=Budget(rounds=0), seed=0, baseline=entry.id, entry=entry.id,
            weights={w.name: w.weight for w in loaded.head.workloads}, objective=loaded.head.objective,
            min_gain=0.02, noise_floor=0.0,
        )  # fmt: skip

    def compare(self, candidate: Candidate) -> tuple[str, float]:
        """The verdict on ``candidate`` over the entry, and the measured log-effect."""
        entry = self.known.entry
        step = Measure(candidate=candidate.id, rival=entry.id, effort=Effort.confirm, round=0)
        request = self.space.request(self.known, self.target, step, candidate, entry)
        key = digest([time.time_ns(), candidate.id])
        result = self.executor.run(
            key, 0, lambda folder: write_step(folder, request, self.known.loaded.folder, self.space.blobs)
        )
        outcome = result.outcome if isinstance(result, Result) else result
        self.executor.forget(key)
        if not isinstance(outcome, Evaluation):
            raise SystemExit(f"a comparison was lost: {outcome}")
        answer = compare(outcome, self.campaign)
        if answer is None:
            raise SystemExit(f"a comparison failed: {outcome.status}: {outcome.detail}")
        return str(answer.verdict), answer.overall.log


def upper(wrong: int, count: int) -> float:
    """One-sided 95 % upper bound on a rate seen ``wrong`` times in ``count`` (Clopper-Pearson by bisection)."""

    def at_most(rate: float) -> float:
        return sum(math.comb(count, k) * rate**k * (1 - rate) ** (count - k) for k in range(wrong + 1))

    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if at_most(middle) > 0.05 else (low, middle)
    return high


def series(study: Study, name: str, turns: int | None, count: int) -> dict[str, object]:
    """``count`` comparisons of one kind."""
    entry = study.known.entry
    candidate = entry if turns is None else entry.at({"TURNS": turns}, name)
    verdicts: Counter[str] = Counter()
    effects = []
    began = time.monotonic()
    for number in range(count):
        verdict, effect = study.compare(candidate)
        verdicts[verdict] += 1
        effects.append(effect)
        if number % 25 == 24:
            print(f"{name}: {number + 1} of {count}: {dict(verdicts)}", file=sys.stderr, flush=True)
    wrong = verdicts["faster"] + verdicts["slower"] if turns in (None, 1000) else count - verdicts["faster"]
    mean = sum(effects) / count
    return {
        "what": name,
        "task": study.known.loaded.head.name,
        "comparisons": count,
        "verdicts": dict(verdicts),
        "wrong": wrong,
        "wrong_rate": wrong / count,
        "wrong_rate_upper_95": upper(wrong, count),
        "mean_log_effect": mean,
        "sd_log_effect": math.sqrt(sum((e - mean) ** 2 for e in effects) / max(1, count - 1)),
        "seconds": time.monotonic() - began,
    }


def main() -> None:
    """Run what was asked for and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hardware", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--same", type=int, default=0, help="A/A comparisons: half compute-bound, half memory-bound")
    parser.add_argument("--two", type=int, default=0, help="planted 2 per cent gains")
    parser.add_argument("--five", type=int, default=0, help="planted 5 per cent gains")
    asked = parser.parse_args()
    compute = Study(HERE / asked.hardware, asked.hardware)
    table = []
    if asked.same:
        table.append(series(compute, "identical, compute-bound", None, asked.same - asked.same // 2))
        memory = Study(CALIBRATION / asked.hardware, asked.hardware)
        table.append(series(memory, "identical, memory-bound", None, asked.same // 2))
    if asked.two:
        table.append(series(compute, "2 % less work", 980, asked.two))
    if asked.five:
        table.append(series(compute, "5 % less work", 950, asked.five))
    target = compute.target.model_dump(mode="json", exclude={"uuid"})
    print(json.dumps({"command": sys.argv, "target": target, "judge": VERSION, "table": table}, indent=1))


if __name__ == "__main__":
    main()
