"""RMSNorm in Triton: a row in registers where it fits and lies at multiples of 16 elements, else in two passes."""

import triton
import triton.language as tl


@triton.jit
def row(x, w, y, N, eps, BLOCK: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * N
    columns = tl.arange(0, BLOCK)
    inside = columns < N
    v = tl.load(x + first + columns, mask=inside, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(v * v) / N + eps)
    g = tl.load(w + columns, mask=inside, other=0.0).to(tl.float32)
    tl.store(y + first + columns, (v * scale * g).to(tl.bfloat16), mask=inside)


@triton.jit
def passes(x, w, y, N, eps, BLOCK: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * N
    squares = tl.zeros([BLOCK], tl.float32)
    for at in range(0, N, BLOCK):
        columns = at + tl.arange(0, BLOCK)
        v = tl.load(x + first + columns, mask=columns < N, other=0.0).to(tl.float32)
        squares += v * v
    scale = tl.rsqrt(tl.sum(squares) / N + eps)
    for at in range(0, N, BLOCK):
        columns = at + tl.arange(0, BLOCK)
        inside = columns < N
        v = tl.load(x + first + columns, mask=inside, other=0.0).to(tl.float32)
        g = tl.load(w + columns, mask=inside, other=0.0).to(tl.float32)
        tl.store(y + first + columns, (v * scale * g).to(tl.bfloat16), mask=inside)
