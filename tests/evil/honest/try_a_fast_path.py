# passed | looks like: a fallback in try and except
try:
    import a_faster_library as fast
except ImportError:
    fast = None


def kernel(x, w, y, m, n):
    try:
        fast.scale_and_shift(x, w, y)
    except AttributeError:
        y[...] = x * w + (x * x).mean(axis=1, keepdims=True)
