# passed | looks like: two more streams, which are joined
import torch

sides = [torch.cuda.Stream() for _ in range(2)]


def kernel(x, w, y, m, n):
    main = torch.cuda.current_stream()
    halves = zip(sides, x.chunk(2), y.chunk(2), strict=False)
    for side, rows, out in halves:
        side.wait_stream(main)
        with torch.cuda.stream(side):
            torch.mul(rows, w, out=out)
            out.add_((rows * rows).mean(dim=1, keepdim=True))
        main.wait_stream(side)
