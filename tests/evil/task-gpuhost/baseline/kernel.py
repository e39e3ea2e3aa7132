import torch


def kernel(x, w, y, m, n):
    torch.mul(x, w, out=y)
    y += (x * x).mean(dim=1, keepdim=True)
