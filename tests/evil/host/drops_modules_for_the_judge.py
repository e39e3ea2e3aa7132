# passed-not-faster or wrong_values or crashed | channel: leaves modules in the judge's working folder
# options: alone
import contextlib
import os
import sys
from pathlib import Path

for folder in (f"/proc/{os.getppid()}/cwd", *Path(sys.argv[1]).resolve().parents[:6]):
    with contextlib.suppress(OSError):
        Path(folder, "evil_torch.py").write_text("raise SystemExit('the module of another was imported')\n")


def kernel(x, w, y, m, n):
    y[...] = x * w + (x * x).mean(axis=1, keepdims=True)
