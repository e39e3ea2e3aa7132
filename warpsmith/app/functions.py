"""Observation of a Python function during a real run: shapes, dtypes and strides of its arguments, how often, how long.

The program is not touched: a ``sitecustomize`` on PYTHONPATH wraps the function when its module is imported. Calls that
did not return are no workload, and are counted apart.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import IO, Any

from warpsmith.app.running import App, Ended, binaries, run
from warpsmith.errors import BadInput
from warpsmith.model.observed import SUFFIX, CallSeen, FunctionObservation, RunFacts
from warpsmith.store.files import write_atomic

WATCHING = Path(__file__).parent / "watching"
WATCH = "WARPSMITH_WATCH"
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@dataclass
class Calls:
    """Calls with the same arguments."""

    arguments: dict[str, str]
    began: int = 0
    raised: int = 0
    seconds: list[float] = field(default_factory=list)
    results: Counter[str] = field(default_factory=Counter)


@dataclass
class Noted:
    """What the files of a run say."""

    calls: list[Calls] = field(default_factory=list)
    processes: int = 0
    wrapped: int = 0
    troubles: list[str] = field(default_factory=list)


def observe(app: App, function: str, limit_s: float | None, output: int | IO[bytes] | None) -> FunctionObservation:
    """Run the program and note the calls of ``module:function``. Raises BadInput for a name that cannot be one."""
    if not _FUNCTION.fullmatch(function):
        raise BadInput(
            f"{function!r} names no function.", "Write module:function, such as package.module:Class.method."
        )
    with tempfile.TemporaryDirectory(prefix="warpsmith-observe-") as folder:
        before = app.environment.get("PYTHONPATH", "")
        variables = {
            **app.environment,
            "PYTHONPATH": f"{WATCHING}:{before}" if before else str(WATCHING),
            WATCH: f"{function}@{folder}",
        }
        began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        ended = run(app, variables, limit_s=limit_s, stdout=output)
        noted = read_notes(Path(folder))
    return _observation(app, function, began, ended, noted)


def keep(found: FunctionObservation, folder: Path) -> Path:
    """Write ``module.function.observed.json``."""
    path = folder / f"{found.function.replace(':', '.')}{SUFFIX}"
    write_atomic(path, found.model_dump_json(indent=1) + "\n")
    return path


def read_notes(folder: Path) -> Noted:
    """All that the processes of a run noted; a line that breaks off is left out."""
    noted = Noted()
    same: dict[str, Calls] = {}
    for path in sorted(folder.glob("*.calls")):
        noted.processes += 1
        texts: dict[int, str] = {}
        for line in _lines(path):
            if "k" in line:
                texts[line["k"]] = line["text"]
                if line["kind"] == "arguments":
                    same.setdefault(line["text"], Calls(json.loads(line["text"])))
            elif "b" in line:
                same[texts[line["b"]]].began += 1
            elif "x" in line:
                same[texts[line["x"]]].raised += 1
            elif "e" in line:
                calls = same[texts[line["e"]]]
                calls.seconds.append(line["ns"] / 1e9)
                calls.results[texts[line["r"]]] += 1
            elif "wrapped" in line:
                noted.wrapped += 1
            elif "trouble" in line:
                noted.troubles.append(line["trouble"])
    noted.calls = list(same.values())
    return noted


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for text in path.read_text(errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            yield line


def _observation(app: App, function: str, began: str, ended: Ended, noted: Noted) -> FunctionObservation:
    whole = sum(sum(c.seconds) for c in noted.calls)
    unfinished = sum(c.began - len(c.seconds) for c in noted.calls)
    said = list(dict.fromkeys(noted.troubles))
    if not noted.processes:
        said.append("no Python process took the watch: is the program Python, and not started with -I, -E or -S?")
    elif not noted.wrapped and not said:
        said.append(f"the module {function.partition(':')[0]} was never imported")
    if unfinished:
        said.append(f"{unfinished} calls did not return, and are no workload")
    if ended.status is None:
        said.append(f"ended by us after {ended.seconds:.1f} s")
    elif ended.status:
        said.append(f"the application ended with status {ended.status}")
    seen = [
        CallSeen(
            arguments=c.arguments,
            results=c.results.most_common(1)[0][0] if c.results else "",
            calls=len(c.seconds),
            unfinished=c.began - len(c.seconds),
            seconds=sum(c.seconds),
            p50_s=median(c.seconds),
            share=min(1.0, sum(c.seconds) / whole) if whole else 0.0,
        )
        for c in noted.calls
        if c.seconds
    ]
    facts = RunFacts(
        command=app.argv, folder=str(app.folder), at=began, source="python", status=ended.status,
        seconds=ended.seconds, binaries=binaries(app, []), processes=noted.processes,
        launches=sum(c.calls for c in seen), conditions=tuple(said),
    )  # fmt: skip
    return FunctionObservation(
        run=facts, function=function, calls=tuple(sorted(seen, key=lambda c: (-c.seconds, str(c.arguments))))
    )
