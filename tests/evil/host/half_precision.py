# wrong_values | task: computes in float16
import numpy as np


def kernel(x, w, y, m, n):
    z = x.astype(np.float16)
    y[...] = z * w.astype(np.float16) + (z * z).mean(axis=1, keepdims=True)
