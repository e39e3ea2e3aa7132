"""What the show-* scripts have in common: parts that can be chosen, claims that are right or not, and one summary.json.

    python scripts/showing.py RESULT.json SUMMARY.json... [--why 'CLAIM=SENTENCE']...

puts the summaries of one script into one, beside its page RESULT.md; ``--why`` says why a claim is wrong.

A claim is one line of what is to be shown, with the value that was found and the one that was wanted. What was not run
is listed as not shown; the exit status is 0 only where at least one claim was made and every one of them is right.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
APPS = ROOT / "examples" / "apps"
GRACE_S = 5
PLACES = re.compile(r"(?<![\w.…])/(?:tmp|work|root|home|var|mnt)/[^\s'\"`,;:()\[\]]*")
"""Where files lie on one machine is nobody else's business."""


class Unfit(Exception):
    """This machine cannot show it; nothing more is tried."""


class Show:
    """One run of a script."""

    def __init__(self, about: str, parts: Iterable[str], out: str, argv: Sequence[str] | None = None) -> None:
        parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
        self.parts = tuple(parts)
        parser.add_argument(
            "--only", action="append", default=[], choices=self.parts, help="a part; several may be given"
        )
        parser.add_argument("--dry-run", action="store_true", help="what can be done without a GPU")
        told = parser.parse_args(argv)
        self.dry: bool = told.dry_run
        words = sys.argv[1:] if argv is None else argv
        self.command = " ".join((f"scripts/{Path(sys.argv[0]).name}", *words))
        self.chosen = tuple(p for p in self.parts if p in told.only) or self.parts
        self.out = Path(os.environ.get("OUT", out)).absolute()
        self.out.mkdir(parents=True, exist_ok=True)
        self.python = os.environ.get("PYTHON", sys.executable)
        self.arch = os.environ.get("CUDA_ARCH", "sm_90" if self.dry else "native")
        self.claims: list[dict[str, Any]] = []
        self.steps: list[dict[str, Any]] = []
        self.seconds: dict[str, float] = {}
        self.part = ""
        if Path("/usr/local/cuda/bin").is_dir():
            os.environ["PATH"] += ":/usr/local/cuda/bin"
        os.environ["PYTHONPATH"] = os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH", "")) if p)
        self.work = Path(tempfile.mkdtemp(prefix="warpsmith-show-"))

    # ---- what is claimed

    def claim(self, app: str, claim: str, value: object, wanted: object, right: bool) -> bool:
        """Keep one record, and say it."""
        self.claims.append(
            {"part": self.part, "app": app, "claim": claim, "value": value, "wanted": wanted, "right": bool(right)}
        )
        print(f"[{'right' if right else 'WRONG'}] {app}: {claim}: {value} (wanted: {wanted})", flush=True)
        return bool(right)

    # ---- what is run

    def run(
        self, name: str, *argv: object, cwd: Path | None = None, limit: float = 120, more: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """One command to its end, its output kept as NAME.out and NAME.err; status 124 where it took too long."""
        words = [str(a) for a in argv]
        variables = {**os.environ, **(more or {})}
        began = time.monotonic()
        with open(self.out / f"{name}.out", "w+b") as out, open(self.out / f"{name}.err", "w+b") as err:
            process = subprocess.Popen(
                words, cwd=cwd or self.work, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=variables
            )
            try:
                status = process.wait(limit)
            except subprocess.TimeoutExpired:
                process.terminate()
                try:
                    process.wait(GRACE_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                status = 124
            out.seek(0)
            err.seek(0)
            ran = subprocess.CompletedProcess(
                words, status, out.read().decode(errors="replace"), err.read().decode(errors="replace")
            )
        took = round(time.monotonic() - began, 1)
        self.steps.append({"part": self.part, "name": name, "status": status, "seconds": took})
        print(f"-- {name} ended with {status} after {took} s", flush=True)
        return ran

    def warpsmith(
        self,
        name: str,
        *argv: object,
        app: Sequence[object] = (),
        cwd: Path | None = None,
        limit: float = 120,
        more: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """A verb, and its answer as JSON; ``app`` goes behind --. An answer that cannot be read is an error's."""
        words = [*argv, "--json", *(("--", *app) if app else ())]
        ran = self.run(name, self.python, "-P", "-m", "warpsmith.surface.cli", *words, cwd=cwd, limit=limit, more=more)
        try:
            answer = json.loads(ran.stdout)
        except ValueError:
            answer = {"error": (ran.stdout + ran.stderr)[-800:]}
        if "error" in answer:
            print(f"   {answer['error'][:600]}", flush=True)
        return ran.returncode, answer

    def built(self, name: str, source: Path, *flags: str) -> Path:
        """A CUDA program of one file. Raises Unfit where it does not build."""
        nvcc = shutil.which("nvcc")
        if nvcc is None:
            raise Unfit("nvcc is not here")
        made = self.work / name
        ran = self.run(
            f"build-{name}", nvcc, "-O2", "-std=c++17", f"-arch={self.arch}", *flags, "-o", made, source, limit=180
        )
        if ran.returncode:
            raise Unfit(f"{source} does not build: {ran.stderr[-800:]}")
        return made

    def probed(self, *wanted: str) -> None:
        """What this machine can do: ``observe``, ``trial``. Raises Unfit where something wanted does not work here."""
        code = (
            "import json,sys;from pathlib import Path;from warpsmith.app.probe import probe;p=probe(Path(sys.argv[1]));"
            "print(json.dumps({'observe': [p.watch, p.watch_said], 'trial': [p.swap, p.swap_said]}))"
        )
        ran = self.run("probe", self.python, "-P", "-c", code, self.work / ".warpsmith" / "cache", limit=120)
        if ran.returncode:
            raise Unfit(f"the probe failed: {ran.stderr[-800:]}")
        found = json.loads(ran.stdout)
        print(f"   {found}", flush=True)
        lacking = [f"{w}: {found[w][1]}" for w in wanted if not found[w][0]]
        if lacking:
            raise Unfit("; ".join(lacking))

    # ---- the course

    def go(self, bodies: dict[str, Callable[[], None]], prepare: Callable[[], None], dry: Callable[[], None]) -> int:
        """Prepare, carry out the chosen parts, or ``dry`` alone, and write the summary; returns the exit status."""
        unfit = ""
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        try:
            self._timed("prepare", prepare)
            for part, body in {"dry": dry}.items() if self.dry else [(p, bodies[p]) for p in self.chosen]:
                self._timed(part, body)
        except Unfit as error:
            unfit = str(error)
            print(f"this machine cannot show it: {unfit}", flush=True)
        finally:
            shutil.rmtree(self.work, ignore_errors=True)
        return self._finish(unfit)

    def _timed(self, part: str, body: Callable[[], None]) -> None:
        self.part = part
        print(f"\n== {part}", flush=True)
        began = time.monotonic()
        try:
            body()
        except (KeyError, TypeError, IndexError, ValueError, OSError, StopIteration) as error:
            traceback.print_exc()
            self.claim("-", f"the part {part} comes to its end", repr(error)[:400], "no error", False)
        except SystemExit:  # a caller's time limit
            self.claim("-", f"the part {part} comes to its end", "ended from outside", "no end from outside", False)
            raise
        finally:
            self.seconds[part] = round(time.monotonic() - began, 1)
            print(f"== {part}: {self.seconds[part]} s", flush=True)
            self._write("")

    def _write(self, unfit: str) -> list[str]:
        """The summary as it is now; returns the parts that were not shown."""
        left = [p for p in self.parts if p not in self.seconds]
        summary = {
            "command": self.command,
            "at": time.strftime("%Y-%m-%d", time.gmtime()),
            "machine": f"{platform.system()} on {platform.machine()}, {len(os.sched_getaffinity(0))} processors",
            "gpu": _said("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"),
            "visible": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
            "nvcc": _said("nvcc", "--version")[-1:],
            "dry_run": self.dry,
            "parts": self.seconds,
            "not_shown": left,
            "unfit": unfit,
            "claims": self.claims,
            "steps": self.steps,
        }
        write(self.out / "summary.json", without_places(summary))
        return left

    def _finish(self, unfit: str) -> int:
        left, wrong = self._write(unfit), [c for c in self.claims if not c["right"]]
        print(f"\n{len(self.claims)} claims, {len(wrong)} wrong; parts: {self.seconds}; not shown: {left or 'nothing'}")
        for one in wrong:
            print(f"  WRONG {one['app']}: {one['claim']}: {one['value']} (wanted: {one['wanted']})")
        print(self.out / "summary.json", flush=True)
        return 0 if self.claims and not wrong and not unfit else 1


def copied(source: Path, to: Path) -> Path:
    """An example application, without what builds made."""
    left = shutil.ignore_patterns("target", "build", ".warpsmith", "*.a", "__pycache__")
    return Path(shutil.copytree(source, to, ignore=left))


def _said(*argv: str) -> list[str]:
    if shutil.which(argv[0]) is None:
        return []
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip().splitlines()


# ---- what becomes of a summary


def without_places(value: Any) -> Any:
    """The same with this machine's folders left out of every text: what remains is ``…/NAME``."""
    if isinstance(value, str):
        return PLACES.sub(lambda found: f"…/{found[0].rstrip('/').rpartition('/')[2]}", value)
    if isinstance(value, Mapping):
        return {k: without_places(v) for k, v in value.items()}
    return [without_places(v) for v in value] if isinstance(value, list | tuple) else value


def write(path: Path, summary: Mapping[str, Any]) -> None:
    """The summary, and its page beside it."""
    path.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    path.with_suffix(".md").write_text(page(summary))


def page(summary: Mapping[str, Any]) -> str:
    """A summary for people: what was run where, every claim, and why wrong ones are wrong where that is known."""
    claims, gpus = summary["claims"], Counter(summary["gpu"])
    wrong = [c for c in claims if not c["right"]]
    devices = ", ".join(f"{count} x {name}" if count > 1 else name for name, count in gpus.items())
    nvcc = "".join(f"; nvcc: {n}" for n in summary["nvcc"])
    took = ", ".join(f"{part} {seconds:g}" for part, seconds in summary["parts"].items())
    lines = [
        f"# What `{summary['command'].split()[0]}` showed{' without a GPU' if summary['dry_run'] else ''}",
        "",
        f"{summary['at']}: `{summary['command']}`",
        "",
        f"On {f'{devices} (driver)' if devices else 'no GPU'}; {summary['machine']}{nvcc}. Seconds: {took}.",
        "",
        f"{len(claims)} claims, {len(wrong)} wrong. Not shown here: {', '.join(summary['not_shown']) or 'nothing'}."
        + (f" This machine cannot show it: {summary['unfit']}." if summary["unfit"] else ""),
        "",
        "| part | of | claim | found | wanted | right |",
        "|---|---|---|---|---|---|",
    ]
    for one in claims:
        row = (one["part"], one["app"], one["claim"], _text(one["value"]), _text(one["wanted"]))
        lines.append(f"| {' | '.join(map(_cell, row))} | {'yes' if one['right'] else '**no**'} |")
    if reasons := [f"- {c['app']}, {c['claim']}: {c['why']}" for c in wrong if c.get("why")]:
        lines += ["", "Wrong, and why:", "", *reasons]
    return "\n".join(lines) + "\n"


def merged(summaries: Sequence[Mapping[str, Any]], why: Mapping[str, str]) -> dict[str, Any]:
    """Several runs of one script as one. ``why``: the beginning of a claim, and why it is wrong. Raises ValueError
    where such a claim is not there, or not wrong.
    """
    whole = {**summaries[0], "parts": {}, "claims": [], "steps": []}
    for key in ("command", "machine"):
        whole[key] = "; ".join(dict.fromkeys(s[key] for s in summaries))
    for one in summaries:
        whole["parts"].update({p: s for p, s in one["parts"].items() if p != "prepare" or p not in whole["parts"]})
        whole["claims"] += [dict(c) for c in one["claims"]]
        whole["steps"] += one["steps"]
    shown = set(whole["parts"])
    whole["not_shown"] = sorted({p for s in summaries for p in s["not_shown"]} - shown)
    for begin, reason in why.items():
        meant = [c for c in whole["claims"] if not c["right"] and c["claim"].startswith(begin)]
        if not meant:
            raise ValueError(f"no wrong claim begins with {begin!r}")
        for one in meant:
            one["why"] = reason
    return whole


def middle(values: Sequence[float]) -> tuple[float, float, float]:
    """The median of at least six values, and an interval that holds it in 95 of 100 cases whatever their distribution:
    the order statistics that the binomial distribution names.
    """
    ordered, n = sorted(values), len(values)
    if n < 6:
        raise ValueError("six values at least")
    left, below = 0.0, 0
    while left + math.comb(n, below) / 2**n <= 0.025:
        left += math.comb(n, below) / 2**n
        below += 1
    return median(ordered), ordered[below - 1], ordered[n - below]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> int:
    """One result of several summaries."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("summaries", type=Path, nargs="+")
    parser.add_argument("--why", action="append", default=[], help="CLAIM=SENTENCE")
    told = parser.parse_args()
    summaries = [json.loads(p.read_text()) for p in told.summaries]
    write(told.result, without_places(merged(summaries, dict(w.split("=", 1) for w in told.why))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
