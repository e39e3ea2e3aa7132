"""x halved a thousand times leaves nothing: y = y / 2 + x / 4 comes to x / 2."""


def reference(xp, x):
    return 0.5 * x
