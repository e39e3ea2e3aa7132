"""The shortest way to time a candidate by hand, through the same judge: python benchmark.py [CANDIDATE]."""

import sys
from pathlib import Path

from warpsmith.surface import api
from warpsmith.surface.render import show

if __name__ == "__main__":
    answer = api.bench(str(Path(__file__).parent), *(sys.argv[1:] or ["entry"]))
    show(answer)
    sys.exit(answer.exit_status)
