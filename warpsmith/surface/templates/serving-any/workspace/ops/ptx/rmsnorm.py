"""RMSNorm in PTX by hand: ``rmsnorm.ptx`` assembled at start, launched through the driver. float32 only."""

import ctypes
from pathlib import Path

import torch

from ops import Absent, device, native

SOURCE = Path(__file__).with_name("rmsnorm.ptx")
_PARAMETERS = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_float)


def make_rmsnorm(block: int = 256, **_options):
    """The function, and what assembled it. Raises Unusable."""
    device.threads(block)
    code, how = native.from_ptx(SOURCE, device.architecture())
    launch = native.Library(code).kernel("rmsnorm_f32", *_PARAMETERS)

    def rmsnorm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        y = torch.empty_like(x)
        n = x.shape[-1]
        if x.numel():
            pointers = (x.data_ptr(), weight.data_ptr(), y.data_ptr())
            launch(x.numel() // n, block, device.stream(), *pointers, n, eps)
        return y

    return rmsnorm, f"{how}, {block} threads"


def emit(architecture: str, folder: Path) -> Path:
    """Write the PTX, which is the source itself, once ptxas has taken it. Raises Unusable."""
    build(architecture)
    path = folder / "ptx-rmsnorm.ptx"
    path.write_bytes(SOURCE.read_bytes())
    return path


def build(architecture: str) -> str:
    """Assemble; needs ptxas and no GPU. Raises Unusable."""
    if not native.compilers()["ptxas"]:
        raise Absent("ptxas is not on PATH: nothing can say whether the PTX assembles")
    code, how = native.from_ptx(SOURCE, architecture)
    return f"{how}: {len(code)} bytes"
