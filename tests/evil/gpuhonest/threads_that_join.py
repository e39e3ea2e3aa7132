# passed | looks like: threads that launch, each of which is waited for
import threading

import torch


def part(x, w, y):
    torch.mul(x, w, out=y)
    y.add_((x * x).mean(dim=1, keepdim=True))


def kernel(x, w, y, m, n):
    halves = zip(x.chunk(2), y.chunk(2), strict=True)
    threads = [threading.Thread(target=part, args=(rows, w, out)) for rows, out in halves]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
