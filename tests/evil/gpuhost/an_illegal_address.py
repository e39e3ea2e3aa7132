# crashed | host: a kernel of it reads beyond all memory
import torch


def kernel(x, w, y, m, n):
    torch.cuda.synchronize()
    beyond = torch.as_strided(x, (1 << 40,), (1,)) if x.numel() > 1 << 40 else x
    torch.gather(beyond.reshape(-1), 0, torch.full((256,), 1 << 44, device="cuda"))
    torch.cuda.synchronize()
