# wrong_values | task: computes in half the precision


def kernel(x, w, y, m, n):
    half = x.half()
    y.copy_(half * w.half() + (half * half).mean(dim=1, keepdim=True))
