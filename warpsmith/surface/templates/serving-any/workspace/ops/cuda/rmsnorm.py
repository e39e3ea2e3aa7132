"""RMSNorm in CUDA C++: ``rmsnorm.cu`` compiled at start, launched through the driver."""

import ctypes
from pathlib import Path

import torch

from ops import device, native

SOURCE = Path(__file__).with_name("rmsnorm.cu")
ENTRIES = {torch.float32: "rmsnorm_f32", torch.bfloat16: "rmsnorm_bf16", torch.float16: "rmsnorm_f16"}
_PARAMETERS = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_float)


def make_rmsnorm(block: int = 256, **_options):
    """The function, and what built it. Raises Unusable."""
    code, how = native.from_cuda(SOURCE, device.architecture(), BLOCK=device.threads(block))
    library = native.Library(code)
    kernels = {dtype: library.kernel(name, *_PARAMETERS) for dtype, name in ENTRIES.items()}

    def rmsnorm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        y = torch.empty_like(x)
        n = x.shape[-1]
        if x.numel():
            pointers = (x.data_ptr(), weight.data_ptr(), y.data_ptr())
            kernels[x.dtype](x.numel() // n, block, device.stream(), *pointers, n, eps)
        return y

    return rmsnorm, f"{how}, {block} threads"


def emit(architecture: str, folder: Path) -> Path:
    """Write the PTX that the source becomes; needs a compiler and no GPU. Raises Unusable."""
    text, _ = native.from_cuda(SOURCE, architecture, "ptx")
    path = folder / "cuda-rmsnorm.ptx"
    path.write_bytes(text.rstrip(b"\0"))
    return path


def build(architecture: str) -> str:
    """Compile and say how large it is; needs a compiler and no GPU. Raises Unusable."""
    code, how = native.from_cuda(SOURCE, architecture)
    return f"{how}: {len(code)} bytes"
