# wrong_values | clock: a thread computes after the call has returned
import threading
import time

import torch


def later(x, w, y):
    time.sleep(0.002)
    torch.mul(x, w, out=y)
    y.add_((x * x).mean(dim=1, keepdim=True))


def kernel(x, w, y, m, n):
    threading.Thread(target=later, args=(x, w, y)).start()
