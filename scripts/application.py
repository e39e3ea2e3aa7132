"""A copy of an example application that is changed, built and integrated: its tree, its binary, its journal."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tomllib
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from showing import Show, Unfit


class Application:
    """A copy of an example, and what its tree and its binary are."""

    def __init__(self, show: Show, root: Path, artefact: str) -> None:
        self.show, self.root, self.artefact = show, root, artefact
        (root / ".warpsmith").mkdir(exist_ok=True)

    def change(self, *changes: tuple[str, str]) -> None:
        """``app.toml``: whole lines by how they begin, or a text by another."""
        path = self.root / "app.toml"
        text = path.read_text()
        for old, new in changes:
            pattern = re.compile(rf"^{re.escape(old)}.*$", re.M)
            if not pattern.search(text):
                raise ValueError(f"app.toml has no line {old!r}")
            text = pattern.sub(new.replace("\\", r"\\"), text, count=1)
        path.write_text(text)

    def tree(self) -> dict[str, tuple[str, int]]:
        """Every file but what builds and warpsmith write: its hash and permission bits."""
        found = {}
        for path in sorted(p for p in self.root.rglob("*") if p.is_file()):
            name = path.relative_to(self.root).as_posix()
            written = (".warpsmith/", ".git/", "target/", "build/", "build.log")
            if name != self.artefact and not name.startswith(written):
                found[name] = (sha256(path.read_bytes()).hexdigest(), path.stat().st_mode & 0o7777)
        return found

    def binary(self) -> bytes:
        """What the build made; empty where there is none."""
        path = self.root / self.artefact
        return path.read_bytes() if path.is_file() else b""

    def built_at(self) -> float:
        """When that was made, in seconds since the epoch."""
        return (self.root / self.artefact).stat().st_mtime

    def measured_at(self) -> float:
        """When the newest integration had measured, which is before it rolls back; 0 where none had."""
        return max(
            (p.stat().st_mtime for p in self.root.glob(".warpsmith/apps/*/evidence/*/optimised.json")), default=0
        )

    def integrate(self, name: str, *words: object, limit: float = 240) -> tuple[int, dict[str, Any]]:
        """The verb; the newest report goes beside the summary."""
        told = ("integrate", *words, "--app", "app.toml")
        status, answer = self.show.warpsmith(name, *told, cwd=self.root, limit=limit)
        self.keep_report(name)
        return status, answer

    def road(self, name: str, agent: str, limit: float = 240) -> tuple[int, dict[str, Any]]:
        """The whole road, with a command of one's own for a coding agent."""
        words = ("run", "app.toml", "--proposer", "agent", "--budget", "rounds=1,seconds=60")
        more = {"WARPSMITH_AGENT": agent}
        status, answer = self.show.warpsmith(name, *words, cwd=self.root, limit=limit, more=more)
        self.keep_report(name)
        return status, answer

    def keep_report(self, name: str) -> None:
        """The newest integration's report, beside the summary."""
        newest = sorted(self.root.glob(".warpsmith/apps/*/evidence/*"), key=lambda p: p.stat().st_mtime)
        for file in newest[-1].iterdir() if newest else ():
            if file.suffix in (".json", ".patch"):
                (self.show.out / name).mkdir(exist_ok=True)
                shutil.copy(file, self.show.out / name)

    def commit(self) -> None:
        """Put it under git, as applications are: agents work in worktrees."""
        if shutil.which("git") is None:
            raise Unfit("git is not here, and agents work in its worktrees")
        who = "-c user.name=show -c user.email=show@localhost"
        words = f"git init --quiet && git add . && git {who} commit --quiet -m application"
        if self.show.run("git", "sh", "-c", words, cwd=self.root).returncode:
            raise ValueError("git does not take it")

    def command(self, key: str) -> str:
        """A command of ``app.toml``, for a shell."""
        said = tomllib.loads((self.root / "app.toml").read_text())[key]
        return said if isinstance(said, str) else shlex.join(said)

    def journal(self) -> list[dict[str, Any]]:
        """The whole lines of its journal, oldest first."""
        for path in self.root.glob(".warpsmith/apps/*/journal.jsonl"):
            with suppress(FileNotFoundError):  # the next one is just being begun
                return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
        return []

    def left_open(self) -> str:
        """The phase that a work is in that did not end; empty where every one did."""
        return next((str(e["phase"]) for e in self.journal()[-1:] if e["phase"] != "closed"), "")

    def said(self, status: int, answer: dict[str, Any]) -> str:
        """An answer in a line."""
        made = answer.get("integration") or {}
        if not made:
            return f"status {status}: {answer.get('error') or answer.get('recovered')}"[:500]
        numbers = [f"{made[k]:.3f}" if made.get(k) else "-" for k in ("speedup", "low", "high")]
        return f"status {status}, {made['outcome']}, {numbers[0]}x [{numbers[1]}, {numbers[2]}]: {made['reason'][:200]}"


def apart(one: bytes, other: bytes) -> str:
    """How far two files differ."""
    differing = sum(a != b for a, b in zip(one, other, strict=False))
    return f"{differing} bytes differ" + ("" if len(one) == len(other) else f", {len(one)} and {len(other)} long")
