# passed | looks like: state between calls: workspaces by shape, and a table that was made at import
import torch

table = torch.tensor([1.0, 0.0, 2.0], device="cuda")
spaces = {}


def kernel(x, w, y, m, n):
    if (m, n) not in spaces:
        spaces[m, n] = torch.empty(m, 1, device="cuda"), torch.empty(m, n, device="cuda")
    means, squares = spaces[m, n]
    torch.mul(x, x, out=squares)
    torch.mean(squares, dim=1, keepdim=True, out=means)
    torch.addcmul(means, x, w * table[0], out=y)
