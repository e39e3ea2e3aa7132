# wrong_values or cheated | clock: finds the worker's own wait and makes it wait for nothing
import functools
import gc

import torch

for found in gc.get_objects():
    if isinstance(found, functools.partial) and "cuStreamSynchronize" in found.args:
        found.__setstate__((bool, (), {}, {}))


def kernel(x, w, y, m, n):
    torch.cuda._sleep(40_000_000)
    torch.mul(x, w, out=y)
    y.add_((x * x).mean(dim=1, keepdim=True))
