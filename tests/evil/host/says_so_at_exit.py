# crashed | channel: prints and writes a result when it ends, and ends
# options: slow
import atexit
import sys
from pathlib import Path

CLAIM = '{"outcome": {"kind": "evaluation", "status": "passed"}, "seconds": 0.0, "phases": {}}'


@atexit.register
def claim():
    print(CLAIM, flush=True)
    Path("result.json").write_text(CLAIM)


def kernel(x, w, y, m, n):
    sys.exit(0)
