"""How often is the judge wrong? Identical candidates (A/A), and gains of known size, through the whole judge.

    python benchmarks/study/judge_study.py --hardware cpu --same 300 --two 50 --five 50 --lanes 7 --output study-cpu

Each comparison is one measurement at confirm effort (ten pairs in fresh processes), decided with the 0.5 % margin alone
(a noise floor of zero), so that the rates are those of the statistics and not of a generous floor. Rates carry their
count and the 95 % upper bound (Clopper-Pearson), and what was not run is said. Writes OUTPUT.json and OUTPUT.md.

Half of the A/A comparisons are compute-bound, half memory-bound. ``--lanes K`` runs K sessions side by side, each on
cores of its own (of those that this process may use); ``--seconds LIMIT`` ends the study in time, whatever is left.
Exit status: 1 where a series does not hold what is wanted of it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lanes as side_by_side

from warpsmith.analyse.rates import rate
from warpsmith.judge import VERSION
from warpsmith.judge.machine import detect

KEPT = ("cache", "pinned", "clock", "sandbox", "core watched")
"""Beginnings of the conditions that are the same for all comparisons."""


@dataclass
class Series:
    """One kind of comparison, and what came of it."""

    name: str
    task: str
    wanted: int
    turns: int | None = None
    most_wrong: float = 0.05
    """Share of wrong verdicts that is still taken for right."""
    answers: list[dict[str, Any]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def jobs(self) -> list[side_by_side.Job]:
        return [{"series": self.name, "task": self.task, "turns": self.turns}] * self.wanted

    def wrong(self, verdict: str) -> bool:
        """Of identical candidates: called different. Of a planted gain: not called faster."""
        return verdict in ("faster", "slower") if self.turns is None else verdict != "faster"

    def record(self) -> dict[str, Any]:
        effects = [a["log_effect"] for a in self.answers]
        wrong = rate(sum(self.wrong(a["verdict"]) for a in self.answers), len(self.answers))
        known = [a["detectable"] for a in self.answers if a["detectable"] is not None]

        def middle(values: list[float]) -> float | None:
            return statistics.median(values) if values else None

        return {
            "what": self.name,
            "task": f"study/{self.task}",
            "asked": self.wanted,
            "comparisons": len(self.answers),
            "not_run": self.wanted - len(self.answers) - len(self.lost),
            "lost": self.lost,
            "verdicts": dict(sorted(Counter(a["verdict"] for a in self.answers).items())),
            "wrong_is": "faster or slower" if self.turns is None else "not faster",
            "wrong": wrong.model_dump(),
            "most_wrong": self.most_wrong,
            "holds": wrong.share <= self.most_wrong if wrong.share is not None else None,
            "mean_gain": -math.expm1(statistics.fmean(effects)) if effects else None,
            "sd_log_effect": statistics.stdev(effects) if len(effects) > 1 else None,
            "sd_over_pairs": middle([a["sd_over_pairs"] for a in self.answers]),
            "gain_found_9_times_in_10": middle(known),
            "rounds_dropped": sum(a["dropped"] for a in self.answers),
            "dropping_undone": sum(a["undone"] for a in self.answers),
            "seconds_per_comparison": middle([a["seconds"] for a in self.answers]),
            "log_effects": effects,
        }


def series(hardware: str, same: int, two: int, five: int) -> list[Series]:
    """What was asked for."""
    asked = [
        Series("identical, compute-bound", hardware, same - same // 2),
        Series("identical, memory-bound", f"{hardware}-memory", same // 2),
        Series("2 % less work", hardware, two, turns=980, most_wrong=0.10),
        Series("5 % less work", hardware, five, turns=950, most_wrong=0.0),
    ]
    return [s for s in asked if s.wanted]


def mixed(kinds: list[Series]) -> list[side_by_side.Job]:
    """All jobs, the kinds spread evenly: whenever time is up, each was run for about the same share."""
    placed = [((i + 0.5) / s.wanted, n, job) for n, s in enumerate(kinds) for i, job in enumerate(s.jobs())]
    return [job for _, _, job in sorted(placed, key=lambda p: p[:2])]


def run(kinds: list[Series], hardware: str, count: int, seconds: float) -> list[str]:
    """Carry all out; the conditions that they shared."""
    until = time.monotonic() + seconds
    by_name = {s.name: s for s in kinds}
    conditions: dict[str, None] = {}

    def told(answer: dict[str, Any]) -> None:
        into = by_name[answer["series"]]
        if "lost" in answer:
            into.lost.append(answer["lost"])
            return
        conditions.update(dict.fromkeys(c for c in answer.pop("conditions") if c.startswith(KEPT)))
        into.answers.append(answer)
        done = sum(len(s.answers) for s in kinds)
        if done % 25 == 0:
            print(f"{done} comparisons, {until - time.monotonic():.0f} s left", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="judge-study-") as scratch:
        opened = [
            side_by_side.Lane(Path(scratch) / f"lane-{i}", hardware, cores)
            for i, cores in enumerate(side_by_side.split(sorted(os.sched_getaffinity(0)), count))
        ]
        try:
            side_by_side.run_jobs(opened, mixed(kinds), until, told)
        finally:
            for lane in opened:
                lane.end()
    return sorted(conditions)


def said(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def markdown(study: dict[str, Any]) -> str:
    """The table for people."""
    heads = (
        "what", "comparisons", "verdicts", "wrong", "rate", "95 % upper bound", "wanted", "mean gain", "sd of the mean",
        "sd over pairs", "gain found 9 in 10", "rounds dropped", "s each", "not run", "lost",
    )  # fmt: skip
    target = study["target"]
    lines = [
        f"# How often the judge is wrong: {target['device']}\n",
        f"`{' '.join(study['command'])}`\n",
        f"{study['at']}, judge {study['judge']}, {study['seconds']:.0f} s in {study['lanes']} lanes.\n",
        f"| {' | '.join(heads)} |",
        f"|{'---|' * len(heads)}",
    ]
    for s in study["table"]:
        wrong, count = s["wrong"], s["comparisons"]
        found = said(s["gain_found_9_times_in_10"], ".2%")
        row = (
            s["what"], f"{count} of {s['asked']}", ", ".join(f"{n} {v}" for v, n in s["verdicts"].items()) or "-",
            f"{wrong['seen']} {s['wrong_is']}", said(wrong["seen"] / count if count else None, ".1%"),
            said(wrong["upper95"], ".1%"), f"at most {s['most_wrong']:.0%}", said(s["mean_gain"], "+.2%"),
            said(s["sd_log_effect"], ".2%"), said(s["sd_over_pairs"], ".2%"), found,
            str(s["rounds_dropped"]), said(s["seconds_per_comparison"], ".1f"), str(s["not_run"]), str(len(s["lost"])),
        )  # fmt: skip
        lines.append(f"| {' | '.join(row)} |")
    lines += ["", "Not run:" if study["not_run"] else "Everything that was asked for was run.", ""]
    lines += [f"- {reason}" for reason in study["not_run"]]
    lines += ["", "Conditions:", ""] + [f"- {c}" for c in study["conditions"]]
    lines += [f"- machine: {study['machine']}", f"- target: {json.dumps(target, sort_keys=True)}"]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run what was asked for and write both files."""
    if sys.argv[1:2] == ["--lane"]:
        side_by_side.serve(sys.argv[2], sys.argv[3])
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hardware", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--same", type=int, default=0, help="A/A comparisons: half compute-bound, half memory-bound")
    parser.add_argument("--two", type=int, default=0, help="planted 2 per cent gains")
    parser.add_argument("--five", type=int, default=0, help="planted 5 per cent gains")
    parser.add_argument("--lanes", type=int, default=1, help="independent sessions side by side, each on its own cores")
    parser.add_argument("--seconds", type=float, default=3600.0, help="when to end, whatever is left")
    parser.add_argument("--output", default="", help="writes OUTPUT.json and OUTPUT.md (judge-study-HARDWARE)")
    asked = parser.parse_args()
    kinds = series(asked.hardware, asked.same, asked.two, asked.five)
    began = time.monotonic()
    conditions = run(kinds, asked.hardware, asked.lanes, asked.seconds)
    table = [s.record() for s in kinds]
    missing = [f"{s['not_run']} of {s['asked']} {s['what']}: time was up" for s in table if s["not_run"]]
    missing += [f"{len(s['lost'])} of {s['asked']} {s['what']}: lost: {s['lost'][0]}" for s in table if s["lost"]]
    study = {
        "command": ["judge_study.py", *sys.argv[1:]],
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "judge": VERSION,
        "seconds": time.monotonic() - began,
        "lanes": asked.lanes,
        "machine": f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "target": detect(asked.hardware).model_dump(mode="json", exclude={"uuid"}),
        "conditions": conditions,
        "not_run": missing,
        "table": table,
    }
    output = asked.output or f"judge-study-{asked.hardware}"
    Path(f"{output}.json").write_text(json.dumps(study, indent=1) + "\n")
    Path(f"{output}.md").write_text(markdown(study))
    print(markdown(study))
    return 1 if any(s["holds"] is False for s in table) else 0


if __name__ == "__main__":
    sys.exit(main())
