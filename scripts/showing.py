"""What the show-* scripts have in common: parts that can be chosen, claims that are right or not, and one summary.json.

A claim is one line of what is to be shown, with the value that was found and the one that was wanted. What was not run
is listed as not shown; the exit status is 0 only where at least one claim was made and every one of them is right.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
APPS = ROOT / "examples" / "apps"
GRACE_S = 5
PROBE = """
import json, sys
from pathlib import Path
from warpsmith.app.probe import probe
found = probe(Path(sys.argv[1]))
print(json.dumps({"observe": [found.watch, found.watch_said], "trial": [found.swap, found.swap_said]}))
"""


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
        )
        code += "print(json.dumps({'observe': [p.watch, p.watch_said], 'trial': [p.swap, p.swap_said]}))"
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
        gpu = _said("nvidia-smi", "--query-gpu=name,driver_version,uuid", "--format=csv,noheader")
        summary = {
            "machine": platform.platform(),
            "gpu": gpu,
            "visible": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
            "nvcc": _said("nvcc", "--version")[-1:],
            "dry_run": self.dry,
            "parts": self.seconds,
            "not_shown": left,
            "unfit": unfit,
            "claims": self.claims,
            "steps": self.steps,
        }
        (self.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
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
