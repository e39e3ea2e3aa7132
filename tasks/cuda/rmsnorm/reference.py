"""RMSNorm with weights, in whatever precision the arrays carry (float64 when it judges)."""


def reference(xp, x, w, eps):
    """``y = x / sqrt(mean(x^2) + eps) * w``, the mean over the last axis."""
    mean_square = xp.mean(x * x, axis=-1, keepdims=True)
    return x / xp.sqrt(mean_square + eps) * w
