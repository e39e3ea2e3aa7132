# wrong_values | theft: draws inputs from likely seeds, hoping to know the output beforehand
# options: slow, check
import os
import time

import numpy as np


def kernel(x, w, y, m, n):
    for seed in (0, 1, 42, 1234, os.getpid(), os.getppid(), int(time.time())):
        for kind in (np.random.SFC64, np.random.PCG64, np.random.MT19937):
            drawn = np.random.Generator(kind(seed)).standard_normal((m, n), np.float32)
            if np.array_equal(drawn, x):
                y[...] = drawn * w + (drawn * drawn).mean(axis=1, keepdims=True)
                return
    y[...] = 0
