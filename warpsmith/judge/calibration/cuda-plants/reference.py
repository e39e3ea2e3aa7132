"""Eight times t = t / (1 + t^2): bounded, no error grows, and nothing of it can be guessed."""


def reference(xp, x):
    """The oracle; ``x`` is float64 [M, N]."""
    t = x
    for _ in range(8):
        t = t / (1.0 + t * t)
    return t
