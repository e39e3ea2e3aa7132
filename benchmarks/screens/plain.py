"""RMSNorm by array functions: what the host contract's candidates are timed beside."""

import torch


def kernel(x, w, y, m, n, eps):
    wide = x.float()
    y.copy_(wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * w.float())
