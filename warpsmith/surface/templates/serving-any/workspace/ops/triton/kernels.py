"""The Triton kernels. Imports triton, and needs no GPU for that."""

import triton
import triton.language as tl


@triton.jit
def rmsnorm_row(x, w, y, n, eps, BLOCK: tl.constexpr):  # noqa: N803
    first = tl.program_id(0).to(tl.int64) * n
    columns = tl.arange(0, BLOCK)
    inside = columns < n
    v = tl.load(x + first + columns, mask=inside, other=0.0).to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(v * v) / n + eps)
    kept = (v * scale).to(y.dtype.element_ty).to(tl.float32)
    g = tl.load(w + columns, mask=inside, other=0.0).to(tl.float32)
    tl.store(y + first + columns, (g * kept).to(y.dtype.element_ty), mask=inside)
