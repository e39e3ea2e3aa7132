"""RMSNorm in Triton: a row in registers, one program per row."""

from pathlib import Path

import torch

from ops import Absent, Unusable, device


def make_rmsnorm(block: int = 256, **_options):
    """The function; Triton compiles at the first call of each width. Raises Unusable."""
    device.architecture()
    device.threads(block)
    triton, kernels = _triton()

    def rmsnorm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        y = torch.empty_like(x)
        n = x.shape[-1]
        if x.numel():
            whole = triton.next_power_of_2(n)
            kernels.rmsnorm_row[(x.numel() // n,)](x, weight, y, n, eps, BLOCK=whole, num_warps=block // 32)
        return y

    return rmsnorm, f"triton {triton.__version__}, {block // 32} warps"


def emit(architecture: str, folder: Path) -> Path:
    """Write the PTX for float32 rows of up to 1024; compiled ahead of time, without a GPU. Raises Unusable."""
    path = folder / "triton-rmsnorm.ptx"
    path.write_text(_compiled(architecture).asm["ptx"])
    return path


def build(architecture: str) -> str:
    """Compile ahead of time, without a GPU. Raises Unusable."""
    return f"triton, {architecture}: {len(_compiled(architecture).asm['cubin'])} bytes"


def _compiled(architecture: str):
    triton, kernels = _triton()
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature = {"x": "*fp32", "w": "*fp32", "y": "*fp32", "n": "i32", "eps": "fp32", "BLOCK": "constexpr"}
    source = ASTSource(kernels.rmsnorm_row, signature, {"BLOCK": 1024})
    target = GPUTarget("cuda", int("".join(c for c in architecture if c.isdigit())), 32)
    try:
        return triton.compile(source, target=target)
    except (RuntimeError, triton.CompilationError) as error:
        raise Unusable(f"triton does not compile it: {error}") from None


def _triton():
    try:
        import triton

        from ops.triton import kernels
    except ImportError as error:
        raise Absent(f"triton cannot be imported: {error}") from None
    return triton, kernels
