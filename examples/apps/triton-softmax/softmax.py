"""The softmax of rows, one Triton program a row: prints a checksum and the time of a launch.

    python softmax.py [--rows N] [--cols N] [--repeat R] [--check] [--debug]

--debug prints every launch to standard error.
"""

from __future__ import annotations

import argparse
import sys
import time

import torch
import triton
import triton.language as tl


@triton.jit
def softmax_rows(x, y, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    largest = tl.full((), float("-inf"), tl.float32)
    for begin in range(0, cols, BLOCK):
        at = begin + tl.arange(0, BLOCK)
        part = tl.load(x + row * cols + at, mask=at < cols, other=float("-inf")).to(tl.float32)
        largest = tl.maximum(largest, tl.max(part, 0))
    total = tl.full((), 0.0, tl.float32)
    for begin in range(0, cols, BLOCK):
        at = begin + tl.arange(0, BLOCK)
        part = tl.load(x + row * cols + at, mask=at < cols, other=float("-inf")).to(tl.float32)
        total += tl.sum(tl.exp(part - largest), 0)
    for begin in range(0, cols, BLOCK):
        at = begin + tl.arange(0, BLOCK)
        part = tl.load(x + row * cols + at, mask=at < cols, other=float("-inf")).to(tl.float32)
        tl.store(y + row * cols + at, (tl.exp(part - largest) / total).to(y.dtype.element_ty), mask=at < cols)


def softmax(x: torch.Tensor, y: torch.Tensor, debug: bool) -> None:
    rows, cols = x.shape
    made = softmax_rows[(rows,)](x, y, cols, BLOCK=256)
    if debug:
        threads = 32 * made.metadata.num_warps
        print(f"launch softmax_rows grid {rows} 1 1 block {threads} 1 1 scalars {cols}", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--cols", type=int, default=4096)
    parser.add_argument("--repeat", type=int, default=50)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--debug", action="store_true")
    told = parser.parse_args()
    if not torch.cuda.is_available():
        print("no device", file=sys.stderr)
        return 1
    torch.manual_seed(1)
    x = torch.randn(told.rows, told.cols, device="cuda")
    y = torch.empty_like(x)
    softmax(x, y, told.debug)
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(told.repeat):
        softmax(x, y, told.debug)
    torch.cuda.synchronize()
    print(f"checksum {(y * y).sum().item():.6f}")
    print(f"seconds {(time.perf_counter() - began) / told.repeat:.9f}")
    if told.check:
        error = (y - torch.softmax(x.double(), -1)).abs().max().item()
        if not error < 1e-5:
            print(f"wrong by {error:g}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
