#!/usr/bin/env python3
"""Does the win of a release of cuda/rmsnorm arrive where it is called? Measured through a framework's own function.

    benchmarks/installed_path.py EXPORT --release cuda/rmsnorm@1.0.0 [--workloads 4096x4096,37800x5120] [--output FILE]

The framework is a module whose function launches the task's baseline by the driver's API, from Python as many do, and
allocates its output, so the bench's ratio is what has to arrive. (``warpsmith export`` measures the same through a
baseline with a compiled binding.) EXPORT is a folder that it made; it is installed over that function, and both are
called in turns, eager:

- cold: the judge's stamps around each call, caches evicted before it, as on the bench; what two stamps with nothing
  between them are apart is taken off.
- stream: a long row of calls over as many tensors as overflow the L2 cache, and one wait; what has to arrive is what
  the kernel's own binding wins in the same row. Here the host's part shows, where it is more than the kernel's.

Keeps what it found beside the export, prints it as JSON, and ends with 1 where the export is refused.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from warpsmith.judge.trusted import cubin
from warpsmith.model.release import ReleasedWorkload
from warpsmith.ship.callside import COLD_CALLS, Stamps
from warpsmith.ship.installed import PAIRS, Through, keep, measure
from warpsmith.surface.shelves import released_task, shelf
from warpsmith.surface.workspace import Workspace
from warpsmith.toolchains.cache import build

FRAMEWORK = '''\
"""A framework whose norm is the task's baseline."""

import ctypes

import torch
from cuda.bindings import driver

_TYPES = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_longlong, ctypes.c_longlong, ctypes.c_float)
_module = driver.cuModuleLoadData(open({cubin!r}, "rb").read())[1]
_kernel = driver.cuModuleGetFunction(_module, b"rmsnorm")[1]
_launch = driver.cuLaunchKernel


def rms_norm(x, weight, eps=1e-6, out=None):
    if out is None:
        out = torch.empty_like(x)
    rows, columns = x.shape
    values = (x.data_ptr(), weight.data_ptr(), out.data_ptr(), rows, columns, eps)
    stream = torch._C._cuda_getCurrentRawStream(x.device.index)
    (error,) = _launch(_kernel, rows, 1, 1, 256, 1, 1, 0, stream, (values, _TYPES), 0)
    if error:
        raise RuntimeError(str(error))
    return out
