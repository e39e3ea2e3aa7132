# wrong_values | clock: a thread of a pool computes after the call has returned
# options: slow
import time
from concurrent.futures import ThreadPoolExecutor

pool = ThreadPoolExecutor(1)


def later(x, w, y):
    time.sleep(0.002)
    y[...] = x * w + (x * x).mean(axis=1, keepdims=True)


def kernel(x, w, y, m, n):
    pool.submit(later, x, w, y)
