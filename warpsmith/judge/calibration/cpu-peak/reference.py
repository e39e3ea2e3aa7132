"""K times y = y / 2 + 1, which comes near 2 whatever x was."""


def reference(xp, x, K):
    """The oracle; ``x`` is float64 [N]. After 60 halvings nothing of x is left in float64 but 2."""
    y = x
    for _ in range(min(K, 2000)):
        y = 0.5 * y + 1.0
    return y