'''
TARGET = "warpsmith_plain.ops:rms_norm"
STREAM_S = 0.03
"""Seconds that one row of calls lasts about."""


class Bench:
    """One workload: tensors that overflow the cache, and the clocks."""

    def __init__(self, workload: ReleasedWorkload, stamps: Stamps, dtype: torch.dtype = torch.bfloat16) -> None:
        self.rows, self.columns = workload.axes["M"], workload.axes["N"]
        size = 2 * self.rows * self.columns
        sets = max(2, -(-3 * torch.cuda.get_device_properties(0).L2_cache_size // size) + 1)
        self.inputs = [torch.randn(self.rows, self.columns, device="cuda").to(dtype) for _ in range(sets)]
        self.weight = torch.randn(self.columns, device="cuda").to(dtype)
        self.calls = max(20, min(2000, int(STREAM_S / workload.candidate_s)))
        self.stamps = stamps

    def cold(self, function: Callable[..., Any]) -> float:
        """Seconds of one call, caches cold."""
        return self.stamps.seconds(lambda at: function(self.inputs[at % len(self.inputs)], self.weight))

    def stream(self, function: Callable[..., Any]) -> float:
        """Seconds per call of a long row."""
        inputs, weight, several = self.inputs, self.weight, range(self.calls)
        torch.cuda.synchronize()
        began = time.perf_counter()
        for at in several:
            function(inputs[at % len(inputs)], weight)
        torch.cuda.synchronize()
        return (time.perf_counter() - began) / self.calls


def framework(folder: Path, cubin: bytes) -> Any:
    """Write the framework down and import it."""
    package = folder / "warpsmith_plain"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "baseline.cubin").write_bytes(cubin)
    (package / "ops.py").write_text(FRAMEWORK.format(cubin=str(package / "baseline.cubin")))
    sys.path.insert(0, str(folder))
    return importlib.import_module("warpsmith_plain.ops")


def direct_of(dispatch: Any) -> Callable[..., Any]:
    """The kernel's own binding, without guard or adapter, as a function of the framework's arguments."""
    binding, order = dispatch.direct, dispatch.positional
    assert binding is not None and sorted(order) == ["eps", "w", "x", "y"], order
    at = {name: order.index(name) for name in order}
    places = tuple(at[name] for name in ("x", "w", "y", "eps"))

    def direct(x: Any, weight: Any, eps: float = 1e-6) -> Any:
        y = torch.empty_like(x)
        values: list[Any] = [None] * 4
        for place, value in zip(places, (x, weight, y, eps), strict=True):
            values[place] = value
        binding(*values)
        return y

    def in_order(x: Any, weight: Any, eps: float = 1e-6) -> Any:
        y = torch.empty_like(x)
        binding(x, weight, y, eps)
        return y

    return in_order if places == (0, 1, 2, 3) else direct


def through(
    workload: ReleasedWorkload, stamps: Stamps, ops: Any, original: Any, dispatch: Any, spec: str
) -> list[Through]:
    """Both ways of timing one workload."""
    bench, direct = Bench(workload, stamps), direct_of(dispatch)
    x, weight = bench.inputs[0], bench.weight
    wanted, got = original(x, weight), ops.rms_norm(x, weight)
    torch.testing.assert_close(got, wanted, rtol=1.6e-2, atol=1e-2)
    for function in (original, ops.rms_norm, direct):  # the first calls load kernels and fill the allocator
        bench.stream(function), bench.cold(function)
    found = []
    said = {"release": spec, "target": TARGET, "workload": workload.name}

    def timed(how: str, clock: Callable[[Any], float], calls: int, wanted: float, of: str) -> None:
        before = dispatch.hits
        pairs = measure(lambda: clock(original), lambda: clock(ops.rms_norm))
        rest = {"pairs": pairs, "calls": PAIRS * calls, "hits": dispatch.hits - before}
        found.append(Through.model_validate({**said, **rest, "how": how, "wanted": wanted, "wanted_of": of}))

    timed("cold", bench.cold, COLD_CALLS, workload.gain.speedup, "bench")
    alone = measure(lambda: bench.stream(original), lambda: bench.stream(direct))
    reached = statistics.geometric_mean(a / b for a, b in alone)
    timed("stream", bench.stream, bench.calls, reached, "direct")
    return found


def main() -> int:
    """The whole; the exit status."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("export", type=Path)
    arguments.add_argument("--release", required=True)
    arguments.add_argument("--workloads", default="4096x4096,37800x5120")
    arguments.add_argument("--output", type=Path)
    asked = arguments.parse_args()
    space, package = Workspace(), asked.export.resolve()
    there = shelf(space)
    entry = there.find(asked.release)
    manifest, folder = there.manifest(entry), there.place(entry.name, entry.version)
    known = released_task(space, manifest, folder)
    torch.zeros(1, device="cuda")  # the context that the framework loads its kernel into
    with tempfile.TemporaryDirectory() as place:
        sources = Path(place) / "sources"
        space.blobs.unpack(known.baseline, sources)
        cache = space.home / "cache" / "build"
        made = build(known.baseline, sources, manifest.target, "release", cache, known.loaded.kernel)
        ops = framework(Path(place), made.binary.read_bytes())
        original = ops.rms_norm
        sys.path.insert(0, str(package.parent))
        installer = importlib.import_module(f"{package.name}._runtime.install")
        dispatch = next(iter(importlib.import_module(package.name).DISPATCH.values()))
        adapter = {"arguments": {"w": "weight", "y": "out"}}
        target = {"target": TARGET, "dispatch": dispatch.name, "adapter": adapter}
        (state,) = installer.install(package.name, [target])
        print(state, file=sys.stderr)
        assert state.state == "installed" and ops.rms_norm is not original
        chosen = [w for w in manifest.workloads if w.name in asked.workloads.split(",")]
        stamps = Stamps(cubin("stamps.cu", "stamp", manifest.target, cache))
        measured = [t for w in chosen for t in through(w, stamps, ops, original, dispatch, manifest.spec)]
        (gone,) = installer.uninstall(package.name)
        assert gone.state == "removed" and ops.rms_norm is original
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    refused = keep(package, torch.cuda.get_device_name(0), at, measured)
    rows = [
        {
            **one.model_dump(exclude={"pairs"}),
            "original_us": statistics.median(a for a, _ in one.pairs) * 1e6,
            "installed_us": statistics.median(b for _, b in one.pairs) * 1e6,
            "speedup": one.found.speedup,
            "interval": one.found.interval,
            "share_of_wanted": one.found.speedup / one.wanted,
        }
        for one in measured
    ]
    said = {"device": torch.cuda.get_device_name(0), "at": at, "rows": rows, "refused": [r.message for r in refused]}
    print(json.dumps(said, indent=1))
    if asked.output:
        asked.output.write_text(json.dumps(said, indent=1) + "\n")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
