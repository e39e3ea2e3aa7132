"""y = x * w + mean of the squares of the row, in float64."""


def reference(xp, x, w):
    return x * w + xp.mean(x * x, axis=1, keepdims=True)
