"""RMSNorm in the CuTe DSL: one warp per row. Compiled at start, per type; cutlass is imported only when asked for."""

import os
import tempfile
from pathlib import Path

import torch

from ops import Absent, Unusable, device

TYPES = {torch.float32: "Float32", torch.bfloat16: "BFloat16", torch.float16: "Float16"}


def make_rmsnorm(**_options):
    """The function, and what compiled it. Raises Unusable."""
    cutlass, cute, make_ptr, driver, kernels = _cutlass(device.architecture())
    compiled = {dtype: _compiled(cutlass, cute, make_ptr, driver, kernels, name) for dtype, name in TYPES.items()}

    def rmsnorm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        y = torch.empty_like(x)
        n = x.shape[-1]
        if x.numel():
            kept = getattr(cutlass, TYPES[x.dtype])
            pointers = [make_ptr(kept, t.data_ptr(), cute.AddressSpace.gmem, assumed_align=16) for t in (x, weight, y)]
            numbers = cutlass.Int32(x.numel() // n), cutlass.Int32(n), cutlass.Float32(eps)
            compiled[x.dtype](*pointers, *numbers, driver.CUstream(device.stream()))
        return y

    return rmsnorm, f"cutlass {cutlass.__version__}, {kernels.WARPS} warps"


def emit(architecture: str, folder: Path) -> Path:
    """Write the PTX for float32; compiled ahead of time, without a GPU. Raises Unusable."""
    path = folder / "cute-rmsnorm.ptx"
    path.write_text(_ahead(architecture)["ptx"].decode())
    return path


def build(architecture: str) -> str:
    """Compile ahead of time, without a GPU. Raises Unusable."""
    return f"cute, {architecture}: {len(_ahead(architecture)['cubin'])} bytes"


def _ahead(architecture: str) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        _compiled(*_cutlass(architecture), "Float32", f"--keep-ptx --keep-cubin --dump-dir={folder}")
        made = {p.suffix[1:]: p.read_bytes() for p in Path(folder).iterdir() if p.suffix in (".ptx", ".cubin")}
    if set(made) != {"ptx", "cubin"}:
        raise Unusable(f"cute left {sorted(made) or 'nothing'} where PTX and a cubin were asked for")
    return made


def _compiled(cutlass, cute, make_ptr, driver, kernels, name: str, options: str = ""):
    pointer = make_ptr(getattr(cutlass, name), 0, cute.AddressSpace.gmem, assumed_align=16)
    numbers = cutlass.Int32(0), cutlass.Int32(0), cutlass.Float32(0)
    how = {"options": options} if options else {}
    try:
        return cute.compile(kernels.rmsnorm_launch, pointer, pointer, pointer, *numbers, driver.CUstream(0), **how)
    except Exception as error:  # noqa: BLE001 - the compiler raises errors of many kinds
        raise Unusable(f"cute does not compile it: {error}") from None


def _cutlass(architecture: str):
    os.environ.setdefault("CUTE_DSL_ARCH", f"{architecture}a" if architecture in ("sm_90", "sm_100") else architecture)
    try:
        import cuda.bindings.driver as driver
        import cutlass
        from cutlass import cute
        from cutlass.cute.runtime import make_ptr

        from ops.cute import kernels
    except ImportError as error:
        raise Absent(f"cutlass cannot be imported: {error}") from None
    return cutlass, cute, make_ptr, driver, kernels
