# passed | looks like: code that compiles itself at the first call
import triton
import triton.language as tl


@triton.jit
def rows(x, w, y, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * n
    at = tl.arange(0, BLOCK)
    values = tl.load(x + row + at, mask=at < n, other=0.0)
    mean = tl.sum(values * values, axis=0) / n
    tl.store(y + row + at, values * tl.load(w + at, mask=at < n, other=0.0) + mean, mask=at < n)


def kernel(x, w, y, m, n):
    rows[(m,)](x, w, y, n, BLOCK=triton.next_power_of_2(n))
