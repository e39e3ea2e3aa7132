"""Run in a process of its own by test_sglang_gpu.py: an exported rmsnorm in the place of SGLang's norms. Prints JSON.

SGLang's Triton kernels and ours are the real ones; only its server is stubbed.
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.ship.install_things import installer
from tests.ship.sglang_stubs import prepare
from warpsmith.ship.runtime.targets import read as read_targets
from warpsmith.ship.runtime.targets import to_json
from warpsmith.surface.patching import HOOKS

NORM = "sglang.jit_kernel.diffusion.triton.norm"
ONE_PASS = "sglang.jit_kernel.diffusion.triton.rmsnorm_onepass"
SHAPE = (4096, 4096)


def main(root: Path, package: Path) -> None:
    stubbed = prepare(root)
    sys.path.insert(0, str(package.parent))
    known = [t for t in read_targets(HOOKS / "sglang.json") if t.dispatch == "rmsnorm"]
    norm, one_pass = importlib.import_module(NORM), importlib.import_module(ONE_PASS)
    originals = norm.norm_infer, one_pass.triton_one_pass_rms_norm
    it = installer(package.name)
    dispatch = importlib.import_module(package.name).DISPATCH["rmsnorm"]
    x = torch.randn(SHAPE, device="cuda").bfloat16()
    weight = torch.randn(SHAPE[1], device="cuda").bfloat16()
    wanted = originals[0](x, weight, None, 1e-6, is_rms_norm=True)
    layer = originals[0](x, weight, weight, 1e-6)
    done = it.install(package.name, to_json(known)["targets"])
    dispatch.reset()
    same = [close(norm.norm_infer(x, weight, None, 1e-6, is_rms_norm=True), wanted)]
    out = torch.empty_like(x)
    same.append(norm.norm_infer(x, weight, None, 1e-6, True, out) is out and close(out, wanted))
    same.append(close(one_pass.triton_one_pass_rms_norm(x, weight, 1e-6), wanted))
    hits = dispatch.hits
    same.append(torch.equal(norm.norm_infer(x, weight, weight, eps=1e-6, is_rms_norm=False), layer))
    same.append(close(norm.norm_infer(x[:7, :100], weight[:100], None, 1e-6, True), originals[0](
        x[:7, :100], weight[:100], None, 1e-6, True)))  # fmt: skip
    said = {
        "stubbed": stubbed,
        "installed": [s.json() for s in done],
        "same": same,
        "hits": hits,
        "fallbacks": dispatch.fallbacks,
        "us": {
            name: [timed(f, x, weight) for f in (original, now)]
            for name, original, now in (("norm_infer", originals[0], norm.norm_infer),)
        },
    }
    gone = it.uninstall(package.name)
    said["uninstalled"] = [s.json() for s in gone]
    said["restored"] = (norm.norm_infer, one_pass.triton_one_pass_rms_norm) == originals
    print("\n" + json.dumps(said))


def close(a: Any, b: Any) -> bool:
    """Within a rounding of bfloat16."""
    return bool(torch.allclose(a.float(), b.float(), rtol=1.6e-2, atol=1e-2))


def timed(function: Callable[..., Any], x: Any, weight: Any) -> float:
    """Microseconds of a call, by events, warm."""
    found = []
    for _ in range(50):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        function(x, weight, None, 1e-6, True)
        end.record()
        torch.cuda.synchronize()
        found.append(begin.elapsed_time(end) * 1e3)
    return statistics.median(found[10:])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
