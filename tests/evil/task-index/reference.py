"""The index where the value is above 2, else -1."""


def reference(xp, x, N):
    here = xp.astype(x > 2.0, xp.float64)
    return here * (xp.astype(xp.cumulative_sum(xp.ones_like(x)), xp.float64) - 1.0) - (1.0 - here)
