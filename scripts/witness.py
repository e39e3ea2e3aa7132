"""A Python program under torch.profiler, without warpsmith: a second opinion on what it launches.

    python scripts/witness.py PROGRAM ARGS...

The last line is ``witness`` and a JSON list of (kernel, grid, block, elements), one for each launch.
"""

from __future__ import annotations

import json
import math
import runpy
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def witness(argv: Sequence[str]) -> int:
    """Run a Python program under torch.profiler; the last line is a JSON list of (kernel, grid, block, elements)."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    sys.argv = list(argv)
    sys.path.insert(0, str(Path(argv[0]).parent))
    status: object = 0
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], record_shapes=True) as kept:
        try:
            runpy.run_path(argv[0], run_name="__main__")
        except SystemExit as ended:
            status = ended.code or 0
        torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "trace.json"
        kept.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    sizes = {e["args"].get("External id"): elements(e["args"]) for e in events if e.get("cat") == "cpu_op"}
    rows = [
        (e["name"], e["args"]["grid"], e["args"]["block"], sizes.get(e["args"].get("External id")))
        for e in events
        if e.get("cat") == "kernel"
    ]
    print(f"witness {json.dumps(rows)}")
    return 0 if status == 0 else 1


def elements(arguments: dict[str, Any]) -> int | None:
    """How many elements an operation on these inputs gives, all broadcast; None where that is not told."""
    dims = [d for d in arguments.get("Input Dims", ()) if d and all(isinstance(n, int) for n in d)]
    if not dims:
        return None
    rank = max(map(len, dims))
    padded = [[1] * (rank - len(d)) + d for d in dims]
    return int(math.prod(max(column) for column in zip(*padded, strict=True)))


if __name__ == "__main__":
    sys.exit(witness(sys.argv[1:]))
