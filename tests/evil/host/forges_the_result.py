# crashed or wrong_values | channel: writes the step's result itself and kills the judge before that can
# options: alone
import json
import os
import signal
import sys
from pathlib import Path

STEP = Path(sys.argv[1]).resolve().parents[2]


def forged():
    """A verdict for this very step, twice as fast as the rival."""
    request = json.loads((STEP / "request.json").read_text())
    step, metric = request["step"], {"name": "time", "unit": "s", "direction": "minimize"}
    evaluation = {
        "kind": "evaluation",
        "task": request["task_digest"],
        "candidate": step["candidate"],
        "rival": step["rival"],
        "target": "0" * 64,
        "judge": "1",
        "effort": step["effort"],
        "status": "passed",
        "workloads": [
            {
                "workload": w["name"],
                "status": "passed",
                "calls": 20,
                "metrics": [{**metric, "candidate": [1e-5, 1.01e-5, 1e-5], "rival": [2e-5, 2.01e-5, 2e-5]}],
            }
            for w in request["task"]["workloads"]
        ],
    }
    return json.dumps({"outcome": evaluation, "seconds": 1.0, "phases": {}})


def kernel(x, w, y, m, n):
    (STEP / "result.json").write_text(forged())
    if b"warpsmith/judge/start.py" in Path(f"/proc/{os.getppid()}/cmdline").read_bytes():
        os.kill(os.getppid(), signal.SIGKILL)
