"""How often is the judge wrong? Identical candidates (A/A), and gains of known size, through the whole judge.

    python benchmarks/study/judge_study.py --hardware cpu --same 300 --two 50 --five 50 --lanes 7 --output study-cpu

Each comparison is one measurement at confirm effort (ten pairs in fresh processes), decided with the 0.5 % margin alone
(a noise floor of zero), so that the rates are those of the statistics and not of a generous floor. Rates carry their
count and the 95 % upper bound (Clopper-Pearson), and what was not run is said. Writes OUTPUT.json and OUTPUT.md.

Half of the A/A comparisons are compute-bound, half memory-bound; together at most 2.5 % of them may be called
different. ``--lanes K`` runs K sessions side by side, each on cores of its own (of those that this process may use) and
on a GPU has one for itself: by default as many as there are GPUs, and one on a processor. ``--seconds LIMIT`` ends the
study in time, whatever is left; ``--onto EARLIER.json`` then runs what that one did not, and makes one table of both.
Exit status: 1 where a series does not hold what is wanted of it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
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
from warpsmith.errors import WarpsmithError
from warpsmith.judge import VERSION
from warpsmith.judge.machine import detect

KEPT = ("cache", "pinned", "clock", "sandbox", "core watched")
"""Beginnings of the conditions that are the same for all comparisons."""
CORE = re.compile(r" \(\d+\)")
"""In a condition: the number of a core, which the lanes say."""
SAME = "identical"
"""Beginning of the names of the A/A series."""
MOST_DIFFERENT = 0.025
"""Share of all A/A comparisons that may be called different."""


@dataclass
class Series:
    """One kind of comparison, and what came of it."""

    name: str
    task: str
    wanted: int
    turns: int | None = None
    most_wrong: float | None = None
    """Share of wrong verdicts that is still taken for right; None where that is said of several series together."""
    answers: list[dict[str, Any]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def jobs(self) -> list[side_by_side.Job]:
        """What is still to be run."""
        left = self.wanted - len(self.answers) - len(self.lost)
        return [{"series": self.name, "task": self.task, "turns": self.turns}] * left

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
            "holds": None if wrong.share is None or self.most_wrong is None else wrong.share <= self.most_wrong,
            "mean_gain": -math.expm1(statistics.fmean(effects)) if effects else None,
            "sd_log_effect": statistics.stdev(effects) if len(effects) > 1 else None,
            "sd_over_pairs": middle([a["sd_over_pairs"] for a in self.answers]),
            "gain_found_9_times_in_10": middle(known),
            "rounds_dropped": sum(a["dropped"] for a in self.answers),
            "dropping_undone": sum(a["undone"] for a in self.answers),
            "seconds_per_comparison": middle([a["seconds"] for a in self.answers]),
        }


def series(hardware: str, same: int, two: int, five: int) -> list[Series]:
    """What was asked for."""
    asked = [
        Series(f"{SAME}, compute-bound", hardware, same - same // 2),
        Series(f"{SAME}, memory-bound", f"{hardware}-memory", same // 2),
        Series("2 % less work", hardware, two, turns=980, most_wrong=0.10),
        Series("5 % less work", hardware, five, turns=950, most_wrong=0.0),
    ]
    return [s for s in asked if s.wanted]


def mixed(kinds: list[Series]) -> list[side_by_side.Job]:
    """All jobs, the kinds spread evenly: whenever time is up, each was run for about the same share."""
    left = [s.jobs() for s in kinds]
    placed = [((i + 0.5) / len(jobs), n, job) for n, jobs in enumerate(left) for i, job in enumerate(jobs)]
    return [job for _, _, job in sorted(placed, key=lambda p: p[:2])]


def together(kinds: list[Series]) -> dict[str, Any] | None:
    """How many of all identical candidates were called different; None where none was compared."""
    same = [s for s in kinds if s.name.startswith(SAME)]
    count = sum(len(s.answers) for s in same)
    wrong = rate(sum(s.wrong(a["verdict"]) for s in same for a in s.answers), count)
    if wrong.share is None:
        return None
    return {
        **wrong.model_dump(),
        "share": wrong.share,
        "most_wrong": MOST_DIFFERENT,
        "holds": wrong.share <= MOST_DIFFERENT,
    }


def by_lane(kinds: list[Series], places: list[side_by_side.Place], part: int) -> list[dict[str, Any]]:
    """What each lane had, and what came of it there: a GPU or core that is not like the others shows."""
    told = []
    for place in places:
        here = [(s, a) for s in kinds for a in s.answers if (a["part"], a["lane"]) == (part, place.number)]
        same = [a["log_effect"] for s, a in here if s.turns is None]
        told.append(
            {
                "lane": place.said,
                "cores": side_by_side.spans(place.cores),
                "gpu": place.number if place.gpu else None,
                "comparisons": len(here),
                "wrong": sum(s.wrong(a["verdict"]) for s, a in here),
                "mean_gain_of_identical": 0.0 - math.expm1(statistics.fmean(same)) if same else None,
                "seconds_per_comparison": statistics.median(a["seconds"] for _, a in here) if here else None,
            }
        )
    return told


def take_over(earlier: dict[str, Any], kinds: list[Series], target: dict[str, Any]) -> None:
    """Have what an earlier call ran count. Raises SystemExit where it was another study."""
    asked = {s["what"]: s["asked"] for s in earlier["table"]}
    if (earlier["judge"], earlier["target"], asked) != (VERSION, target, {s.name: s.wanted for s in kinds}):
        raise SystemExit("that was another judge, another target or another study")
    for s in kinds:
        s.answers += [a for a in earlier["answers"] if a["series"] == s.name]
        s.lost += next(r["lost"] for r in earlier["table"] if r["what"] == s.name)


def placed(hardware: str, lanes: int) -> list[side_by_side.Place]:
    """Cores, and on a GPU one each, for so many lanes; 0 for as many as there are GPUs, and one on a processor."""
    gpus = side_by_side.visible_gpus() if hardware == "cuda" else []
    return list(side_by_side.places(side_by_side.own_cores(), lanes or len(gpus) or 1, gpus))


def run(kinds: list[Series], hardware: str, places: list[side_by_side.Place], seconds: float, part: int) -> list[str]:
    """Carry out what is left; the conditions that they shared."""
    until = time.monotonic() + seconds
    by_name = {s.name: s for s in kinds}
    conditions: dict[str, None] = {}

    def told(answer: dict[str, Any]) -> None:
        into = by_name[answer["series"]]
        if "lost" in answer:
            into.lost.append(answer["lost"])
            return
        kept = (CORE.sub("", c) for c in answer.pop("conditions") if c.startswith(KEPT))
        conditions.update(dict.fromkeys(kept))
        into.answers.append({**answer, "part": part})
        done = sum(len(s.answers) for s in kinds)
        if done % 25 == 0:
            print(f"{done} comparisons, {until - time.monotonic():.0f} s left", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="judge-study-") as scratch:
        opened = [side_by_side.Lane(Path(scratch) / f"lane-{p.number}", hardware, p) for p in places]
        try:
            side_by_side.run_jobs(opened, mixed(kinds), until, told)
        finally:
            for lane in opened:
                lane.end()
    return sorted(conditions)


def said(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def wanted(most: float | None) -> str:
    return "-" if most is None else f"at most {100 * most:g} %"


def markdown(study: dict[str, Any]) -> str:
    """The table for people."""
    heads = (
        "what", "comparisons", "verdicts", "wrong", "rate", "95 % upper bound", "wanted", "mean gain", "sd of the mean",
        "sd over pairs", "gain found 9 in 10", "rounds dropped", "s each", "not run", "lost",
    )  # fmt: skip
    target = study["target"]
    lines = [
        f"# How often the judge is wrong: {target['device']}\n",
        *(
            f"`{' '.join(part['command'])}`\n\n{part['at']}, {part['seconds']:.0f} s in {len(part['lanes'])} lanes,"
            f" {part['machine']}.\n"
            for part in study["parts"]
        ),
        f"Judge {study['judge']}.\n",
        f"| {' | '.join(heads)} |",
        f"|{'---|' * len(heads)}",
    ]
    for s in study["table"]:
        wrong, count = s["wrong"], s["comparisons"]
        found = said(s["gain_found_9_times_in_10"], ".2%")
        row = (
            s["what"], f"{count} of {s['asked']}", ", ".join(f"{n} {v}" for v, n in s["verdicts"].items()) or "-",
            f"{wrong['seen']} {s['wrong_is']}", said(wrong["seen"] / count if count else None, ".1%"),
            said(wrong["upper95"], ".1%"), wanted(s["most_wrong"]), said(s["mean_gain"], "+.2%"),
            said(s["sd_log_effect"], ".2%"), said(s["sd_over_pairs"], ".2%"), found,
            str(s["rounds_dropped"]), said(s["seconds_per_comparison"], ".1f"), str(s["not_run"]), str(len(s["lost"])),
        )  # fmt: skip
        lines.append(f"| {' | '.join(row)} |")
    if same := study["identical"]:
        lines += ["", f"Of {same['count']} comparisons of identical candidates {same['seen']} were called different:"]
        lines += [f"{same['share']:.1%}, at most {same['upper95']:.1%} at 95 %; wanted {wanted(same['most_wrong'])}."]
    lines += ["", "Not run:" if study["not_run"] else "Everything that was asked for was run.", ""]
    lines += [f"- {reason}" for reason in study["not_run"]] + [""] * bool(study["not_run"])
    lines += ["| lane | comparisons | wrong | mean gain of identical | s each |", "|---|---|---|---|---|"]
    for lane in (lane for part in study["parts"] for lane in part["lanes"]):
        gain, each = said(lane["mean_gain_of_identical"], "+.2%"), said(lane["seconds_per_comparison"], ".1f")
        lines.append(f"| {lane['lane']} | {lane['comparisons']} | {lane['wrong']} | {gain} | {each} |")
    lines += ["", "Conditions:", ""] + [f"- {c}" for c in study["conditions"]]
    lines += [f"- target: {json.dumps(target, sort_keys=True)}"]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run what was asked for and write both files."""
    if sys.argv[1:2] == ["--lane"]:
        side_by_side.serve(sys.argv[2], sys.argv[3])
        return 0
    if sys.argv[1:] == ["--cores"]:  # for scripts: those that share a physical one beside each other
        print(*side_by_side.own_cores())
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hardware", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--same", type=int, default=0, help="A/A comparisons: half compute-bound, half memory-bound")
    parser.add_argument("--two", type=int, default=0, help="planted 2 per cent gains")
    parser.add_argument("--five", type=int, default=0, help="planted 5 per cent gains")
    parser.add_argument("--lanes", type=int, default=0, help="independent sessions side by side, each on its own cores")
    parser.add_argument("--seconds", type=float, default=3600.0, help="when to end, whatever is left")
    parser.add_argument("--onto", help="the .json of an earlier call of the same study, which ended before it was done")
    parser.add_argument("--output", default="", help="writes OUTPUT.json and OUTPUT.md (judge-study-HARDWARE)")
    asked = parser.parse_args()
    kinds = series(asked.hardware, asked.same, asked.two, asked.five)
    earlier = json.loads(Path(asked.onto).read_text()) if asked.onto else {"parts": [], "conditions": []}
    target = detect(asked.hardware).model_dump(mode="json", exclude={"uuid"})
    if asked.onto:
        take_over(earlier, kinds, target)
    began = time.monotonic()
    places, part = placed(asked.hardware, asked.lanes), len(earlier["parts"])
    conditions = run(kinds, asked.hardware, places, asked.seconds, part)
    table = [s.record() for s in kinds]
    missing = [f"{s['not_run']} of {s['asked']} {s['what']}: time was up" for s in table if s["not_run"]]
    missing += [f"{len(s['lost'])} of {s['asked']} {s['what']}: lost: {s['lost'][0]}" for s in table if s["lost"]]
    this = {
        "command": ["judge_study.py", *sys.argv[1:]],
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": time.monotonic() - began,
        "machine": f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "lanes": by_lane(kinds, places, part),
    }
    study = {
        "parts": [*earlier["parts"], this],
        "judge": VERSION,
        "target": target,
        "conditions": sorted({*earlier["conditions"], *conditions}),
        "not_run": missing,
        "identical": together(kinds),
        "table": table,
        "answers": [a for s in kinds for a in s.answers],
    }
    output = asked.output or f"judge-study-{asked.hardware}"
    Path(f"{output}.json").write_text(json.dumps(study, indent=1) + "\n")
    Path(f"{output}.md").write_text(markdown(study))
    print(markdown(study))
    return 1 if any(s["holds"] is False for s in (*table, study["identical"] or {"holds": None})) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except WarpsmithError as error:
        sys.exit(f"{error.message} {error.remedy}")
