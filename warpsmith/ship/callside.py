"""A program: an exported package installed over a function that calls the baseline, both called in turns, and timed.

Started by :mod:`warpsmith.ship.export.arrival`, which writes what is asked for to its input; prints a line of JSON. It
imports torch where that is installed, as whoever calls the package does.
"""

from __future__ import annotations

import ctypes
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from warpsmith.ship.installed import PAIRS, Through, measure

WRONG = 3
"""Exit status where the installed package computes something else."""
MOST_APART = 0.02
"""Relative RMS between both sides' outputs: a sanity check, the release was verified."""
COLD_CALLS, ROW_S, CHUNKS, MOST_SETS = 50, 0.03, 5, 64
"""Calls of one cold clock; seconds that a row of calls lasts about, and its parts; sets of tensors at most."""
PROCESSOR_BYTES = 64 << 20
"""What overflows a processor's caches, nearly."""
Function = Callable[..., Any]


class Stamps:
    """The judge's own stamps around each call, caches evicted by reads before it, as on the bench."""

    def __init__(self, cubin: bytes) -> None:
        import torch
        from cuda.bindings import driver

        def ask(found: tuple[Any, ...]) -> Any:
            if int(found[0]):
                raise RuntimeError(str(found[0]))
            return found[1] if len(found) > 1 else None

        self.torch, self.driver, self.ask = torch, driver, ask
        self.module = ask(driver.cuModuleLoadData(cubin))
        self.function = ask(driver.cuModuleGetFunction(self.module, b"stamp"))
        host = int(ask(driver.cuMemHostAlloc(16 * COLD_CALLS, driver.CU_MEMHOSTALLOC_DEVICEMAP)))
        address = int(ask(driver.cuMemHostGetDevicePointer(host, 0)))
        self.words = (ctypes.c_uint64 * (2 * COLD_CALLS)).from_address(host)
        self.slots = [ctypes.c_uint64(address + 8 * at) for at in range(2 * COLD_CALLS)]
        self.key = ctypes.c_uint64(0)
        self.packed = [(ctypes.c_void_p * 2)(*map(ctypes.addressof, (slot, self.key))) for slot in self.slots]
        self.parameters = [ctypes.addressof(pack) for pack in self.packed]
        size = torch.cuda.get_device_properties(0).L2_cache_size
        self.flush = torch.zeros(max(size, 16 << 20) // 2, device="cuda")
        self.off = 0.0
        self.off = min(self.seconds(lambda at: None) for _ in range(5))

    def seconds(self, call: Callable[[int], Any]) -> float:
        """The median of the calls; ``call`` is given their number. What two stamps alone are apart is taken off."""
        stream = self.torch.cuda.current_stream().cuda_stream
        for at in range(COLD_CALLS):
            self.flush.sum(), self.flush.sum()  # long enough that the whole call is enqueued before it begins
            self._stamp(2 * at, stream)
            call(at)
            self._stamp(2 * at + 1, stream)
        self.torch.cuda.synchronize()
        apart = [self.words[2 * at + 1] - self.words[2 * at] for at in range(COLD_CALLS)]
        return statistics.median(apart) / 1e9 - self.off

    def _stamp(self, at: int, stream: int) -> None:
        self.ask(self.driver.cuLaunchKernel(self.function, 1, 1, 1, 1, 1, 1, 0, stream, self.parameters[at], 0))


class Workload:
    """Tensors of one workload, in so many sets that they overflow the caches."""

    def __init__(self, dispatch: Any, cost: Any, row: int, said: dict[str, Any]) -> None:
        self.name, self.gpu = said["name"], dispatch.rows[row]["hardware"] != "cpu"
        self.wait: Callable[[], Any] = (lambda: None) if not self.gpu else import_module("torch").cuda.synchronize
        self.sets = [self._made(dispatch, cost, row, said)]
        size = sum(v.nbytes for v in self.sets[0] if hasattr(v, "nbytes"))
        enough = 3 * (import_module("torch").cuda.get_device_properties(0).L2_cache_size if self.gpu else 0)
        more = max(enough, PROCESSOR_BYTES) // max(1, size) + 1
        self.sets += [self._made(dispatch, cost, row, said) for _ in range(min(more, MOST_SETS))]
        self.calls = max(CHUNKS, min(2000, int(ROW_S / said["seconds"])) // CHUNKS * CHUNKS)

    @staticmethod
    def _made(dispatch: Any, cost: Any, row: int, said: dict[str, Any]) -> list[Any]:
        """Inputs that are random, indices zero; outputs left out, so that the caller's side allocates them."""
        values = cost.arguments(dispatch, row, {**said["axes"]})
        if values is None:
            raise RuntimeError("no library here makes arrays of this type")
        for at, p in enumerate(dispatch.parameters):
            value = values[at]
            if p["kind"] == "scalar" and p["name"] in said["scalars"]:
                values[at] = type(value)(said["scalars"][p["name"]])
            elif hasattr(value, "is_floating_point"):
                value.normal_() if value.is_floating_point() else value.zero_()
            elif hasattr(value, "nbytes"):
                import numpy

                floats = value.dtype.kind == "f"
                value[...] = numpy.random.default_rng().standard_normal(value.shape) if floats else 0
        return list(values)

    def row(self, function: Function) -> float:
        """Seconds per call of a long row with one wait at its end; of its parts the quickest on a processor."""
        sets, several = self.sets, range(self.calls if self.gpu else self.calls // CHUNKS)
        found = []
        for _ in range(1 if self.gpu else CHUNKS):
            self.wait()
            began = time.perf_counter()
            for at in several:
                function(*sets[at % len(sets)])
            self.wait()
            found.append((time.perf_counter() - began) / len(several))
        return min(found)


def framework(name: str, dispatch: Any, arrays: Any) -> ModuleType:
    """A module whose only function calls the baseline's binding: parameters as the operation has them."""
    parameters, allocated = [], []
    values = ", ".join(f"{p['name']!r}: {p['name']}" for p in dispatch.parameters)
    for p in dispatch.parameters:
        default = "None" if p["kind"] == "output" else p["default"]
        parameters.append(p["name"] if default is None else f"{p['name']}={default}")
        if p["kind"] == "output":
            fresh = f"_allocate(_said, {p['name']!r}, {{{values}}})"
            allocated += [f"    if {p['name']} is None:", f"        {p['name']} = {fresh}"]
    outputs = ", ".join(p["name"] for p in dispatch.parameters if p["kind"] == "output")
    text = [f"def {name}({', '.join(parameters)}):", *allocated, f"    _direct({', '.join(dispatch.positional)})"]
    module = ModuleType(f"{name}_framework")
    vars(module).update(_allocate=arrays.allocate, _said=dispatch.said, _direct=dispatch.direct_of(0))
    exec("\n".join([*text, f"    return {outputs}"]), vars(module))
    sys.modules[module.__name__] = module
    return module


def apart(a: Any, b: Any) -> float:
    """Relative RMS between two sides' outputs, of all outputs together; NaN where one has one."""
    pairs = zip(a, b, strict=True) if isinstance(a, tuple) else ((a, b),)
    return sum(_apart(x, y) for x, y in pairs)


def _apart(a: Any, b: Any) -> float:
    double = [v.double() if hasattr(v, "double") else v.astype("float64") for v in (a, b)]
    wrong, right = ((double[1] - double[0]) ** 2).sum(), (double[0] ** 2).sum()
    return float((wrong / right) ** 0.5) if right > 0 else float(wrong > 0)


def through(
    one: Workload,
    stamps: Stamps | None,
    sides: dict[str, Function],
    dispatch: Any,
    said: dict[str, Any],
    speedup: float,
) -> list[Through]:
    """One workload in every way of timing. ``sides``: original, direct, and installed; ``speedup``: on the bench."""
    for function in sides.values():  # the first calls load kernels and fill the allocator
        one.row(function)
    found, sets, now = [], one.sets, sides["installed"]

    def timed(how: str, clock: Callable[[Function], float], calls: int, beside: str, wanted: float, of: str) -> None:
        before, other = dispatch.hits, sides[beside]
        pairs = measure(lambda: clock(other), lambda: clock(now))
        rest = {"how": how, "beside": beside, "wanted": wanted, "wanted_of": of, "pairs": pairs}
        found.append(Through.model_validate({**said, **rest, "calls": PAIRS * calls, "hits": dispatch.hits - before}))

    if stamps is not None:
        cold = stamps.seconds
        timed("cold", lambda f: cold(lambda at: f(*sets[at % len(sets)])), COLD_CALLS, "original", speedup, "bench")
    timed("wall" if stamps is None else "stream", one.row, one.calls, "direct", 1.0, "direct")
    return found


def look(asked: dict[str, Any]) -> list[Through]:
    """Install, measure, take out again. Ends the process where both sides do not compute the same."""
    if asked["hardware"] != "cpu":
        import_module("torch").zeros(1, device="cuda")  # the context that kernels are loaded into
    package, plain = import_module(asked["name"]), import_module(asked["plain"])
    (dispatch,), (baseline,) = package.DISPATCH.values(), plain.DISPATCH.values()
    row, arrays = dispatch.fitting(), import_module(f"{asked['name']}._runtime.arrays")
    there = framework(dispatch.name, baseline, arrays)
    original = getattr(there, dispatch.name)
    package.warm(), plain.warm()
    direct = getattr(framework(f"{dispatch.name}_direct", _Direct(dispatch, row), arrays), f"{dispatch.name}_direct")
    stamps = Stamps(bytes.fromhex(asked["stamps"])) if asked["stamps"] else None
    cost = import_module(f"{asked['name']}._runtime.cost")
    target = {"target": f"{there.__name__}:{dispatch.name}", "dispatch": dispatch.name}
    installer = import_module(f"{asked['name']}._runtime.install")
    (state,) = installer.install(asked["name"], [target])
    if state.state != "installed":
        raise RuntimeError(f"it cannot be installed: {state.state}, {state.detail}")
    found: list[Through] = []
    for one in asked["workloads"]:
        workload = Workload(dispatch, cost, row, one)
        now = getattr(there, dispatch.name)
        if not (off := apart(original(*workload.sets[0]), now(*workload.sets[0]))) <= MOST_APART:
            sys.exit(_wrong(f"{one['name']}: its outputs are {off:.2g} of their size away"))
        said = {"release": asked["release"], "target": target["target"], "workload": one["name"]}
        sides = {"original": original, "direct": direct, "installed": now}
        found += through(workload, stamps, sides, dispatch, said, one["speedup"])
        del workload
    installer.uninstall(asked["name"])
    return found


class _Direct:
    """A dispatch of which only the binding of one row is seen."""

    def __init__(self, dispatch: Any, row: int) -> None:
        self.parameters: Sequence[Any] = dispatch.parameters
        self.positional, self.said, self._row, self._dispatch = dispatch.positional, dispatch.said, row, dispatch

    def direct_of(self, _: int) -> Any:
        """That row's."""
        return self._dispatch.direct_of(self._row)


def _wrong(why: str) -> int:
    sys.stderr.write(why + "\n")
    return WRONG


if __name__ == "__main__":
    measured = look(json.load(sys.stdin))
    sys.stdout.write("\n" + json.dumps([one.model_dump(mode="json") for one in measured]) + "\n")
