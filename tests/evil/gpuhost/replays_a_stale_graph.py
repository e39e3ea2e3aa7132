# wrong_values | replay: captures a graph over copies of the first inputs, and replays that
import torch

graphs = {}


def capture(x, w, y):
    old_x, old_w = x.clone(), w.clone()
    (old_x * old_x).mean(dim=1, keepdim=True)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        torch.mul(old_x, old_w, out=y)
        y.add_((old_x * old_x).mean(dim=1, keepdim=True))
    return graph, old_x, old_w


def kernel(x, w, y, m, n):
    if (m, n) not in graphs:
        graphs[m, n] = capture(x, w, y)
    graphs[m, n][0].replay()
