"""What the dispatch of a package costs: ``python -m PKG._runtime.cost PKG``, or :func:`measure`.

Batches of the kernel's own binding and of the dispatched function take turns, on the smallest shape that the table
covers here. What is timed is the caller's side: a GPU works behind it and is waited for between batches. Prints one
line of JSON.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from time import perf_counter_ns
from typing import Any

from .arrays import TORCH, allocate, extents

BATCHES, CALLS = 41, 200
INNER_NS = 2_000_000.0
"""Length of a batch, at most: a kernel on a processor is timed with its call."""


def measure(
    direct: Callable[..., Any], dispatched: Callable[..., Any], args: Sequence[Any],
    wait: Callable[[], Any] = lambda: None, batches: int = BATCHES, calls: int = CALLS,
) -> dict[str, Any]:  # fmt: skip
    """Nanoseconds that ``dispatched(*args)`` takes longer than ``direct(*args)``: median of pairs, with 95 %."""
    began = perf_counter_ns()
    for function in (direct, dispatched):
        for _ in range(3):
            function(*args)
    wait()
    each = max(1, (perf_counter_ns() - began) // 6)
    calls = max(1, min(calls, int(INNER_NS / each) or 1))

    def batch(function: Callable[..., Any]) -> float:
        start = perf_counter_ns()
        for _ in range(calls):
            function(*args)
        took = perf_counter_ns() - start
        wait()
        return took / calls

    batch(direct), batch(dispatched)
    pairs = []
    for at in range(batches):
        order = (direct, dispatched) if at % 2 else (dispatched, direct)
        times = {id(f): batch(f) for f in order}
        pairs.append((times[id(direct)], times[id(dispatched)]))
    added = sorted(after - before for before, after in pairs)
    rank = max(0, math.floor((batches - 1.96 * math.sqrt(batches)) / 2) - 1)
    return {
        "ns": statistics.median(added),
        "low_ns": added[rank],
        "high_ns": added[-1 - rank],
        "ratio": statistics.median(after / before for before, after in pairs),
        "direct_ns": statistics.median(before for before, _ in pairs),
        "batches": batches,
        "calls": calls,
    }


def of(package: Any) -> Any:
    """The added cost of a package's operation here, or why it is not known."""
    (dispatch,) = package.DISPATCH.values()
    row = dispatch.fitting()
    if row is None:
        return "not measured: no row is for a device of this machine"
    args = arguments(dispatch, row)
    if args is None:
        return "not measured: no library here makes arrays of this type"
    values = dispatch.function.complete(*args)
    if why := dispatch.covers(*values):
        return f"not measured: {why}"
    wait: Callable[[], Any] = (lambda: None) if dispatch.rows[row]["hardware"] == "cpu" else _synchronise()
    package.warm()
    found = measure(dispatch.direct_of(row), dispatch.function, values, wait)
    dispatch.reset()
    named = zip(dispatch.positional, values, strict=True)
    there = dispatch.rows[row]["hardware"]
    return {
        **found,
        "row": row,
        "hardware": there,
        "shape": {n: list(v.shape) for n, v in named if hasattr(v, "shape")},
    }


def arguments(dispatch: Any, row: int, axes: dict[str, int] | None = None) -> list[Any] | None:
    """Inputs of one shape of a row, its smallest where none is said, with outputs left to be allocated; None where
    nothing can make them.
    """
    said, table = dispatch.said, dispatch.rows[row]
    release = next(r for r in said["releases"] if r["spec"] == table["release"])
    axes = axes or min(release["axes"], key=lambda a: math.prod(max(1, v) for v in a.values()))
    values: dict[str, Any] = {**axes}
    for p in said["parameters"]:
        if p["kind"] == "input":
            shape = extents({**said, "axes_from": {}}, p["name"], values)
            values[p["name"]] = _made(shape, table["dtypes"][p["name"]], table["hardware"], said["alignment"])
            if values[p["name"]] is None:
                return None
        elif p["kind"] == "scalar":
            known = table["scalars"][p["name"]]
            values[p["name"]] = known[0] if p["dtype"] in ("f64", "f32") else int(known[0])
    return [values.get(p["name"]) for p in said["parameters"]]


def _made(shape: tuple[int, ...], dtype: str, hardware: str, alignment: int) -> Any:
    try:
        import torch
    except ImportError:
        if hardware != "cpu" or dtype == "bf16":
            return None
        said = {"outputs": {"it": {"like": "", "device_of": "one", "dtype_of": "", "dtype": dtype}}, "axes_from": {},
                "axes": [], "shapes": {"it": shape}, "alignment": alignment}  # fmt: skip
        return allocate(said, "it", {"one": 0})
    device = "cpu" if hardware == "cpu" else "cuda"
    return torch.zeros(shape, dtype=getattr(torch, TORCH[dtype]), device=device)


def _synchronise() -> Callable[[], Any]:
    import torch

    wait: Callable[[], Any] = torch.cuda.synchronize
    return wait


if __name__ == "__main__":
    sys.stdout.write(json.dumps(of(import_module(sys.argv[1]))) + "\n")
