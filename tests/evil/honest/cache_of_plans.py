# passed | looks like: a cache by shape
from functools import lru_cache


@lru_cache
def plan(m, n):
    return [slice(i, min(i + 16, m)) for i in range(0, m, 16)]


def kernel(x, w, y, m, n):
    for block in plan(m, n):
        y[block] = x[block] * w + (x[block] * x[block]).mean(axis=1, keepdims=True)
