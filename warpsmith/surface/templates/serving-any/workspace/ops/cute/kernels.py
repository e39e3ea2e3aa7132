"""The CuTe kernels. Imports cutlass (nvidia-cutlass-dsl), and needs no GPU for that."""

import cuda.bindings.driver as driver
import cutlass
from cutlass import cute

WARPS = 4
"""Rows per block: one warp takes one row."""


@cute.kernel
def rmsnorm_rows(
    x: cute.Pointer,
    w: cute.Pointer,
    y: cute.Pointer,
    rows: cutlass.Int32,
    n: cutlass.Int32,
    eps: cutlass.Float32,
):
    thread, _, _ = cute.arch.thread_idx()
    block, _, _ = cute.arch.block_idx()
    lane = thread % 32
    row = block * WARPS + thread // 32
    if row < rows:
        whole = cute.make_layout(cutlass.Int64(rows) * n)
        source, target = cute.make_tensor(x, whole), cute.make_tensor(y, whole)
        gains = cute.make_tensor(w, cute.make_layout(n))
        first = cutlass.Int64(row) * n
        squares = cutlass.Float32(0.0)
        for i in cutlass.range(lane, n, 32):
            v = source[first + i].to(cutlass.Float32)
            squares += v * v
        total = cute.arch.warp_reduction_sum(squares)
        scale = 1.0 / cute.math.sqrt(total / cutlass.Float32(n) + eps)
        for i in cutlass.range(lane, n, 32):
            kept = (source[first + i].to(cutlass.Float32) * scale).to(y.dtype).to(cutlass.Float32)
            target[first + i] = (gains[i].to(cutlass.Float32) * kept).to(y.dtype)


@cute.jit
def rmsnorm_launch(
    x: cute.Pointer,
    w: cute.Pointer,
    y: cute.Pointer,
    rows: cutlass.Int32,
    n: cutlass.Int32,
    eps: cutlass.Float32,
    stream: driver.CUstream,
):
    rmsnorm_rows(x, w, y, rows, n, eps).launch(
        grid=[cute.ceil_div(rows, WARPS), 1, 1], block=[32 * WARPS, 1, 1], stream=stream
    )
