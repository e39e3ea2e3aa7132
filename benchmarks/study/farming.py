"""Can noise be farmed? Campaigns of many near-clones (alike to the device, but not to the byte) that gain nothing.

    python benchmarks/study/farming.py --campaigns 400 --clones 200 --output farming

The real plan() and standing() run against a scripted judge, whose pairs spread as measured ones do (log-ratios, normal;
the spreads were measured by judge_study.py). Counted are campaigns, not candidates: how many ever had a false leader,
how many would have published a gain from the run that chose the leader, and how many publish one by the rule that holds
(standing.py: a run that chose nothing, with an interval that gets stricter with every such run). And what the rule
costs: how often one true gain among the clones is published, with and without it.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from warpsmith.analyse.compare import Verdict, compare
from warpsmith.analyse.rates import rate
from warpsmith.analyse.standing import direct, standing
from warpsmith.campaign import plan
from warpsmith.model.base import digest
from warpsmith.model.campaign import Budget, Campaign, Finished, Opened, Started
from warpsmith.model.candidate import Candidate, SourceFile
from warpsmith.model.evaluation import Build, Effort, Evaluation, Metric, Status, WorkloadResult
from warpsmith.model.head import Direction, Objective
from warpsmith.model.step import Measure, Outcome, Proposal
from warpsmith.model.target import Target
from warpsmith.store.history import History

SPREADS = (0.003, 0.01, 0.03)
"""Standard deviation of a pair's log-ratio: a quiet core, a busy one, a memory-bound kernel beside noisy neighbours."""
SLOTS = 8
"""Steps at once: it saves plans, and changes no rule."""
TARGET = Target(hardware="cpu", device="scripted", architecture="none")
TASK = digest("farming")


def clone(number: int) -> Candidate:
    """A candidate that differs from the others in one instruction that does nothing."""
    source = SourceFile(path="k.c", content=digest(["nop", number]))
    return Candidate(toolchain="c", entry="k", sources=(source,), memo=f"clone {number}")


@dataclass(frozen=True)
class Setting:
    """One kind of campaign."""

    spread: float
    clones: int
    gain: float = 0.0
    """Of one of the clones, as a share of the baseline's time; the others gain nothing."""


def measured(step: Measure, gains: dict[str, float], spread: float, rng: random.Random) -> Evaluation:
    """What the scripted judge says."""
    true = math.log1p(-gains.get(step.candidate, 0.0)) - math.log1p(-gains.get(step.rival, 0.0))
    times = tuple(math.exp(rng.gauss(true, spread)) for _ in range(step.effort.pairs))
    metric = Metric(
        name="time", unit="s", direction=Direction.minimize, candidate=times, rival=(1.0,) * step.effort.pairs
    )
    build = Build(toolchain="c", command=("cc",), seconds=0.0, binary=digest(step.candidate), binary_bytes=1)
    return Evaluation(
        task=TASK, candidate=step.candidate, rival=step.rival, target=TARGET.key, judge="scripted", effort=step.effort,
        status=Status.passed, build=build,
        workloads=(WorkloadResult(workload="one", status=Status.passed, metrics=(metric,)),),
    )  # fmt: skip


def campaign_of(setting: Setting, baseline: Candidate) -> Campaign:
    return Campaign(
        tag="farming", task_name="farming", task=TASK, target=TARGET, judge="scripted", proposer="clones",
        budget=Budget(rounds=1, patience=10), seed=0, baseline=baseline.id, entry=baseline.id, weights={"one": 1.0},
        objective=Objective(), min_gain=0.02, noise_floor=0.0, batch=setting.clones,
    )  # fmt: skip


