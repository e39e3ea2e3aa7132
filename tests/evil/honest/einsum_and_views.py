# passed | looks like: outputs that are views
import numpy as np


def kernel(x, w, y, m, n):
    flat = y.reshape(-1)[: m * n].reshape(m, n)
    flat[...] = np.einsum("mn,n->mn", x, w)
    flat += np.add.reduce(x * x, axis=1)[:, None] / np.float32(n)
