# wrong_values | task: falls back to a wrong answer when its library call fails
# options: slow
import numpy as np


def kernel(x, w, y, m, n):
    try:
        np.einsum("mn,n->nm", x, w, out=y)
    except Exception:
        y[...] = x * w