def run(setting: Setting, seed: int) -> tuple[History, dict[str, float]]:
    """One campaign through the real plan, and what each candidate truly gains."""
    rng = random.Random(f"{setting} {seed}")
    baseline = clone(0)
    clones = tuple(clone(i) for i in range(1, setting.clones + 1))
    gains = {rng.choice(clones).id: setting.gain}
    c = campaign_of(setting, baseline)
    h = History() + Opened(campaign=c, candidates=(baseline,), at=0.0)
    while todo := plan(c, h, SLOTS):
        for step in todo:
            h = h + Started(step=step, at=0.0)
        for step in todo:
            outcome: Outcome = (
                measured(step, gains, setting.spread, rng)
                if isinstance(step, Measure)
                else Proposal(candidates=clones, exhausted=True)
            )
            h = h + Finished(step=step, outcome=outcome, seconds=1.0, at=0.0)
    return h, gains


def judged(setting: Setting, seed: int) -> dict[str, bool]:
    """What one campaign said that was not so, or was so."""
    h, gains = run(setting, seed)
    c = h.campaign
    assert c is not None
    confirmed = {key: e for key, e in h.evaluations.items() if key[2] is not Effort.promote}
    before = standing(replace(h, evaluations=confirmed), c)
    s = standing(h, c)
    chosen = direct(replace(h, evaluations=confirmed), before.best, c.baseline)
    answer = compare(chosen, c) if chosen and before.best != c.baseline else None
    claimed = answer is not None and answer.verdict is Verdict.faster
    run_of = s.published.get(s.best)
    published = run_of is not None and run_of.comparison.verdict is Verdict.faster
    real = {identity for identity, gain in gains.items() if gain > 0}
    return {
        "false leader": any(x not in real for x in before.leaders[1:]),
        "false claim without the rule": claimed and before.best not in real,
        "false claim": published and s.best not in real,
        "found without the rule": claimed and before.best in real,
        "found": published and s.best in real,
    }


def table(campaigns: int, clones: int, gains: tuple[float, ...]) -> list[dict[str, Any]]:
    """Every setting, over all cores."""
    rows = []
    with ProcessPoolExecutor() as pool:
        for spread in SPREADS:
            for gain in (0.0, *gains):
                setting = Setting(spread, clones, gain)
                found = list(pool.map(judged, [setting] * campaigns, range(campaigns), chunksize=4))
                seen = {what: rate(sum(f[what] for f in found), campaigns) for what in found[0]}
                dumped = {what: r.model_dump() for what, r in seen.items()}
                rows.append({"spread": spread, "clones": clones, "gain": gain, "rates": dumped})
                told = "; ".join(f"{what} {r.said}" for what, r in seen.items())
                print(f"spread {spread:.1%}, gain {gain:.0%}: {told}", file=sys.stderr, flush=True)
    return rows


def markdown(rows: list[dict[str, Any]], campaigns: int) -> str:
    whats = list(rows[0]["rates"])
    lines = [
        f"{campaigns} campaigns each; rates are shares of campaigns, with their 95 % upper bounds.\n",
        f"| spread of a pair | clones | true gain of one | {' | '.join(whats)} |",
        f"|{'---|' * (3 + len(whats))}",
    ]
    for row in rows:
        shown = [f"{r['seen'] / r['count']:.1%} (at most {r['upper95']:.1%})" for r in row["rates"].values()]
        lines.append(f"| {row['spread']:.1%} | {row['clones']} | {row['gain']:.0%} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Simulate and write both files. Exit status 1 where gains are published that are none in more than 5 %."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--campaigns", type=int, default=400)
    parser.add_argument("--clones", type=int, default=200)
    parser.add_argument("--gains", type=float, nargs="*", default=[0.02, 0.05])
    parser.add_argument("--output", default="farming", help="writes OUTPUT.json and OUTPUT.md")
    asked = parser.parse_args()
    began = time.monotonic()
    rows = table(asked.campaigns, asked.clones, tuple(asked.gains))
    study = {"command": ["farming.py", *sys.argv[1:]], "seconds": time.monotonic() - began, "table": rows}
    Path(f"{asked.output}.json").write_text(json.dumps(study, indent=1) + "\n")
    Path(f"{asked.output}.md").write_text(markdown(rows, asked.campaigns))
    print(markdown(rows, asked.campaigns))
    return 1 if any(r["rates"]["false claim"]["seen"] > 0.05 * asked.campaigns for r in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
