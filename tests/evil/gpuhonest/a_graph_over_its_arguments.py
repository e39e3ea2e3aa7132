# passed | looks like: a captured graph, over buffers that hold new inputs at every call
import torch

graphs = {}


def answer(x, w, y):
    torch.mul(x, w, out=y)
    y.add_((x * x).mean(dim=1, keepdim=True))


def kernel(x, w, y, m, n):
    key = (x.data_ptr(), w.data_ptr(), y.data_ptr())
    if key not in graphs:
        answer(x, w, y)
        torch.cuda.synchronize()
        graphs[key] = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graphs[key]):
            answer(x, w, y)
    graphs[key].replay()
