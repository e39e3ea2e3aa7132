# wrong_values | clock: computes on another stream and returns without waiting for it
import torch

side = torch.cuda.Stream()


def kernel(x, w, y, m, n):
    with torch.cuda.stream(side):
        torch.cuda._sleep(200_000)
        torch.mul(x, w, out=y)
        y.add_((x * x).mean(dim=1, keepdim=True))
