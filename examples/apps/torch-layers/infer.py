"""Inference of a small stack of blocks: prints a checksum and the time of a forward pass.

    python infer.py [--repeat R] [--check] [--debug]

--check compares with float64; --debug prints what is called, with shapes, to standard error.
"""

from __future__ import annotations

import argparse
import sys
import time

import layers
import torch

ROWS, WIDTH, INNER, BLOCKS = 2048, 1024, 2816, 4


def forward(x: torch.Tensor, blocks: list[dict[str, torch.Tensor]], debug: bool) -> torch.Tensor:
    for block in blocks:
        if debug:
            print(f"call rms_norm {tuple(x.shape)} {x.dtype}", file=sys.stderr)
        h = layers.rms_norm(x, block["norm"], 1e-6)
        x = x + layers.gated(h, block["gate"], block["up"], block["down"])
    return x


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--debug", action="store_true")
    told = parser.parse_args()
    if not torch.cuda.is_available():
        print("no device", file=sys.stderr)
        return 1
    torch.manual_seed(1)
    shapes = {"norm": (WIDTH,), "gate": (WIDTH, INNER), "up": (WIDTH, INNER), "down": (INNER, WIDTH)}
    scales = {name: 1.0 if name == "norm" else shape[0] ** -0.5 for name, shape in shapes.items()}
    blocks = [
        {name: (torch.randn(shape, device="cuda") * scales[name]).bfloat16() for name, shape in shapes.items()}
        for _ in range(BLOCKS)
    ]
    x = torch.randn(ROWS, WIDTH, device="cuda").bfloat16()
    with torch.inference_mode():
        y = forward(x, blocks, told.debug)
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(told.repeat):
            y = forward(x, blocks, told.debug)
        torch.cuda.synchronize()
        seconds = (time.perf_counter() - began) / told.repeat
        print(f"checksum {y.double().abs().mean().item():.6f}")
        print(f"seconds {seconds:.9f}")
        if told.check:
            wide = forward(x.double(), [{n: t.double() for n, t in b.items()} for b in blocks], False)
            error = ((y.double() - wide).norm() / wide.norm()).item()
            if not error < 2e-2:
                print(f"wrong by {error:g}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
