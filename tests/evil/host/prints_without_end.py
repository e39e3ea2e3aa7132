# crashed | host: floods its standard output
def kernel(x, w, y, m, n):
    while True:
        print("y" * 100_000, flush=True)
