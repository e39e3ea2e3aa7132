"""``kill -9`` of integrations at random moments, and the state that the application is in after the next command."""

from __future__ import annotations

import random
import signal
import subprocess
import time

from application import Application, apart
from showing import Show


class Killing:
    """``kill -9`` of integrations of one application, and what each ended in."""

    def __init__(self, show: Show, made: Application, candidate: str) -> None:
        self.show, self.made, self.candidate = show, made, candidate
        self.source, self.build = made.root / made.command("source"), made.command("build")
        self.plain = self.source.read_text()
        self.ends, self.wrong = {"as it was": 0, "kept": 0, "neither": 0}, list[str]()
        self.interrupted = self.tried = 0
        self.whole = self.again = 0.0
        """Seconds for which an integration's journal is open, and those of them that it builds what is built."""

    def prepare(self) -> None:
        """Learn both states, and how long it takes from one to the other."""
        made = self.made
        for name in ("kills-build", "kills-build-again"):
            began = time.monotonic()
            ran = self.show.run(name, "sh", "-c", self.build, cwd=made.root, limit=300)
            self.again = time.monotonic() - began
            if ran.returncode:
                raise ValueError("it does not build")
        self.original = (made.tree(), made.binary())
        if self._integrate(None):
            raise ValueError("the candidate is not kept")
        self.whole = self._lasted()
        self.kept = (made.tree(), made.binary())
        if self.kept[0] == self.original[0] or self.kept[1] == self.original[1]:
            raise ValueError("the candidate does not change both source and binary")

    def go(self, wanted: int, draw: random.Random) -> None:
        """Until so many were interrupted: each at a random moment of its own part of the time that it takes, so that
        no phase is left to luck.
        """
        left = list(range(wanted))
        draw.shuffle(left)
        while left and self.tried < 3 * wanted:
            if self._once((left[-1] + draw.random()) / wanted):
                left.pop()

    def _once(self, share: float) -> bool:
        """One kill; returns whether it interrupted an integration."""
        made = self.made
        builds = self._reset() or not any(made.root.glob(".warpsmith/apps/*/built.json"))
        window = self.whole - (0 if builds else self.again)
        self._integrate(share * window)
        phase = made.left_open()
        if not phase:  # it was faster than the first one
            self.whole = self._lasted() + (0 if builds else self.again)
        status, answer = made.integrate("kills-recover", "--recover")
        now = (made.tree(), made.binary())
        state = "as it was" if now == self.original else "kept" if now == self.kept else "neither"
        if status or made.left_open():
            state = "neither"
        self.tried += 1  # counted once it is known how it ended
        self.interrupted += bool(phase)
        self.ends[state] += 1
        when = f"kill {self.tried} after {share * window:.2f} of {window:.2f} s, {phase or 'at its end'}"
        print(f"   {when}: {state}; {self.interrupted} interrupted", flush=True)
        if state == "neither":
            tree = "as it was" if now[0] == self.original[0] else "kept" if now[0] == self.kept[0] else "another"
            known = self.kept if tree == "kept" else self.original
            self.wrong.append(f"{when}: tree {tree}, {apart(known[1], now[1])}, {made.said(status, answer)}")
            print(f"   {self.wrong[-1]}", flush=True)
        return bool(phase)

    def claim(self, app: str, wanted: int, check: int | None) -> None:
        """What is known, also where not all was done. ``check``: the status of the application's own one afterwards."""
        last = "not run" if check is None else check
        said = f"{self.interrupted} interrupted of {self.tried}: {self.ends}; check {last}"
        right = self.interrupted == wanted and self.ends["neither"] == 0 and self.ends["as it was"] > 0 and check == 0
        claim = f"kill -9 at random moments of {self.whole:.1f} s, then integrate --recover"
        goal = f"{wanted} interrupted, each in one of the two states, tree and binary; check 0"
        self.show.claim(app, claim, "; ".join((said, *self.wrong)), goal, right)

    def _reset(self) -> bool:
        """The application as it was, built; returns whether that had to be done."""
        if self.source.read_text() == self.plain:
            return False
        self.source.write_text(self.plain)
        if subprocess.run(("sh", "-c", self.build), cwd=self.made.root, check=False).returncode:
            raise ValueError("it does not build any more")
        return True

    def _integrate(self, after_s: float | None) -> int:
        """An integration, killed so long after its journal says that it began, or left alone; returns its status."""
        words = ("integrate", self.candidate, "--app", "app.toml")
        argv = (self.show.python, "-P", "-m", "warpsmith.surface.cli", *words)
        before = [e["work"] for e in self.made.journal()[:1]]
        with open(self.show.out / "kills.log", "ab") as log:
            running = subprocess.Popen(argv, cwd=self.made.root, stdout=log, stderr=log)
            try:
                while [e["work"] for e in self.made.journal()[:1]] in ([], before) and running.poll() is None:
                    time.sleep(0.005)
                if after_s is not None:
                    time.sleep(after_s)
                    running.send_signal(signal.SIGKILL)
                return running.wait()
            finally:  # where this script is ended meanwhile
                running.kill()
                running.wait()

    def _lasted(self) -> float:
        """How long the journal of the last integration, which came to its end, was open."""
        entries = self.made.journal()
        return float(entries[-1]["at"] - entries[0]["at"])
