"""What tests of agents share: a project under git with a task that is easily made faster, and a stub agent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.projects import calibrate, shrink
from warpsmith.surface.stamp import stamp
from warpsmith.surface.workspace import Workspace

STUB = Path(__file__).parent / "stub_agent.py"
TASK = "my/axpy"
SLOW = """#include <stdint.h>
/* the %s */
void kernel(const float *x, const float *y0, float *y, int64_t n, float alpha)
{
    for (int64_t i = 0; i < n; i++) {
        volatile float kept = 0;
        for (int again = 0; again < 24; again++)
            kept = alpha * x[i] + y0[i];
        y[i] = kept;
    }
}
"""
KEYS = {"ANTHROPIC_API_KEY": "sk-ant-secret-1234567890", "OPENAI_API_KEY": "sk-oai-secret-0987654321"}


def agent(mode: str) -> str:
    """The stub as a command template."""
    return f"{sys.executable} {STUB} {mode} {{mcp_config}}"


def git(folder: Path, *words: str) -> str:
    quiet = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "init.defaultBranch=main"]
    return subprocess.run([*quiet, *words], cwd=folder, capture_output=True, text=True, check=True).stdout


def repository(root: Path, task: str = TASK) -> Path:
    """A committed project whose task has a slow baseline and a slow entry."""
    root.mkdir(parents=True, exist_ok=True)
    stamp(root / "tasks", task, "kernel", "cpu")
    shrink(root, task)
    folder = root / "tasks" / task
    for place in ("baseline", "src"):  # the same but for a comment: equal binaries share a verdict
        (folder / place / "kernel.c").write_text(SLOW % place)
        (folder / place / "candidate.toml").write_text(
            'toolchain = "c"\nsources = ["kernel.c"]\nentry = "kernel"\nmemo = "slow"\n'
        )
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "tasks")
    return root


def measured(root: Path, **settings: object) -> Workspace:
    """The same, on a machine that counts as calibrated."""
    repository(root)
    calibrate(root)
    return Workspace(root, settings)


def tree(root: Path) -> dict[str, str]:
    """Every file of a project with its content, but for git's own and warpsmith's home."""
    return {
        str(p.relative_to(root)): p.read_bytes().hex()
        for p in sorted(root.rglob("*"))
        if p.is_file() and not {".git", ".warpsmith"} & set(p.relative_to(root).parts)
    }


def environment(**more: str) -> dict[str, str]:
    """This process's, with keys that must not get anywhere."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WARPSMITH_")}
    return {**kept, **KEYS, "NO_COLOR": "1", **more}
