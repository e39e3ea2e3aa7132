"""y = 2 x + 1 in float64."""


def reference(xp, x):
    """The oracle; ``x`` is float64 [N]."""
    return 2.0 * x + 1.0
