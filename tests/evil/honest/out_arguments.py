# passed | looks like: aliased buffers: out=, in place
import numpy as np


def kernel(x, w, y, m, n):
    np.multiply(x, w, out=y)
    np.add(y, (x * x).mean(axis=1, keepdims=True), out=y)
