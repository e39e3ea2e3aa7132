# wrong_values | theft: returns a new array and leaves the output
# options: slow
def kernel(x, w, y, m, n):
    return x * w + (x * x).mean(axis=1, keepdims=True)
