# passed | looks like: a pool of threads
from concurrent.futures import ThreadPoolExecutor


def kernel(x, w, y, m, n):
    def some(first):
        y[first::2] = x[first::2] * w + (x[first::2] * x[first::2]).mean(axis=1, keepdims=True)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(some, (0, 1)))
