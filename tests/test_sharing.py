"""How tests are shared out over processes: what measures stays in one, whatever pytest and xdist make of groups."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILE = "tests/judge/test_deadline.py"


def test_what_measures_runs_in_one_process() -> None:
    asked = [sys.executable, "-m", "pytest", "-vv", "-n", "2", "-p", "no:cacheprovider", "-m", "not slow", FILE]
    ran = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    ended = re.findall(rf"\[(gw\d)\] .* PASSED {FILE}", ran.stdout)
    assert len(ended) > 2, ran.stdout + ran.stderr
    assert len(set(ended)) == 1
