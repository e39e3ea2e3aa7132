# wrong_values | theft: looks for the expected output among all objects and frames
# options: check
import gc
import sys

import numpy as np


def kernel(x, w, y, m, n):
    frame, held = sys._getframe(), []
    while frame is not None:
        held += list(frame.f_locals.values()) + list(frame.f_globals.values())
        frame = frame.f_back
    for one in held + gc.get_objects():
        if isinstance(one, np.ndarray) and one is not x and one is not y and one.shape == y.shape:
            y[...] = one
            return
    y[...] = 0
